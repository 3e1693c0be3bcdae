"""Say of a growth what it is, and why one may say so."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.fitting import ratio
from leakmw.records import BACKGROUND, Estimate, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.analysis.attribution import Share

SUSPECT_WINDOWS = 5
"""Windows in a row in which a suspect has grown. A level that only fluctuates rises five times
in a row once in 720 times, and then mostly by too unequal steps for the second test."""

SUSPECT_CONFIDENCE = 0.995
"""Of the growth per request being above zero."""

QUIET_WINDOWS = 3
"""Windows in a row in which a settled growth has not grown."""

QUIET_SHARE = 0.02
"""Part of the whole growth that still counts as not growing."""

SETTLED_BYTES = 16 << 10
"""Growth below which nobody asks why it stopped."""


class Judgement(NamedTuple):
    """A verdict with its evidence.

    Attributes:
        verdict: What the growth is; ``None`` where there is nothing to say.
        evidence: Plain sentences.
    """

    verdict: Verdict | None
    evidence: tuple[str, ...] = ()


def judge(share: Share, amounts: Sequence[float]) -> Judgement:
    """Judge the growth of one endpoint at one place.

    Args:
        share: Growth in each window.

        amounts: Visits of the endpoint in each window, or its seconds for ``(background)``.
    """
    active = [(g, x) for g, x in zip(share.bytes, amounts, strict=True) if x > 0]
    run = _run([growth for growth, _ in active])
    if run >= SUSPECT_WINDOWS:
        growths, base = zip(*active[-run:], strict=True)
        if _above_zero(ratio(growths, base, SUSPECT_CONFIDENCE)):
            return Judgement(Verdict.SUSPECT, _suspicion(share, growths, base))
    return _settled(share, [growth for growth, _ in active])


def _run(growths: Sequence[float]) -> int:
    """Return how many windows in a row, up to the last, have grown."""
    return len(list(takewhile(lambda growth: growth > 0, reversed(growths))))


def _above_zero(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.low > 0


def _suspicion(share: Share, growths: Sequence[float], base: Sequence[float]) -> tuple[str, ...]:
    unit = "bytes per second" if share.endpoint == BACKGROUND else "bytes per request"
    series = ", ".join(f"{g / x:,.0f}" for g, x in zip(growths[-8:], base[-8:], strict=True))
    return (
        f"grew in each of the last {len(growths)} windows: {series} {unit}",
        _reason(share),
        "what might bound it has not been looked for: a suspicion, not yet a verdict",
    )


def _reason(share: Share) -> str:
    if share.solved is None:
        return "every traceback runs through the view of this endpoint"
    if share.endpoint == BACKGROUND:
        return "it follows the clock or no endpoint's visits"
    if share.solved.rivals:
        others = ", ".join(share.solved.rivals[:3])
        return (
            "no traceback tells the endpoint, and the traffic's mix varied too little to tell it "
            f"from the windows{': it could also be ' + others if others else ''}"
        )
    return "no traceback tells the endpoint; over the windows the growth follows its visits"


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
