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
    from collections.abc import Sequence

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
there the heap must not have grown by more than the rest, either."""

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
        grew: By how much more of the heap is in use.
    """

    windows: int
    went: float
    grew: float


class Heap(NamedTuple):
    """How one heap has moved, in bytes in each window.

    Attributes:
        in_use: By how much more of it is in use, the tracer's own left out.
        unseen: How much more of it the tracer knows nothing of. That gets less where something
            goes that was there before it started, and is not a number where it would tell of
            leakmw itself.
        exact: Whether the tracer knows to the byte what it knows.
    """

    in_use: list[float]
    unseen: list[float]
    exact: bool = False

    def cut(self, part: slice) -> Heap:
        """Return the windows of *part* alone."""
        return Heap(self.in_use[part], self.unseen[part], self.exact)

    def told(self) -> int:
        """Return how many windows tell of more than leakmw itself."""
        return sum(not math.isnan(one) for one in self.unseen)


class Heaps(NamedTuple):
    """The heaps of a process: Python's own, and the C library's for what is too large for it."""

    small: Heap
    large: Heap

    def cut(self, part: slice) -> Heaps:
        """Return the windows of *part* alone."""
        return Heaps(*(heap.cut(part) for heap in self))

    def of(self, block_bytes: float) -> Heap:
        """Return the one in which blocks of that size lie."""
        return self.small if block_bytes <= SMALL_BYTES else self.large


def heaps(snapshots: Sequence[Snapshot]) -> Heaps | None:
    """Return how the heaps have moved between *snapshots*; ``None`` where nobody tells.

    They may be too large to be read each time: the window up to the next reading has it all.
    """
    readings = [_reading(one) for one in snapshots]
    known = [one for one in readings if one is not None]
    if len(known) < 2:  # noqa: PLR2004
        return None
    latest, exact = known[0], known[-1].exact
    moved = Heaps(Heap([], [], exact), Heap([], [], exact))
    for reading, before in zip(readings[1:], snapshots, strict=False):
        now = reading or latest
        early = before.number <= (EXACT_WARM_UP_SNAPSHOTS if exact else WARM_UP_SNAPSHOTS)
        # what leakmw takes of Python's own is traced where all is
        _move(moved.small, now.small, latest.small, told=exact or not early)
        _move(moved.large, now.large, latest.large, told=not early)
        latest = now
    return moved


class _Level(NamedTuple):
    """What one heap has at one moment."""

    in_use: float
    unseen: float


class _Reading(NamedTuple):
    """The same of both."""

    small: _Level
    large: _Level
    exact: bool


def _move(moved: Heap, now: _Level, before: _Level, *, told: bool) -> None:
    moved.in_use.append(now.in_use - before.in_use)
    moved.unseen.append(now.unseen - before.unseen if told else math.nan)


def _reading(snapshot: Snapshot) -> _Reading | None:
    memory, large, small = snapshot.memory, snapshot.trace.large, snapshot.trace.small
    if memory.native_bytes is None or memory.python_bytes is None or not large or not small:
        return None
    own = snapshot.engine.own_bytes or 0
    return _Reading(
        _Level(memory.python_bytes, memory.python_bytes - small.bytes),
        _Level(memory.native_bytes - own, memory.native_bytes - large.bytes),
        large.variance + small.variance == 0,
    )


def replaced(growths: Sequence[float], heap: Heap) -> Replaced | None:
    """Return what shows that a place may only take that of others; ``None`` if nothing does.

    Args:
        growths: Of the place, in each window in which it has grown.

        heap: The heap in which its blocks lie, in these windows: the other moves by itself.
    """
    windows = [
        _Window(*window)
        for window in zip(growths, heap.in_use, heap.unseen, strict=True)
        if not math.isnan(window[-1])
    ]
    # the last ones, as many as a leak takes, by themselves, too: in those before the app warms up
    for latest in (windows, windows[-CONFIRM_WINDOWS:]):
        if _is_replaced(latest, exact=heap.exact):
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
