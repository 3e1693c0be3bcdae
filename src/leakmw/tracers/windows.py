"""tracemalloc in short windows: what ``auto`` does where the sampling tracer is not to be had.

tracemalloc cannot be paused: what it has traced is forgotten when it stops. So each window stands
for itself. Its first visits only fill it with what lives from one visit to the next; what grows
over those that follow is taken for all visits since the window before.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import time
import tracemalloc
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.background import giving_way, native
from leakmw.records import MAX_SNAPSHOTS
from leakmw.tracers.grouping import MAX_ROWS
from leakmw.tracers.transfer import Key, keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from leakmw.records import Births, Engine, Frame, Row, Trace, Wanted
    from leakmw.tracers.exact import ExactTracer

    Digest = Callable[[Trace], Any]

FIRST_VISITS = 10
"""Visits from the start of a window to its first reading."""

VISITS = 20
"""Visits from there to its second reading."""

MOST_SECONDS = 5.0
"""After which a reading is made however few visits there were."""

POLL_SECONDS = 0.005

LEAST_SHARE = 0.25
"""Part of what the windows found by which the process must have grown: less is what garbage and
free lists make of its count of blocks by themselves."""

OWN_BLOCKS = 3
"""Blocks of a row that snapshots keep: the row, its bytes and their variance; Python has but one
block for each small number, as most counts of blocks are."""

FEW = 1000
"""Objects that are set aside without the app having done so: Python 3.12 begins with some."""

YOUNG, ALL = 1, 2
"""Up to which generation the collector looks."""

LEAST_ADDED = 1.9
"""What tracing adds to a visit at least, in visits: measured with one frame. What a window
measures of itself may be far off, so few visits as it has."""

COST = (
    "leakmw's extension does not load (`leakmw doctor` says why), so tracemalloc looked at "
    "{traced:,} of {visits:,} requests only: it takes many more requests to find a leak, and what "
    "outlives such a look is told from a leak by the number of all the process's blocks alone"
)


class WindowedTracer:
    """Growth by origin since the first trace, from short windows in which tracemalloc runs.

    Args:
        exact: Runs tracemalloc.

        overhead: Share of CPU time that the windows may cost.

    Attributes:
        hook_cpu_seconds: What tracing has cost the app, by the visits without it.
        least_visits: Visits between two traces that keep that cost within its share.
    """

    def __init__(self, exact: ExactTracer, overhead: float) -> None:
        self._exact = exact
        self._overhead = overhead
        self._ended: _Spent | None = None
        self._growth = Growth()
        self._traced_visits = 0
        self._known_visits = 0
        self.hook_cpu_seconds = 0.0
        self.least_visits = 0

    def start(self) -> None:
        """Do nothing: each trace begins and ends its window."""

    def stop(self) -> None:
        """Do nothing, as well."""

    def ease(self, part: float) -> None:
        """Do nothing: windows tell too little as it is."""

    def births(self, wanted: Wanted, views: frozenset[str]) -> Births:
        """Return what tells whose an object is: nothing outside of a window.

        Args:
            wanted: The findings that are asked for.

            views: Files in which the app's views stand.
        """
        return self._exact.births(wanted, views)

    def engine(self) -> Engine:
        """Describe the tracer."""
        return self._exact.engine()

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the figures must know."""
        return (COST.format(traced=self._traced_visits, visits=self._known_visits),)

    @property
    def child_cpu_seconds(self) -> float:
        """CPU time that forked children have used."""
        return self._exact.child_cpu_seconds

    def born(self, thing: object) -> Frame | None:
        """Return the app's own line in which *thing* was born, if tracemalloc sees it now."""
        return self._exact.born(thing)

    def trace(
        self, views: frozenset[str], mark: Callable[[], int], digest: Digest | None = None
    ) -> Trace:
        """Return growth by origin, some visits from now.

        Args:
            views: Files in which the app's views stand.

            mark: Returns the visits so far; called last at the very moment that the trace shows.

            digest: Plain computing on the trace.

        Raises:
            SnapshotError: If memory or time do not allow it now.
        """
        started = time.perf_counter()
        begun, late = _spent(mark), None
        if self._known_visits:
            self._growth.begin(sys.getallocatedblocks())
        try:
            with _window(self._exact) as generation:
                first, early = self._reading(views, mark, FIRST_VISITS, generation)
                second, late = self._reading(views, mark, VISITS, generation)
        finally:
            self._account(begun, late or _spent(mark))
        self._learn(first.rows, second.rows, (late - early).visits, late.visits)
        trace = second._replace(
            rows=self._growth.rows(sys.getallocatedblocks()),
            complete=first.complete and second.complete,
            grouping=0,
            large=None,
            seconds=time.perf_counter() - started,
            pause_seconds=max(first.pause_seconds, second.pause_seconds),
        )
        with giving_way():
            return trace if digest is None else trace._replace(digest=digest(trace))

    def _reading(
        self, views: frozenset[str], mark: Callable[[], int], visits: int, generation: int
    ) -> tuple[Trace, _Spent]:
        """Return what is alive of this window after *visits* more, and what was spent by then."""
        moment = _spent(mark)

        def look() -> None:
            nonlocal moment
            _collect(generation)
            moment = _spent(mark)

        _wait(mark, visits)
        return self._exact.trace(views, look), moment

    def _learn(self, first: Iterable[Row], second: Iterable[Row], visits: int, known: int) -> None:
        """Take the growth over *visits* for all those since the window before."""
        if visits:
            if self._known_visits:
                self._growth.add(first, second, (known - self._known_visits) / visits)
            self._known_visits = known
            self._traced_visits += visits

    def _account(self, begun: _Spent, ended: _Spent) -> None:
        """Measure what the window has cost, and put the next one off accordingly."""
        free, traced = begun - (self._ended or begun), ended - begun
        self._ended = ended
        added = LEAST_ADDED
        if free.visits > traced.visits > 0:  # else what a visit usually costs is not known
            usual = free.cpu_seconds / free.visits
            added = max(added, traced.cpu_seconds / traced.visits / max(usual, 1e-9) - 1)
            self.hook_cpu_seconds += added * usual * traced.visits
        self.least_visits = math.ceil(added * traced.visits / self._overhead)


