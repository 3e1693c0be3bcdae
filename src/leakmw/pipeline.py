"""The steps of the background thread: snapshot, growth, report, log."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from leakmw import allocators, meters
from leakmw.analysis.findings import analyse, compare, findings, ranked
from leakmw.analysis.forecast import Level, seconds_to_limit
from leakmw.analysis.fragmentation import fragmentation
from leakmw.analysis.history import History, visited
from leakmw.analysis.native_findings import with_company
from leakmw.heap.child import Child
from leakmw.heap.explaining import explained
from leakmw.heap.garbage import Garbage
from leakmw.heap.inspector import Inspector
from leakmw.heap.pauses import Pauses
from leakmw.heap.search import Asked, Search
from leakmw.records import (
    Holdings,
    Live,
    Profile,
    Report,
    Snapshot,
    SnapshotError,
    WorkerStatus,
)
from leakmw.report.events import Events
from leakmw.settings import SettingsError
from leakmw.store.glances import Glances
from leakmw.store.memory import MemoryStore
from leakmw.tracers import pools, sampling
from leakmw.tracers.births import untraced
from leakmw.tracers.exact import ExactTracer
from leakmw.tracers.functions import described, short
from leakmw.tracers.ownership import Ownership
from leakmw.tracers.windows import WindowedTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextvars import ContextVar

    from leakmw.analysis.findings import Analysis
    from leakmw.background import Outward
    from leakmw.heap.search import Looked
    from leakmw.records import (
        Answer,
        Births,
        Collecting,
        Diff,
        Endpoint,
        Engine,
        Estimate,
        Failure,
        Finding,
        Frame,
        Heap,
        Trace,
        Tracer,
        Worker,
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

    Attributes:
        store: The history; may be read from any thread.
    """

    def __init__(
        self,
        settings: Settings,
        failed: Callable[[str, BaseException], None],
        outward: Outward,
        current: tuple[ContextVar[Any], object],
    ) -> None:
        self.store = MemoryStore()
        self._settings = settings
        self._worker = meters.worker()
        self._meters = meters.Meters(pools.read)
        self._events = Events(settings, self._worker, failed)
        self._failed = failed
        self._tracer = _tracer(settings, failed, current)
        self._outward = outward
        self._history = History()
        self._garbage = Garbage(meters.rss_bytes, meters.room_bytes, failed)
        self._search = Search(meters.rss_bytes, meters.room_bytes, short)
        self._missing: str | None = None
        self._growing: list[Finding] = []
        self._endpoints: Callable[[], Mapping[str, Endpoint]] = dict
        self._collecting = True
        self._inspector = Inspector(
            Child(meters.rss_bytes, meters.room_bytes),
            self._tracer.born,
            tracemalloc.stop if samples(settings) else untraced,
            _described,
            self._holdings,
        )
        visit, ours = current
        self._pauses = Pauses(visit if samples(settings) else None, ours)
        self._trim = allocators.Trim(failed)
        self._glances = Glances()
        self._number = 0

    def start(self) -> None:
        """Start the tracer unless it runs, and count collections."""
        self._pauses.start()
        self._tracer.start()

    def close(self) -> None:
        """Stop the tracer if leakmw started it, and count no more."""
        self._pauses.stop()
        self._tracer.stop()

    def snapshot(
        self, endpoints: Callable[[], Mapping[str, Endpoint]], in_flight: Callable[[], int]
    ) -> Snapshot:
        """Take a snapshot and keep it.

        Args:
            endpoints: Counts the visits of every endpoint.

            in_flight: Counts the visits being served.

        Raises:
            SnapshotError: If the tracer cannot take one now.
        """
        self._endpoints = endpoints
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
            _views(endpoints()),
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
        return max(1, self._settings.every // (GLANCES if self._glances.wanted else 2))

    def glance(self, endpoints: Callable[[], Mapping[str, Endpoint]]) -> None:
        """Look at the C heap, if that may tell whose growth there is.

        Args:
            endpoints: Counts the visits of every endpoint.
        """
        if self._glances.wanted:
            self._glances.take(self._meters.c_heap().get("native_bytes"), endpoints())

    def due(self, visits: int) -> bool:
        """Say whether *visits* since the last snapshot are enough for another.

        The first is what all growth is measured from: it need only wait until the app is warm.
        """
        every = self._settings.every if self._number else self._settings.every // 2
        return visits >= max(1, every, self._tracer.least_visits)

    def report(self, last: Snapshot) -> None:
        """Make the report of the latest snapshot, keep it and log it.

        Args:
            last: As :meth:`snapshot` returned it.
        """
        analysis: Analysis = last.trace.digest
        every = findings(
            analysis,
            self._settings,
            described,
            self._history.confirmed(),
            partial(self._garbage.waiting_at, last.number),
        )
        visits = {name: endpoint.visits for name, endpoint in last.endpoints.items()}
        self._collecting = analysis.collecting
        every = self._explained(every)
        every = with_company([*every, *self._unused(analysis, last.number)], sys.modules)
        found, changes = self._history.update(
            every[: self._settings.top], {finding.fingerprint for finding in every}, visits
        )
        report = Report(
            id=last.id,
            taken_at=last.taken_at,
            service=self._settings.service,
            version=self._settings.version,
            worker=self._worker,
            engine=last.engine,
            window=analysis.window,
            memory=replace(last.memory, seconds_to_limit=self._forecast()),
            endpoints=analysis.endpoints,
            findings=tuple(ranked(found)),
            notes=(*self._tracer.notes(), *self._declined()),
        )
        self.store.report = report
        self._outward(partial(self._events.report, report, changes))

    def _explained(self, every: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return findings with what is known of what holds them."""
        self._growing = [one for one in every[: self._settings.top] if one.grows and one.born]
        return tuple(ranked(self._told(one) if one.grows else one for one in every))

    def _declined(self) -> Iterable[str]:
        """Yield what could not be looked at in the heap, and why."""
        if self._missing is not None:
            yield f"what holds the growth was not looked for: {self._missing}"
        if self._garbage.missing is not None:
            yield f"how much is garbage is not known: {self._garbage.missing}"

    def look_for_holders(self) -> None:
        """Look at the heap for what holds the latest findings, where that is due.

        It may take a child some seconds: the report is out by then, and the next one says it.
        """
        births = self._births()
        if births.told and self._search.due(self._asked()):
            self._missing = None
            try:
                self._look(births)
            except SnapshotError as error:
                self._missing = str(error)
                self._failed("heap", error)

    def _told(self, finding: Finding) -> Finding:
        known = self._search.known(finding.fingerprint)
        return explained(finding, known, collecting=self._collecting)

    def _asked(self) -> list[Asked]:
        return [Asked(one.fingerprint, partial(self._visited, one)) for one in self._growing]

    def _visited(self, finding: Finding) -> int:
        counts = {name: endpoint.visits for name, endpoint in self._endpoints().items()}
        return visited(finding, counts)

    def _births(self) -> Births:
        wanted: dict[tuple[str, int], dict[str, str]] = {}
        for one in self._growing:
            if one.born is not None:
                place = wanted.setdefault((one.born.file, one.born.line), {})
                place[one.growth.endpoint] = one.fingerprint
        snapshots = self.store.snapshots
        views = _views(snapshots[-1].endpoints) if snapshots else frozenset()
        return self._tracer.births(wanted, views)

    def _look(self, births: Births, *, types: bool = False) -> Looked:
        own = Ownership(_views(self._endpoints())).own
        return self._search.look(self._asked(), births, own, types=types)

    def _holdings(self) -> Holdings:
        """Look at the heap because somebody asks for it.

        Raises:
            SnapshotError: If it cannot be looked at.
        """
        looked = self._look(self._births(), types=True)
        return Holdings(
            objects=looked.seen.objects,
            containers=tuple(looked.seen.containers),
            types=tuple(looked.seen.types),
            findings=tuple(map(self._told, self._growing)),
            seconds=looked.seconds,
            pause_seconds=looked.pause_seconds,
        )

    def _unused(self, analysis: Analysis, number: int) -> tuple[Finding, ...]:
        """Return what is to be said of memory that nothing uses."""
        if analysis.idle is None:
            return ()
        trimmed = self._trim.given_back(number) if analysis.idle.c_heap else None
        return (fragmentation(analysis.idle, trimmed, allocators.arenas()),)

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

    def look(self, question: Callable[[Heap], Answer]) -> Answer:
        """Ask the heap.

        Raises:
            SnapshotError: If it cannot be told now.
        """
        return question(self._inspector)

    def collecting(self) -> Collecting | None:
        """Return what collections have taken; from any thread."""
        return self._pauses.read()

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return every worker that is known; from any thread."""
        last = self.store.snapshots[-1:]
        return tuple(_status(self._settings, self._worker, snapshot) for snapshot in last)

    def profiles(self) -> tuple[Profile, ...]:
        """Return the latest profile of each live worker; from any thread."""
        return tuple(_profile(self._worker, snapshot) for snapshot in self.store.snapshots[-1:])

    def births(self, things: Iterable[object]) -> list[Frame | None]:
        """Return where each of *things* was born, as far as it is known; from any thread."""
        frames = list(map(self._tracer.born, things))
        known = tuple({frame for frame in frames if frame is not None})
        places = dict(zip(known, described(known), strict=True))
        return [None if frame is None else places[frame] for frame in frames]

    def say(self, failure: Failure, count: int) -> None:
        """Log an error of leakmw's own."""
        self._outward(partial(self._events.self_error, failure, count))

    def _forecast(self) -> Estimate | None:
        """Return when the limit is met, as far as the same one left least room all the time."""
        levels: list[Level] = []
        for snapshot in self.store.snapshots:
            memory = snapshot.memory
            if memory.used_bytes is not None and memory.room_bytes is not None:
                level = Level(
                    snapshot.visits, snapshot.clock, memory.used_bytes, memory.room_bytes
                )
                levels.append(level)
        return seconds_to_limit(levels)

    def _engine(self) -> Engine:
        """Describe the tracer with the share of CPU time that leakmw itself has used."""
        lookers = (self._garbage, self._search, self._inspector, self._trim)
        looking = sum(one.cpu_seconds for one in lookers)
        children = self._tracer.child_cpu_seconds + looking
        spent = time.thread_time() + children + self._tracer.hook_cpu_seconds
        return replace(self._tracer.engine(), cost_ratio=spent / (time.process_time() + children))


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


def _status(settings: Settings, worker: Worker, last: Snapshot) -> WorkerStatus:
    return WorkerStatus(
        worker=worker,
        alive=True,
        seen_at=last.taken_at,
        visits=last.visits,
        snapshots=last.number,
        service=settings.service,
        version=settings.version,
        engine=last.engine,
        memory=last.memory,
        snapshot_seconds=last.trace.seconds,
        pause_seconds=last.trace.pause_seconds,
    )


def _profile(worker: Worker, last: Snapshot) -> Profile:
    return Profile(
        worker=worker,
        snapshot=last.id,
        taken_at=last.taken_at,
        sample_bytes=last.engine.sample_bytes,
        rows=tuple(
            Live(row.endpoint, row.traceback, row.bytes, row.blocks) for row in last.trace.rows
        ),
    )


def _views(endpoints: Mapping[str, Endpoint]) -> frozenset[str]:
    return frozenset(span.file for endpoint in endpoints.values() for span in endpoint.views)


def _described(frames: Iterable[Frame]) -> Sequence[Frame]:
    return described(tuple(frames))


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
