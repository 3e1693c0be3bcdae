"""When a worker that grows like this meets its memory limit."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist, median
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_POINTS = 6
"""Snapshots from which a forecast is made."""

RECENT = 8
"""Snapshots from whose visits the pace of the traffic is taken."""

CONFIDENCE = 0.95


class Level(NamedTuple):
    """How much counted against the limit at one moment.

    Attributes:
        visits: Of the worker so far.
        seconds: On a clock that only goes forward.
        used: Bytes.
        room: Bytes left below the limit.
    """

    visits: int
    seconds: float
    used: int
    room: int


def seconds_to_limit(levels: Sequence[Level]) -> Estimate | None:
    """Return when the limit is met at the pace of growth per visit and of visits per second.

    Args:
        levels: At each snapshot, oldest first. The first is left out: start-up is no growth.

    Returns:
        Seconds with their 95 % interval, whose upper end is ``None`` where it may take for ever;
        ``None`` where nothing surely grows.
    """
    levels = levels[1:]
    if len(levels) < LEAST_POINTS:
        return None
    recent = levels[-RECENT:]
    visits, seconds = recent[-1].visits - recent[0].visits, recent[-1].seconds - recent[0].seconds
    per_visit = slope([(level.visits, level.used) for level in levels])
    still = slope([(level.visits, level.used) for level in levels[len(levels) // 2 :]])
    if visits <= 0 or seconds <= 0 or per_visit.low is None or per_visit.low <= 0:
        return None
    if still.estimate <= 0:
        return None  # it has stopped
    pace = visits / seconds
    room = float(levels[-1].room)
    return Estimate(
        room / (per_visit.estimate * pace),
        room / ((per_visit.high or math.inf) * pace),
        room / (per_visit.low * pace),
    )


def slope(points: Sequence[tuple[float, float]]) -> Estimate:
    """Return the slope of a line through *points* with its interval, whatever a few of them do.

    The median of the slopes between any two (Theil, Nederl. Akad. Wetensch. Proc. 53, 1950), with
    the interval of Sen (JASA 63, 1968) for untied points.
    """
    slopes = sorted(
        (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2
    )
    if not slopes:
        return Estimate(0.0, None, None)
    count = len(points)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * deviation
    upper = min(round((len(slopes) + half) / 2), len(slopes) - 1)
    lower = max(round((len(slopes) - half) / 2) - 1, 0)
    return Estimate(median(slopes), slopes[lower], slopes[upper])
