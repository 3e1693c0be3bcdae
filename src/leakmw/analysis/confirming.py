"""How much more it takes until a growth may be called a leak.

What warms up and what fills a cache grow, too, but ever more slowly: so a leak must have grown
over many windows, at a pace that cannot well have slowed down.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from leakmw.analysis.lasting import parts
from leakmw.analysis.poisson import chance_of_slowing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.analysis.survival import Turnover

CONFIRM_WINDOWS = 8
"""Windows over which a leak has grown."""

SLOWED = 1 / 3
"""Pace of the later half, as a part of that of the earlier one, which would be no leak's."""

SLOWED_CHANCE = 0.06
"""Of seeing so much in the later half if it had slowed so far: six blocks in each are enough."""

ENOUGH_BLOCKS = 10.0
"""Sampled blocks that mostly say so, if there are as many in either half."""

LEAST_PACE = 0.5
"""The same, as it must at least be seen to be."""

PACE_DEVIATIONS = 2.0
"""By how many standard deviations of its blocks it may be seen to be slower than before."""

LEAST_KEPT = 0.5
"""Part of what outlives its window that a leak keeps."""


def wait_for_survivors(turnover: Turnover, amounts: Sequence[float]) -> float:
    """Return how many more visits or seconds it takes to call it a leak, from births and deaths.

    Args:
        turnover: Of the windows in which it has grown.

        amounts: Visits or seconds in each of them.

    Returns:
        0 if it may be called one now; infinity where too much of it goes later.
    """
    growths = turnover.net()
    if sum(turnover.kept) < LEAST_KEPT * sum(turnover.born):
        return math.inf
    unit = _unit(growths, turnover.variance, amounts)
    return max(_until_long(len(growths), amounts), _until_steady(growths, amounts, unit))


def wait_for_levels(growths: Sequence[float], amounts: Sequence[float], windows: int) -> float:
    """Return the same where nothing but levels is known.

    Args:
        growths: Growth in each span of so many *windows*.

        amounts: Visits or seconds in each of them.

        windows: In one span.
    """
    long = _until_long(len(growths) * windows, amounts)
    return max(long, 0.0 if _keeps_pace(growths, amounts) else sum(amounts) / len(growths))


def _unit(growths: Sequence[float], variance: Sequence[float], amounts: Sequence[float]) -> float:
    """Return how many bytes a sample stands for, in the half in which that is more.

    The interval between samples moves: few coarse ones must not count as many.
    """
    halves = zip(_halves(growths, amounts), _halves(variance, amounts), strict=True)
    return max((spread / growth for (growth, _), (spread, _) in halves if growth > 0), default=0.0)


def _until_long(windows: int, amounts: Sequence[float]) -> float:
    return max(0, CONFIRM_WINDOWS - windows) * sum(amounts) / windows


def _keeps_pace(growths: Sequence[float], amounts: Sequence[float], unit: float = 0.0) -> bool:
    """Say whether the later half is about as fast as the earlier one.

    Args:
        growths: In each window.

        amounts: Visits or seconds in each of them.

        unit: Bytes that a sample stands for; 0 where it is not known.
    """
    (early, early_visits), (late, late_visits) = _halves(growths, amounts)
    if early <= 0 or late <= 0 or not late_visits:
        return False
    by_chance = PACE_DEVIATIONS * math.sqrt(unit / early + unit / late)
    least = max(LEAST_PACE, 1 - by_chance) if unit else LEAST_PACE
    return late * early_visits >= least * early * late_visits


def _until_steady(growths: Sequence[float], amounts: Sequence[float], unit: float) -> float:
    (early, early_visits), (late, late_visits) = _halves(growths, amounts)
    so_far = early_visits + late_visits
    if early <= 0 or unit <= 0 or not late_visits:
        return so_far
    chance = chance_of_slowing(early / unit, late / unit, early_visits, late_visits, SLOWED)
    if chance <= SLOWED_CHANCE and _keeps_pace(growths, amounts, unit):
        return 0.0
    blocks = max(1.0, (early + late) / unit)
    return so_far * min(1.0, max(1 / len(growths), ENOUGH_BLOCKS / blocks - 1))


def _halves(
    growths: Sequence[float], amounts: Sequence[float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    first, *rest = parts(growths, amounts, 2)
    return first, rest[0] if rest else (0.0, 0.0)
