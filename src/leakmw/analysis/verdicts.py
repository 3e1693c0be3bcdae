"""Say of a growth what it is, and why one may say so."""

from __future__ import annotations

from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import ALL
from leakmw.analysis.fitting import ratio
from leakmw.records import BACKGROUND, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.analysis.attribution import Share, Windows

SUSPECT_WINDOWS = 5
"""Windows in a row in which a suspect has grown. A level that only fluctuates rises five times
in a row once in 720 times, and then mostly by too unequal steps for the other tests."""

SUSPECT_BYTES = 4096
"""Growth in those windows below which nobody is called."""

SUSPECT_CONFIDENCE = 0.995
"""Of the growth per request being above zero."""

NEW_SHARE = 0.75
"""Part of that growth which must be new: above the level at which the place has been before. A
level that swings, with the load or as a cache is cleared, comes back to where it was."""

QUIET_WINDOWS = 3
"""Windows in a row in which a settled growth has not grown."""

QUIET_SHARE = 0.02
"""Part of the whole growth that still counts as not growing."""

SETTLED_BYTES = 16 << 10
"""Growth below which nobody asks why it stopped."""

MOST_CANDIDATES = 4
"""Endpoints named where it may be one of several."""


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
    every = [growth for growth, _ in active]
    run = _run(every)
    if run >= SUSPECT_WINDOWS and not _waits_for_collector(share, run, during):
        growths, base = every[-run:], [amount for _, amount in active[-run:]]
        if _steady(growths, base, share.margin) and _new(growths, every[:-run]):
            return Judgement(Verdict.SUSPECT, _suspicion(share, growths, base, during))
    return _settled(share, every)


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


def _suspicion(
    share: Share, growths: Sequence[float], base: Sequence[float], during: Windows
) -> tuple[str, ...]:
    unit = "bytes per request" if share.endpoint in during.visits else "bytes per second"
    series = ", ".join(f"{g / x:,.0f}" for g, x in zip(growths[-8:], base[-8:], strict=True))
    return (
        f"grew in each of the last {len(growths)} windows: {series} {unit}",
        _reason(share),
        _collected(during.collections and during.collections[-len(growths) + 1 :]),
    )


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
