"""Say of a growth what it is, and why one may say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import ALL
from leakmw.analysis.fitting import ratio
from leakmw.analysis.lasting import is_new, lasting, parts, stopped
from leakmw.analysis.survival import LASTING_BYTES, Survival
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

LEAST_BYTES = 4 << 10
"""Growth in all windows below which nobody is called, if it grew in each of them."""

SETTLED_BYTES = 16 << 10
"""Growth below which nobody asks why it stopped."""

SPANS = (1, 2, 3)
"""Windows that are added up where growth is estimated: single ones may hold too few samples."""

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


class _Grown(NamedTuple):
    """A growth to be suspected, over how many of the last windows, and what shows it."""

    windows: int
    seen: tuple[str, ...]


def judge(share: Share, during: Windows) -> Judgement:
    """Judge the growth of one endpoint at one place.

    Args:
        share: Growth in each window.

        during: The windows.
    """
    grown = _grown(share, during)
    if grown is None:
        return _settled(share, during)
    looked_at = slice(during.looked_at())
    left = bool(_grown(share.cut(looked_at), during.cut(looked_at)))
    if not left and (share.endpoint == BACKGROUND or not share.place.own):
        # what servers and frameworks leave: cycles that soon go. Those of the app itself count
        # before, too: what a leak keeps may be such that Python sees no reason to collect
        return Judgement(None)
    garbage = _collected(during, grown.windows, left=left)
    return Judgement(Verdict.SUSPECT, (*grown.seen, _reason(share), garbage))


def _grown(share: Share, during: Windows) -> _Grown | None:
    if share.survival is not None:
        return _grown_by_survivors(share, share.survival, during)
    sizes = SPANS if share.variance else (1,)
    return next(filter(None, (_grown_in_spans(share, size, during) for size in sizes)), None)


def _amounts(share: Share, during: Windows) -> Sequence[float]:
    """Return what the growth of each window is to be divided by."""
    return during.visits.get(share.endpoint, during.seconds)


def _active(share: Share, during: Windows) -> _Windows:
    """Return the windows that say something of the endpoint."""
    growths = zip(share.bytes, _amounts(share, during), strict=True)
    return [(growth, amount) for growth, amount in growths if amount > 0]


def _grown_by_survivors(share: Share, survival: Survival, during: Windows) -> _Grown | None:
    """Judge by what outlives its window and what of that goes later."""
    amounts = _amounts(share, during)[:-1]
    if sum(survival.bytes.net()) < LASTING_BYTES:
        return None
    run = max(lasting(turnover, amounts) for turnover in survival)
    if not run:
        return None
    by_part = parts(survival.bytes.net()[-run:], amounts[-run:])
    rates = ", ".join(f"{growth / amount:,.0f}" for growth, amount in by_part)
    alive = min(1.0, sum(survival.blocks.kept[-run:]) / max(1.0, sum(survival.blocks.born[-run:])))
    seen = (
        f"grew all through the last {run} windows: {rates} {_unit(share, during)}",
        f"{alive:.0%} of the blocks that outlived the window of their birth still live",
    )
    return _Grown(run, seen)


def _spans(active: _Windows, size: int) -> _Windows:
    """Add up windows in spans of *size*, the last one full."""
    spans = [active[end - size : end] for end in range(len(active), size - 1, -size)]
    return [(sum(g for g, _ in span), sum(x for _, x in span)) for span in reversed(spans)]


def _grown_in_spans(share: Share, size: int, during: Windows) -> _Grown | None:
    """Judge by the levels, over as many spans as have grown without a break."""
    spans = _spans(_active(share, during), size)
    every = [growth for growth, _ in spans]
    run = _run(every)
    if run < SUSPECT_WINDOWS:
        return None
    growths, base = every[-run:], [amount for _, amount in spans[-run:]]
    if not _steady(growths, base, share.margin) or not is_new(growths, every[:-run]):
        return None
    if sum(growths) < LEAST_DEVIATIONS * math.sqrt(share.variance):
        return None
    windows = f"{run} windows" if size == 1 else f"{run} spans of {size} windows"
    series = ", ".join(f"{g / x:,.0f}" for g, x in zip(growths[-8:], base[-8:], strict=True))
    seen = f"grew in each of the last {windows}: {series} {_unit(share, during)}"
    return _Grown(run * size, (seen,))


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


def _collected(during: Windows, run: int, *, left: bool) -> str:
    """Say whether what grew over the last *run* windows may be garbage that only waits."""
    if during.collections is None:
        return "the garbage collector is off: this may be cycles that it would free"
    times = round(sum(during.collections[-run + 1 :]))
    if times == 0:
        return "no full garbage collection has run meanwhile: this may be cycles that wait for one"
    if not left:
        return (
            "most of it came after the last full garbage collection: this may be cycles that wait "
            "for the next"
        )
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


def _settled(share: Share, during: Windows) -> Judgement:
    """Say whether it grew, and has stopped."""
    if share.survival is not None:
        turnover = share.survival.bytes
        growth, amounts = sum(turnover.net()), _amounts(share, during)[:-1]
        quiet = stopped(turnover, amounts) if growth >= LASTING_BYTES else 0
        return _stopped(share, growth, quiet) if quiet else Judgement(None)
    growths = [growth for growth, _ in _active(share, during)]
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
