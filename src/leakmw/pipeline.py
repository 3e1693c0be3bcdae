"""The steps of the background thread: snapshot, growth, report, log."""

from __future__ import annotations

import gc
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from leakmw import meters
from leakmw.analysis.findings import analyse, compare
from leakmw.records import Report, Snapshot
from leakmw.report.events import Events
from leakmw.store.memory import MemoryStore
from leakmw.tracers.exact import ExactTracer
from leakmw.tracers.functions import described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leakmw.records import Diff, Endpoint, Engine, Failure, Tracer, Worker
    from leakmw.settings import Settings


Part = TypeVar("Part")


class Pipeline:
    """What one process needs to get from a snapshot to a log event. Lives on one thread.

    Args:
        settings: What the user chose.

        failed: Told of errors that a log of the app raises.

    Attributes:
        store: The history; may be read from any thread.
    """

    def __init__(self, settings: Settings, failed: Callable[[str, BaseException], None]) -> None:
        self.store = MemoryStore()
        self._settings = settings
        self._failed = failed
        self._number = 0
        self._tracer: Tracer | None = None
        self._worker: Worker | None = None
        self._events: Events | None = None

    def start(self) -> None:
        """Start the tracer, the first time."""
        if self._tracer is not None:
            return
        self._worker = meters.worker()
        tracer = ExactTracer(self._settings.frames, meters.room_bytes)
        tracer.start()
        self._tracer = tracer

    def close(self) -> None:
        """Stop the tracer if leakmw started it."""
        if self._tracer is not None:
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
        tracer = _ready(self._tracer)
        views = {span.file for endpoint in endpoints().values() for span in endpoint.views}
        moment = _Moment(endpoints, in_flight)
        trace = tracer.trace(frozenset(views), moment.mark)
        self._number += 1
        snapshot = Snapshot(
            id=uuid.uuid4().hex[:12],
            number=self._number,
            taken_at=moment.taken_at,
            clock=moment.clock,
            trace=trace,
            endpoints=moment.endpoints,
            in_flight=moment.in_flight,
            collections=gc.get_stats()[-1]["collections"] if gc.isenabled() else None,
            memory=meters.memory(),
            engine=self._engine(tracer),
        )
        self.store.add(snapshot)
        return snapshot

    def report(self) -> None:
        """Make the report of the snapshots kept, keep it and log it."""
        tracer, worker = _ready(self._tracer), _ready(self._worker)
        last = self.store.snapshots[-1]
        analysis = analyse(self.store.snapshots, self._settings, described)
        report = Report(
            id=last.id,
            taken_at=last.taken_at,
            service=self._settings.service,
            version=self._settings.version,
            worker=worker,
            engine=last.engine,
            window=analysis.window,
            memory=last.memory,
            endpoints=analysis.endpoints,
            findings=analysis.findings,
            notes=tracer.notes(),
        )
        self.store.report = report
        self._speaker().report(report)

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

    def say(self, failure: Failure, count: int) -> None:
        """Log an error of leakmw's own."""
        self._speaker().self_error(failure, count)

    def _speaker(self) -> Events:
        if self._events is None:
            self._events = Events(self._settings, self._worker or meters.worker(), self._failed)
        return self._events

    def _engine(self, tracer: Tracer) -> Engine:
        """Describe the tracer with the share of CPU time that leakmw itself has used."""
        children = tracer.child_cpu_seconds
        spent = time.thread_time() + children
        return replace(tracer.engine(), cost_ratio=spent / (time.process_time() + children))


class _Moment:
    """What is counted at the moment that a trace shows: growth is divided by these visits."""

    def __init__(
        self, endpoints: Callable[[], Mapping[str, Endpoint]], in_flight: Callable[[], int]
    ) -> None:
        self._count = endpoints
        self._count_in_flight = in_flight
        self.mark()

    def mark(self) -> None:
        self.endpoints = self._count()
        self.in_flight = self._count_in_flight()
        self.taken_at = datetime.now(UTC)
        self.clock = time.monotonic()


def _ready(part: Part | None) -> Part:
    if part is None:
        raise RuntimeError("the pipeline has not been started")
    return part