class Growth:
    """What windows have found, added up, in proportion to what the whole process has grown.

    A window sees nothing of the end of what was there before: the entry that pushes another out
    of a full cache is growth to it. All of it together cannot be more than the growth of the
    process's own count of blocks, which sees every end.
    """

    def __init__(self) -> None:
        self._totals: dict[Key, Row] = {}
        self._blocks: int | None = None
        self._handed_out: deque[int] = deque(maxlen=MAX_SNAPSHOTS)

    def begin(self, blocks: int) -> None:
        """Say what the process had once the first report was made, which imports much.

        Args:
            blocks: All the process has now; said again, it changes nothing.
        """
        if self._blocks is None:
            self._blocks = blocks

    def add(self, first: Iterable[Row], second: Iterable[Row], times: float) -> None:
        """Add the growth between two readings, taken *times*.

        What a visit in flight holds is growth if the second reading alone meets it. So a window
        is one draw: to be sure of a growth takes several that found it, however much each found.
        A block more or less in a reading says nothing: the interpreter keeps some for reuse.
        """
        grown: dict[Key, Row] = {}
        for rows, weight in ((first, -times), (second, times)):
            for key, row in keyed(rows).items():
                known = row._replace(variance=(row.bytes / max(1, row.blocks)) ** 2)
                grown[key] = _sum(grown.get(key), _scaled(known, weight))
        for key, row in grown.items():
            drawn = row._replace(variance=row.variance + row.bytes**2)
            self._totals[key] = _sum(self._totals.get(key), drawn)
        if len(self._totals) > MAX_ROWS:
            ranked = sorted(self._totals.items(), key=lambda item: -item[1].bytes)
            self._totals = dict(ranked[:MAX_ROWS])

    def rows(self, blocks: int) -> tuple[Row, ...]:
        """Return what has grown by origin, most bytes first.

        Args:
            blocks: All the process has now.
        """
        found = sum(row.blocks for row in self._totals.values())
        if self._blocks is None or found <= 0:
            return ()
        grown = blocks - self._blocks - OWN_BLOCKS * sum(self._handed_out)
        share = min(1.0, grown / found)
        if share < LEAST_SHARE:
            return ()
        rows = [_scaled(row, share) for row in self._totals.values() if row.bytes > 0]
        self._handed_out.append(len(rows))
        return tuple(sorted(rows, key=lambda row: -row.bytes))


def _sum(one: Row | None, other: Row) -> Row:
    if one is None:
        return other
    return one._replace(  # whose path is the one that earlier rows have
        bytes=one.bytes + other.bytes,
        blocks=one.blocks + other.blocks,
        variance=one.variance + other.variance,
    )


def _scaled(row: Row, times: float) -> Row:
    return row._replace(
        bytes=round(row.bytes * times),
        blocks=round(row.blocks * times),
        variance=row.variance * times**2,
    )


class _Spent(NamedTuple):
    """CPU time and visits up to a moment, leakmw's own thread left out."""

    cpu_seconds: float
    visits: int

    def __sub__(self, before: _Spent) -> _Spent:
        return _Spent(self.cpu_seconds - before.cpu_seconds, self.visits - before.visits)


def _spent(visits: Callable[[], int]) -> _Spent:
    return _Spent(time.process_time() - time.thread_time(), visits())


def _wait(mark: Callable[[], int], visits: int) -> None:
    """Wait for *visits* more."""
    sleep = native("time", "sleep")
    end, deadline = mark() + visits, time.monotonic() + MOST_SECONDS
    while mark() < end and time.monotonic() < deadline:
        sleep(POLL_SECONDS)


class _Before(NamedTuple):
    """How it was before a window: whether nothing was set aside, and whether tracemalloc ran."""

    unfrozen: bool
    tracing: bool


_open: dict[ExactTracer, _Before] = {}
"""Windows that are open."""


@contextmanager
def _window(exact: ExactTracer) -> Iterator[int]:
    """Trace for the time of a block; yield up to which generation the collector may look.

    Cycles that wait for the collector look like growth in so short a window. To collect those that
    were born in it takes no look at the whole heap, which would stop the app: what is older is set
    aside, unless the app itself has set aside what is to stay so.
    """
    before = _open[exact] = _Before(gc.get_freeze_count() < FEW, tracemalloc.is_tracing())
    try:
        if before.unfrozen:
            _collect(YOUNG)  # it comes back among the oldest, where garbage waits for long
            gc.freeze()
        exact.start()
        yield ALL if before.unfrozen else YOUNG
    finally:
        exact.stop()
        if before.unfrozen:
            gc.unfreeze()
        del _open[exact]


def _close_in_child() -> None:
    """Close what was open in the parent: nobody here would ever do it."""
    for before in _open.values():
        if not before.tracing:
            tracemalloc.stop()  # the tracer may not have known yet that it runs
        if before.unfrozen:
            gc.unfreeze()
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)


def _collect(generation: int) -> None:
    if gc.isenabled():
        gc.collect(generation)
