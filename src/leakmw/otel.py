"""leakmw's figures as OpenTelemetry metrics, through the app's own meter provider."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

try:
    from opentelemetry.metrics import Observation, get_meter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "leakmw.otel needs opentelemetry-api: pip install 'leakmw[otel]'", name=error.name
    ) from error

from leakmw.monitor import MONITORS
from leakmw.records import Live, Profile
from leakmw.report.figures import FIGURES
from leakmw.report.readings import Seen, condensed
from leakmw.report.routes import attributes
from leakmw.report.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from leakmw.monitor import Monitor
    from leakmw.records import Snapshot, Worker
    from leakmw.report.figures import Figure
    from leakmw.report.readings import Reading

SECONDS = 1.0
"""How long what was seen is good for: all instruments are read at about the same time."""


def instrument(meter_provider: MeterProvider | None = None) -> None:
    """Export the figures of every app that leakmw watches in this process, now or later.

    Call it once, where the app sets OpenTelemetry up. Nothing is configured globally. Each process
    tells of itself alone, as is OpenTelemetry's way. Two apps in one process are told apart by the
    setting ``service``.

    Args:
        meter_provider: Where they go; ``None`` is the one that the app has set globally.
    """
    meter = get_meter("leakmw", meter_provider=meter_provider)
    source = _Source()
    for figure in FIGURES:
        create = meter.create_observable_counter if figure.grows else meter.create_observable_gauge
        create(figure.name, [_reader(figure, source)], figure.unit, figure.meaning)


class _App(NamedTuple):
    """What is seen of one app.

    Attributes:
        service: As its settings name it.
        seen: What its figures are read from.
    """

    service: str | None
    seen: Seen


class _Source:
    """Looks at the apps of this process, not once for each instrument."""

    def __init__(self) -> None:
        self._apps: tuple[_App, ...] = ()
        self._until = 0.0
        self._pid = 0

    def apps(self) -> tuple[_App, ...]:
        """Return what is seen of each."""
        now, pid = time.monotonic(), os.getpid()
        if now >= self._until or pid != self._pid:
            # the references are copied at once: an app may begin or end meanwhile
            monitors = [reference() for reference in MONITORS.valuerefs()]
            self._apps = tuple(_app(one, pid) for one in monitors if one and one.begun)
            self._until, self._pid = now + SECONDS, pid
        return self._apps


def _app(monitor: Monitor, pid: int) -> _App:
    workers = [status for status in monitor.workers() if status.worker.pid == pid]
    profiles = [
        condensed(_profile(status.worker, snapshot))
        for status in workers
        for snapshot in monitor.snapshots()[-1:]
    ]
    settings = monitor.settings
    return _App(settings.service, Seen(workers, profiles, monitor.report(), settings.overhead))


def _profile(worker: Worker, last: Snapshot) -> Profile:
    """Return this worker's own, without waiting for it and without a name for its frames."""
    return Profile(
        worker=worker,
        snapshot=last.id,
        taken_at=last.taken_at,
        sample_bytes=last.engine.sample_bytes,
        rows=tuple(Live(row.endpoint, (), row.bytes, row.blocks) for row in last.trace.rows),
    )


def _reader(figure: Figure, source: _Source) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_options: CallbackOptions) -> Iterator[Observation]:
        for app in source.apps():
            for reading in figure.read(app.seen):
                yield Observation(reading.value, _attributes(reading, app.service))

    return read


def _attributes(reading: Reading, service: str | None) -> dict[str, str | int]:
    said: dict[str, str | int] = {} if service is None else {"leakmw.service": service}
    for name, value in reading.of.items():
        if name == "endpoint":
            said |= {key: printable(part) for key, part in attributes(value).items()}
        elif name == "worker":
            said["process.pid"] = int(value)
        elif value:
            said[f"leakmw.{name}"] = printable(value)
    return said
