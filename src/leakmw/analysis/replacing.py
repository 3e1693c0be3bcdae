"""What only takes the place of others that were there before anybody looked.

A cache that was filled at the start looks like a leak to every tracer: each new entry is seen to
come and to stay, and the old one that goes for it was never seen. But the heaps say what they have
in use, and so how much of that the tracer knows nothing of: the C library's for large blocks, and
Python's own for small ones, in which little else moves.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.confirming import CONFIRM_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakmw.records import Snapshot

WARM_UP_SNAPSHOTS, EXACT_WARM_UP_SNAPSHOTS = 2, 3
"""After so many leakmw itself has what it needs; before, its own growth hides what others do."""

SMALL_BYTES = 512
"""The largest block of Python's own allocator."""

LEAST_WINDOWS = 4
"""Fewer leave too little without the two that stand out most."""

LEAST_REPLACED = 0.5
"""Part of a growth that must have gone elsewhere, unseen, in either half of its time: a leak may
well come along with something that goes once. Where the tracer estimates, its errors may look so:
there the process must not have grown by more than the rest, either."""

LEAST_DEVIATIONS = 2.0
"""What went, in standard deviations of what moves by itself, if it is known to the byte: small
leaks drown in that."""

NORMAL_DEVIATIONS = 1.4826
"""Standard deviation of a normal distribution whose median absolute deviation is one (Hampel, JASA
69, 1974)."""


class Replaced(NamedTuple):
    """What was seen where a place may only have taken that of others, in bytes.

    Attributes:
        windows: Over how many of the last windows.
        went: What went unseen.
        grew: By how much more the process has in use.
    """

    windows: int
    went: float
    grew: float


class Heaps(NamedTuple):
    """How the C heap and Python's own have moved, in bytes in each window.

    What the tracer knows nothing of gets less where something goes that was there before it
    started. It is not a number where it would tell of leakmw itself.

    Attributes:
        in_use: By how much more is in use in both, the tracer's own left out.
        large: How much more of the C heap the tracer knows nothing of.
        small: The same of Python's own.
        exact: Whether the tracer knows to the byte what it knows.
    """

    in_use: list[float]
    large: list[float]
    small: list[float]
    exact: bool = False

    def cut(self, part: slice) -> Heaps:
        """Return the windows of *part* alone."""
        return Heaps(self.in_use[part], self.large[part], self.small[part], self.exact)

    def unseen(self, block_bytes: float) -> list[float]:
        """Return the column of the heap in which blocks of that size lie."""
        return self.small if block_bytes <= SMALL_BYTES else self.large


def heaps(snapshots: Sequence[Snapshot]) -> Heaps | None:
    """Return how the heaps have moved between *snapshots*; ``None`` where nobody tells.

    They may be too large to be read each time: the window up to the next reading has it all.
    """
    readings = [_reading(one) for one in snapshots]
    known = [one for one in readings if one is not None]
    if len(known) < 2:  # noqa: PLR2004
        return None
    latest, moved = known[0], Heaps([], [], [], exact=known[-1].exact)
    for reading, before in zip(readings[1:], snapshots, strict=False):
        now = reading or latest
        early = before.number <= (EXACT_WARM_UP_SNAPSHOTS if moved.exact else WARM_UP_SNAPSHOTS)
        # what leakmw takes of Python's own is traced where all is
        untold = early and not moved.exact
        moved.in_use.append(now.in_use - latest.in_use)
        moved.large.append(math.nan if early else now.large - latest.large)
        moved.small.append(math.nan if untold else now.small - latest.small)
        latest = now
    return moved


class _Reading(NamedTuple):
    """The same at one moment."""

    in_use: float
    large: float
    small: float
    exact: bool


def _reading(snapshot: Snapshot) -> _Reading | None:
    memory, large, small = snapshot.memory, snapshot.trace.large, snapshot.trace.small
    if memory.native_bytes is None or memory.python_bytes is None or not large or not small:
        return None
    return _Reading(
        memory.native_bytes + memory.python_bytes - (snapshot.engine.own_bytes or 0),
        memory.native_bytes - large.bytes,
        memory.python_bytes - small.bytes,
        large.variance + small.variance == 0,
    )


def told(unseen: Iterable[float]) -> int:
    """Return how many windows tell of more than leakmw itself."""
    return sum(not math.isnan(one) for one in unseen)


def replaced(growths: Sequence[float], moved: Heaps, unseen: Sequence[float]) -> Replaced | None:
    """Return what shows that a place may only take that of others; ``None`` if nothing does.

    Args:
        growths: Of the place, in each window in which it has grown.

        moved: The heaps in these windows.

        unseen: The column of the place's own heap: the other moves by itself.
    """
    windows = [
        _Window(*window)
        for window in zip(growths, moved.in_use, unseen, strict=True)
        if not math.isnan(window[-1])
    ]
    # the last ones, as many as a leak takes, by themselves, too: in those before the app warms up
    for latest in (windows, windows[-CONFIRM_WINDOWS:]):
        if _is_replaced(latest, exact=moved.exact):
            return Replaced(
                len(latest),
                -sum(one.unseen for one in latest),
                sum(one.in_use for one in latest),
            )
    return None


class _Window(NamedTuple):
    growth: float
    in_use: float
    unseen: float


def _is_replaced(windows: Sequence[_Window], *, exact: bool) -> bool:
    if len(windows) < LEAST_WINDOWS:
        return False
    middle = len(windows) // 2
    # to look at the heap takes something once, and what the start has left goes in one collection
    by_unseen = sorted(range(len(windows)), key=lambda number: windows[number].unseen)
    usual = sorted(by_unseen[1:-1])
    if exact and not _stands_out([windows[number].unseen for number in usual]):
        return False
    halves = [
        [windows[number] for number in usual if (number < middle) is early]
        for early in (True, False)
    ]
    return all(_is_made_up_for(half, exact=exact) for half in halves)


def _is_made_up_for(windows: Sequence[_Window], *, exact: bool) -> bool:
    growth, in_use, unseen = map(sum, zip(*windows, strict=True)) if windows else (0, 0, 0)
    least = LEAST_REPLACED * growth
    return growth > 0 and -unseen >= least and (exact or in_use <= growth - least)


def _stands_out(unseen: Sequence[float]) -> bool:
    """Say whether so much has gone as hardly goes by chance."""
    usual = median(unseen)
    deviation = NORMAL_DEVIATIONS * median(abs(one - usual) for one in unseen)
    return -sum(unseen) >= LEAST_DEVIATIONS * deviation * math.sqrt(len(unseen))
