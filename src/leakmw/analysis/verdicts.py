"""Say of a growth what it is, and why one may say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import ALL
from leakmw.analysis.fitting import ratio
from leakmw.records import BACKGROUND, Verdict

if TYPE_CHECKING:
    from leakmw.analysis.attribution import Share, Windows

SUSPECT_WINDOWS = 5
"""Windows in a row in which a suspect has grown. A level that only fluctuates rises five times
in a row once in 720 times, and then mostly by too unequal steps for the other tests."""

SUSPECT_BYTES = 4096
"""Growth in those windows below which nobody is called."""

SUSPECT_CONFIDENCE = 0.995
"""Of the growth per request being above zero."""

LEAST_DEVIATIONS = 2.6
"""Growth in standard deviations of what it is estimated from, where it is: a few samples more or
less of something that comes and goes are no growth. 99.5 % of a normal distribution lie below."""

NEW_SHARE = 0.75
"""Part of that growth which must be new: above the level at which the place has been before. A
level that swings, with the load or as a cache is cleared, comes back to where it was."""

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
    for size in SPANS if share.variance else (1,):
        evidence = _suspicion(share, _spans(active, size), size, during)
        if evidence:
            return Judgement(Verdict.SUSPECT, evidence)
    return _settled(share, [growth for growth, _ in active])


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
    if not _steady(growths, base, share.margin) or not _new(growths, every[:-run]):
        return ()
    if sum(growths) < LEAST_DEVIATIONS * math.sqrt(share.variance):
        return ()
    unit = "bytes per request" if share.endpoint in during.visits else "bytes per second"
    windows = f"{run} windows" if size == 1 else f"{run} spans of {size} windows"
    series = ", ".join(f"{g / x:,.0f}" for g, x in zip(growths[-8:], base[-8:], strict=True))
    return (
        f"grew in each of the last {windows}: {series} {unit}",
        _reason(share),
        _collected(during.collections and during.collections[-run * size + 1 :]),
    )


def _waits_for_collector(share: Share, run: int, during: Windows) -> bool:
    """Say whether this may well be what servers leave of connections: cycles that soon go.

    They follow no endpoint, and grow until a full collection comes.
    """
    collected = during.collections is None or any(during.collections[-run + 1 :])
    return share.endpoint == BACKGROUND and not collected


def _run(growths: Sequence[float]) -> int:
    """Return how many windows in a row, up to the last, have grown."""
    return len(list(takewhile(lambda growth: growth > 0, reversed(growths))))


def _steady(growths: Sequence[float], base: Sequence[float], margin: float) -> bool:
    """Say whether the growth per visit is surely above zero, and enough to speak of."""
    estimate, low, _ = ratio(growths, base, SUSPECT_CONFIDENCE)
    surely = low is not None and low > 0 and estimate > margin
    return surely and sum(growths) >= SUSPECT_BYTES


def _new(growths: Sequence[float], before: Sequence[float]) -> bool:
    """Say whether the level has come to where it was not before."""
    earlier = [0.0, *accumulate(before)]
    highest = sorted(earlier)[-2:][0]  # but one: a snapshot may have met a moment's burst
    return earlier[-1] + sum(growths) - highest >= NEW_SHARE * sum(growths)


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
    return Judgement(
        Verdict.SETTLED,
        (
            f"grew by {total:,.0f} bytes, then stopped: nothing in the last {len(last)} windows",
            _reason(share),
        ),
    )
