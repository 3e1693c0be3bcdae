"""The steps of the background thread: snapshot, growth, report, log."""

from __future__ import annotations

import gc
import time
import tracemalloc
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from leakmw import meters
from leakmw.analysis.growths import analyse, compare
from leakmw.fleet import Fleet, profile
from leakmw.heap.pauses import Pauses
from leakmw.looking import Looking, views
from leakmw.pace import CALM_PART, Pace
from leakmw.records import Snapshot
from leakmw.report.events import Events
from leakmw.reporting import Reporting
from leakmw.settings import EVERY, SettingsError
from leakmw.store.glances import Glances
from leakmw.tracers import pools, sampling
from leakmw.tracers.exact import ExactTracer
from leakmw.tracers.functions import described
from leakmw.tracers.windows import WindowedTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import ContextVar

    from leakmw.background import Outward
    from leakmw.records import (
        Answer,
        Collecting,
        Diff,
        Endpoint,
        Engine,
        Failure,
        Frame,
        Heap,
        Profile,
        Report,
        Trace,
        Tracer,
    )
    from leakmw.settings import Settings


GLANCES = 20
"""Glances at the C heap from one snapshot to the next, while nobody knows whose growth it is."""


class Pipeline:
    """What one process needs to get from a snapshot to a log event. Lives on one thread.

    Args:
        settings: What the user chose.

        failed: Told of errors that need not stop the work.

        outward: Calls what takes locks of the app.

        current: Holds the current visit, and its value on leakmw's own thread.

        counts: Count the visits of every endpoint, and leakmw's own errors.

    Attributes:
        worker: This process.
        store: The history of this worker; may be read from any thread.
        fleet: The other workers.
    """

    def __init__(
        self,
        settings: Settings,
        failed: Callable[[str, BaseException], None],
        outward: Outward,
        current: tuple[ContextVar[Any], object],
        counts: tuple[Callable[[], Mapping[str, Endpoint]], Callable[[], int]],
    ) -> None:
        endpoints, _ = counts
        self.worker, sampled = meters.worker(), samples(settings)
        self.fleet = Fleet(settings, self.worker, failed, counts)
        self.store = self.fleet.store
        self._meters = meters.Meters(pools.read)
        self._tracer = _tracer(settings, failed, current)
        self._endpoints = endpoints
        self._looking = Looking(self._tracer, endpoints, failed, settings.top, sampled=sampled)
        events = Events(settings, self.worker, failed)
        self._reporting = Reporting(settings, events, outward, self._looking, self.fleet)
        visit, ours = current
        self._pauses = Pauses(visit if sampled else None, ours)
        self._glances = Glances()
        # what was asked for is kept to
        self._waits = settings.every == EVERY
        self._pace = Pace(settings.overhead)
        self._number = 0

    def start(self) -> None:
        """Start the tracer unless it runs, and count collections."""
        self._pauses.start()
        self._tracer.start()

    def close(self) -> None:
        """Stop the tracer if leakmw started it, count no more, and close the store."""
        self._pauses.stop()
        self._tracer.stop()
        self.fleet.close()

    def snapshot(self, in_flight: Callable[[], int]) -> Snapshot:
        """Take a snapshot and keep it.

        Args:
            in_flight: Counts the visits being served.

        Raises:
            SnapshotError: If the tracer cannot take one now.
        """
        self._pace.begin(self._spent(), time.process_time())
        endpoints = self._endpoints
        number, name = self._number + 1, uuid.uuid4().hex[:12]
        moment = _Moment(endpoints, in_flight, self._meters.c_heap)
        memory = self._meters.memory()

        def of(trace: Trace) -> Snapshot:
            return Snapshot(
                id=name,
                number=number,
                taken_at=moment.taken_at,
                clock=moment.clock,
                trace=trace,
                endpoints=moment.endpoints,
                in_flight=moment.in_flight,
                collections=moment.collections,
                memory=replace(memory, **moment.c_heap),
                engine=self._tracer.engine(),
            )

        trace = self._tracer.trace(
            views(endpoints()),
            moment.mark,
            lambda trace: analyse(self.store.joined(of(trace)), self._glances.taken),
        )
        snapshot = replace(of(trace), engine=self._engine())
        self.store.add(snapshot)
        self._number = number
        self._glances.wanted = trace.digest.undecided
        return snapshot

    @property
    def step(self) -> int:
        """Visits after which there may be something to do."""
        return max(1, self._window // (GLANCES if self._glances.wanted else 1))

    @property
    def _window(self) -> int:
        """Visits until the next snapshot; half as many until the first one."""
        return self.fleet.every if self._number else self.fleet.every // 2

    def glance(self) -> None:
        """Look at the C heap, if that may tell whose growth there is."""
        if self._glances.wanted:
            self._glances.take(self._meters.c_heap().get("native_bytes"), self._endpoints())

    def due(self, visits: int) -> bool:
        """Say whether *visits* since the last snapshot are enough for another.

        The first is what all growth is measured from: it need only wait until the app is warm.
        Where nothing grows, and nobody has said how often, a later one waits until it can be
        afforded.
        """
        if visits < max(1, self._window, self._tracer.least_visits):
            return False
        return (
            not self._waits
            or self._pace.affords(*self._used(), self.fleet.size)
            or self._reporting.in_question
        )

    def report(self, last: Snapshot, *, wanted: bool) -> None:
        """Make the report of the latest snapshot, keep it and log it.

        Args:
            last: As :meth:`snapshot` returned it.

            wanted: Whether somebody waits for it.
        """
        self._reporting.report(last, wanted=wanted)
        self._pace.end(self._spent())
        calm = self._reporting.calm and not self._pace.begins(self.fleet.size)
        self._tracer.ease(CALM_PART if calm else 1.0)

    def tick(self, *, asked: bool) -> None:
        """Speak to other workers, about once in a second.

        Args:
            asked: Whether somebody waits for what they have said.
        """
        if self.fleet.tick(asked=asked):
            self._reporting.unite()

    def look_for_holders(self) -> None:
        """Look at the heap for what holds the latest findings, and tell the other workers."""
        self._reporting.look_for_holders()

    def look(self, question: Callable[[Heap], Answer]) -> Answer:
        """Ask the heap.

        Raises:
            SnapshotError: If it cannot be told now.
        """
        return self._looking.look(question)

    def compare(self, older: str, newer: str) -> Diff:
        """Compare two kept snapshots by their ids, in the order in which they were taken.

        Raises:
            KeyError: If one of them is not kept.
            SnapshotError: If they cannot be compared.
        """
        snapshots = self.store.snapshots
        kept = {snapshot.id: snapshot for snapshot in snapshots}
        first, second = sorted((kept[older], kept[newer]), key=lambda one: one.number)
        return compare(snapshots, first, second, described)

    def collecting(self) -> Collecting | None:
        """Return what collections have taken; from any thread."""
        return self._pauses.read()

    def all_reported(self) -> Report | None:
        """Return the latest report on all workers; from any thread."""
        return self.fleet.report() or self.store.report

    def profiles(self) -> tuple[Profile, ...]:
        """Return the latest profile of each live worker.

        Raises:
            SnapshotError: If they cannot be read now.
        """
        if self.fleet.alone:
            last = self.store.snapshots[-1:]
            return tuple(profile(self.worker, one, described) for one in last)
        return self.fleet.profiles()

    def births(self, things: Iterable[object]) -> list[Frame | None]:
        """Return where each of *things* was born, as far as it is known; from any thread."""
        frames = list(map(self._tracer.born, things))
        known = tuple({frame for frame in frames if frame is not None})
        places = dict(zip(known, described(known), strict=True))
        return [None if frame is None else places[frame] for frame in frames]

    def say(self, failure: Failure, count: int) -> None:
        """Log an error of leakmw's own."""
        self._reporting.say(failure, count)

    def _spent(self) -> float:
        """Return the CPU time of this thread and of the tracer's children."""
        return time.thread_time() + self._tracer.child_cpu_seconds

    def _used(self) -> tuple[float, float]:
        """Return the CPU time of all of leakmw in this process, and that of the whole process."""
        children = self._tracer.child_cpu_seconds + self._looking.cpu_seconds
        used = time.thread_time() + children + self._tracer.hook_cpu_seconds
        return used, time.process_time() + children

    def _engine(self) -> Engine:
        """Describe the tracer with the share of CPU time that leakmw itself has used."""
        used, process = self._used()
        return replace(self._tracer.engine(), cost_ratio=used / process)


def samples(settings: Settings) -> bool:
    """Say whether the tracer of *settings* is the sampling one in this Python.

    Raises:
        SettingsError: If they ask for it and it cannot be had.
    """
    reason = sampling.unavailable()
    if settings.engine == "sampling" and reason:
        raise SettingsError(
            f"leakmw: setting 'engine' has the value 'sampling': its extension does not load "
            f"({reason}); `leakmw doctor` says what to do, and engine='auto' does without it"
        )
    return settings.engine != "tracemalloc" and not reason


def _tracer(
    settings: Settings,
    failed: Callable[[str, BaseException], None],
    current: tuple[ContextVar[Any], object],
) -> Tracer:
    if samples(settings):
        return sampling.SamplingTracer(
            settings.frames, settings.overhead, settings.sample_bytes, *current
        )
    exact = ExactTracer(settings.frames, meters.room_bytes, failed)
    if settings.engine == "auto" and not tracemalloc.is_tracing():
        return WindowedTracer(exact, settings.overhead)
    return exact  # asked for, or its price is paid already


class _Moment:
    """What is counted at the moment that a trace shows: growth is divided by these visits.

    Args:
        endpoints: Counts the visits of every endpoint.

        in_flight: Counts the visits being served.

        c_heap: Reads the C heap; nothing if it is too early to read it again.
    """

    def __init__(
        self,
        endpoints: Callable[[], Mapping[str, Endpoint]],
        in_flight: Callable[[], int],
        c_heap: Callable[[], Mapping[str, int]],
    ) -> None:
        self._count = endpoints
        self._count_in_flight = in_flight
        self._read_c_heap = c_heap
        self.c_heap: Mapping[str, Any] = {}
        self._look()

    def mark(self) -> int:
        """Count, and return all visits so far. Nothing here lets another thread run."""
        self.c_heap = self._read_c_heap() or self.c_heap
        return self._look()

    def _look(self) -> int:
        self.endpoints = self._count()
        self.in_flight = self._count_in_flight()
        self.collections = gc.get_stats()[-1]["collections"] if gc.isenabled() else None
        self.taken_at = datetime.now(UTC)
        self.clock = time.monotonic()
        return sum(endpoint.visits for endpoint in self.endpoints.values())
