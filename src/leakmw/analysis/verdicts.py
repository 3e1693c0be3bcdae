"""Say of a growth what it is, and why one may say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import ALL
from leakmw.analysis.fitting import ratio
from leakmw.analysis.lasting import is_new, lasting, parts, stopped
from leakmw.analysis.survival import LEAST_BYTES, Survival
from leakmw.records import BACKGROUND, Verdict

if TYPE_CHECKING:
    from leakmw.analysis.attribution import Share, Windows

SUSPECT_WINDOWS = 5
"""Windows in a row in which a suspect has grown. A level that only fluctuates rises five times
in a row once in 720 times, and then mostly by too unequal steps for the other tests."""

SUSPECT_CONFIDENCE = 0.995
"""Of the growth per request being above zero."""

LEAST_DEVIATIONS = 2.6
"""Growth in standard deviations of what it is estimated from, where it is: a few samples more or
less of something that comes and goes are no growth. 99.5 % of a normal distribution lie below."""

QUIET_WINDOWS = 3
"""Windows in a row in which a settled growth has not grown."""

QUIET_SHARE = 0.02
"""Part of the whole growth that still counts as not growing."""

SPANS = (1, 2, 3)
"""Windows that are added up where growth is estimated: single ones may hold too few samples."""

SETTLED_BYTES = 16 << 10
"""Growth below which nobody asks why it stopped."""

MOST_CANDIDATES = 4
"""Endpoints named where it may be one of several."""


_Windows = Sequence[tuple[float, float]]
"""Growth and amount of each window in which the endpoint was visited at all."""


class Judgement(NamedTuple):
    """A verdict with its evidence.

    Attributes:
        verdict: What the growth is; ``None`` where there is nothing to say.
        evidence: Plain sentences.
    """

    verdict: Verdict | None
    evidence: tuple[str, ...] = ()


def judge(share: Share, during: Windows) -> Judgement:
    """Judge the growth of one endpoint at one place.

    Args:
        share: Growth in each window.

        during: The windows.
    """
    amounts = during.visits.get(share.endpoint, during.seconds)
    active = [(g, x) for g, x in zip(share.bytes, amounts, strict=True) if x > 0]
    if share.survival is not None:
        return _by_survival(share, share.survival, amounts[:-1], during)
    for size in SPANS if share.variance else (1,):
        evidence = _suspicion(share, _spans(active, size), size, during)
        if evidence:
            return Judgement(Verdict.SUSPECT, evidence)
    return _settled(share, [growth for growth, _ in active])


def _by_survival(
    share: Share, survival: Survival, amounts: Sequence[float], during: Windows
) -> Judgement:
    """Judge by what outlives its window and what of that goes later."""
    if not any(amounts):
        return Judgement(None)
    growth, both = sum(survival.bytes.net()), (survival.bytes, survival.blocks)
    run = max(lasting(turnover, amounts) for turnover in both) if growth >= LEAST_BYTES else 0
    if run and not _waits_for_collector(share, run, during):
        return Judgement(Verdict.SUSPECT, _lasting(share, survival, amounts, run, during))
    quiet = stopped(survival.bytes, amounts)
    if quiet and growth >= SETTLED_BYTES:
        return _stopped(share, growth, quiet)
    return Judgement(None)


def _lasting(
    share: Share, survival: Survival, amounts: Sequence[float], run: int, during: Windows
) -> tuple[str, ...]:
    """Return why to suspect a growth that lasted over the last *run* windows."""
    by_part = parts(survival.bytes.net()[-run:], amounts[-run:])
    rates = ", ".join(f"{growth / amount:,.0f}" for growth, amount in by_part)
    alive = sum(survival.blocks.kept[-run:]) / max(1.0, sum(survival.blocks.born[-run:]))
    return (
        f"grew all through the last {run} windows: {rates} {_unit(share, during)}",
        f"{min(1.0, alive):.0%} of the blocks that outlived the window of their birth still live",
        _reason(share),
        _collected(during.collections and during.collections[-run + 1 :]),
    )


def _spans(active: _Windows, size: int) -> _Windows:
    """Add up windows in spans of *size*, the last one full."""
    spans = [active[end - size : end] for end in range(len(active), size - 1, -size)]
    return [(sum(g for g, _ in span), sum(x for _, x in span)) for span in reversed(spans)]


def _suspicion(share: Share, active: _Windows, size: int, during: Windows) -> tuple[str, ...]:
    """Return why to suspect the growth; nothing if there is no reason."""
    every = [growth for growth, _ in active]
    run = _run(every)
    if run < SUSPECT_WINDOWS or _waits_for_collector(share, run * size, during):
        return ()
    growths, base = every[-run:], [amount for _, amount in active[-run:]]
    if not _steady(growths, base, share.margin) or not is_new(growths, every[:-run]):
        return ()
    if sum(growths) < LEAST_DEVIATIONS * math.sqrt(share.variance):
        return ()
    windows = f"{run} windows" if size == 1 else f"{run} spans of {size} windows"
    series = ", ".join(f"{g / x:,.0f}" for g, x in zip(growths[-8:], base[-8:], strict=True))
    return (
        f"grew in each of the last {windows}: {series} {_unit(share, during)}",
        _reason(share),
        _collected(during.collections and during.collections[-run * size + 1 :]),
    )


def _waits_for_collector(share: Share, run: int, during: Windows) -> bool:
    """Say whether this may well be what servers and frameworks leave: cycles that soon go.

    They grow until a full collection comes. Those of the app itself count before, too: what a leak
    keeps may be such that Python sees no reason for one.
    """
    collected = during.collections is None or any(during.collections[-run + 1 :])
    return (share.endpoint == BACKGROUND or not share.place.own) and not collected


def _run(growths: Sequence[float]) -> int:
    """Return how many windows in a row, up to the last, have grown."""
    return len(list(takewhile(lambda growth: growth > 0, reversed(growths))))


def _steady(growths: Sequence[float], base: Sequence[float], margin: float) -> bool:
    """Say whether the growth per visit is surely above zero, and enough to speak of."""
    estimate, low, _ = ratio(growths, base, SUSPECT_CONFIDENCE)
    surely = low is not None and low > 0 and estimate > margin
    return surely and sum(growths) >= LEAST_BYTES


def _unit(share: Share, during: Windows) -> str:
    return "bytes per request" if share.endpoint in during.visits else "bytes per second"


def _collected(collections: Sequence[float] | None) -> str:
    """Say whether this may be garbage that only waits for the collector."""
    if collections is None:
        return "the garbage collector is off: this may be cycles that it would free"
    times = round(sum(collections))
    if times == 0:
        return "no full garbage collection has run meanwhile: this may be cycles that wait for one"
    counted = "a full garbage collection has" if times == 1 else f"{times:,} full collections have"
    return f"{counted} run meanwhile and left it: it is no garbage"


def _reason(share: Share) -> str:
    if share.place.tagged:
        return "all of it was allocated in visits of this endpoint"
    if not share.solved:
        return "every traceback runs through the view of this endpoint"
    if share.candidates:
        names = ", ".join(_spoken(name) for name in share.candidates[:MOST_CANDIDATES])
        return (
            "no traceback tells the endpoint, and the traffic's mix varied too little to tell it "
            f"from the windows: it may be {names}"
        )
    if share.endpoint == BACKGROUND:
        return "it follows the clock or no endpoint's visits"
    return "no traceback tells the endpoint; over the windows the growth follows its visits"


def _spoken(candidate: str) -> str:
    return {ALL: "every request alike", BACKGROUND: "no endpoint at all"}.get(candidate, candidate)


def _settled(share: Share, growths: list[float]) -> Judgement:
    total, last = sum(growths), growths[-QUIET_WINDOWS:]
    if len(growths) <= QUIET_WINDOWS or total < SETTLED_BYTES:
        return Judgement(None)
    if abs(sum(last)) > QUIET_SHARE * total or max(last) > QUIET_SHARE * total:
        return Judgement(None)
    return _stopped(share, total, len(last))


def _stopped(share: Share, growth: float, quiet: int) -> Judgement:
    return Judgement(
        Verdict.SETTLED,
        (
            f"grew by {growth:,.0f} bytes, then stopped: nothing in the last {quiet} windows",
            _reason(share),
        ),
    )
