"""Whether what outlives its window piles up, as what leaks does.

Births and deaths are compared as two Poisson counts are (Przyborowski and Wilenski, Biometrika 31,
1940): where as much goes as comes, the difference is within a few roots of the sum.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakmw.analysis.survival import Turnover

LEAST_WINDOWS = 3
"""Windows over which it must have grown: what warms up does so over fewer."""

LEAST_DEVIATIONS = 2.8
"""Growth in standard deviations of as many births and deaths by chance: at least eight samples."""

PARTS = 3
"""Parts of the visits in each of which it must have grown."""

NEW_SHARE = 0.75
"""Part of the growth which must be new: above the level at which the place has been before. A
level that swings, with the load or as a cache is cleared, comes back to where it was."""

BURST_SHARE = 0.25
"""Part of the windows, those that stand out most, which growth must not come from alone."""

LEAST_STEADY = 1 / 3
"""Of the mean growth per visit, what the other windows must have."""

TAIL_WINDOWS = 3
TAIL_SAMPLES = 5.0
"""What the last windows must have been expected to bring, so that to see nothing says something:
nothing instead of five comes by chance once in 150 times."""

STOPPED_SHARE = 0.1
"""Part of what was expected that still counts as nothing."""


def lasting(turnover: Turnover, amounts: Sequence[float]) -> int:
    """Return over how many of the last windows something has piled up; 0 if it has not.

    Args:
        turnover: Births and deaths in each window.

        amounts: Visits or seconds in each window.
    """
    net = turnover.net()
    if stopped(turnover, amounts):
        return 0
    for start in dict.fromkeys((0, len(net) // 2)):
        growths = net[start:]
        if (
            len(growths) >= LEAST_WINDOWS
            and sum(growths) >= LEAST_DEVIATIONS * math.sqrt(sum(turnover.variance[start:]))
            and all(growth > 0 for growth, _ in parts(growths, amounts[start:]))
            and is_spread(growths, amounts[start:])
            and is_new(growths, net[:start])
        ):
            return len(growths)
    return 0


def stopped(turnover: Turnover, amounts: Sequence[float]) -> int:
    """Return over how many of the last windows what grew has not grown; 0 if it has.

    Args:
        turnover: Births and deaths in each window.

        amounts: Visits or seconds in each window.
    """
    net = turnover.net()
    growth, variance = sum(net), sum(turnover.variance)
    if growth <= 0 or variance <= 0 or not any(amounts):
        return 0
    rate = growth / sum(amounts)
    enough = TAIL_SAMPLES * variance / growth  # of as many bytes as a sample stands for
    tail = next(
        (
            size
            for size in range(TAIL_WINDOWS, len(net) // 2 + 1)
            if rate * sum(amounts[-size:]) >= enough
        ),
        0,
    )
    quiet = tail and sum(net[-tail:]) <= STOPPED_SHARE * rate * sum(amounts[-tail:])
    return tail if quiet else 0


def is_new(growths: Sequence[float], before: Sequence[float]) -> bool:
    """Say whether the level has come to where it was not before."""
    earlier = [0.0, *accumulate(before)]
    highest = sorted(earlier)[-2:][0]  # but one: a snapshot may have met a moment's burst
    return earlier[-1] + sum(growths) - highest >= NEW_SHARE * sum(growths)


def is_spread(growths: Sequence[float], amounts: Sequence[float]) -> bool:
    """Say whether it grew in most windows, not by a few bursts: whether a trimmed mean is near."""
    if not any(amounts):
        return False
    rate = sum(growths) / sum(amounts)
    windows = sorted(zip(growths, amounts, strict=True), key=lambda one: one[0] - rate * one[1])
    most = windows[: -math.ceil(BURST_SHARE * len(windows))]
    return sum(g for g, _ in most) >= LEAST_STEADY * rate * sum(a for _, a in most)


def parts(
    growths: Iterable[float], amounts: Sequence[float], count: int = PARTS
) -> list[tuple[float, float]]:
    """Add up growths, and amounts, in so many parts of about equal amounts."""
    total, so_far = sum(amounts), 0.0
    added: dict[int, tuple[float, float]] = {}
    for growth, amount in zip(growths, amounts, strict=True):
        part = min(count - 1, int(count * (so_far + amount / 2) / total)) if total else 0
        before = added.get(part, (0.0, 0.0))
        added[part] = before[0] + growth, before[1] + amount
        so_far += amount
    return [part for part in added.values() if part[1] > 0]
