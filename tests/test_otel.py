"""An app that has OpenTelemetry gets the figures and the events by it, and nothing is set up."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk._logs import export as logs_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum
from tests.conftest import say

from leakmw import otel
from leakmw.logs import fields
from leakmw.monitor import Monitor
from leakmw.records import Route
from leakmw.report.events import Events
from leakmw.report.figures import FIGURES
from leakmw.settings import Settings
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import ShopMonitor

    from leakmw.records import Report

    Told = dict[str, list[tuple[dict[str, Any], float]]]


@pytest.fixture(name="reader")
def _reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """Return a reader of all that leakmw tells a meter provider."""
    monkeypatch.setattr(otel, "SECONDS", 0.0)  # a test does not wait for what is new
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    otel.instrument(provider)
    yield reader
    provider.shutdown()


def told(reader: InMemoryMetricReader, service: str) -> Told:
    """Return the points of one app by the names of their metrics."""
    found: Told = {}
    data: Any = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            assert scope.scope.name == "leakmw"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = dict(point.attributes)
                    if attributes.pop("leakmw.service", None) == service:
                        found.setdefault(metric.name, []).append((attributes, point.value))
    return found


class _App:
    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]


def test_a_real_app_is_told_of(
    watch_wsgi: Callable[..., Any], reader: InMemoryMetricReader
) -> None:
    """Its visits and snapshots, its size and the cost, under the process that they are of."""
    face = watch_wsgi(_App(), frames=1, service="otel-real")
    for _ in range(3):
        face({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    face.monitor.take_snapshot(600)
    said = told(reader, "otel-real")

    process = {"process.pid": os.getpid()}
    assert said["leakmw.visits"] == [(process, 3)]
    assert said["leakmw.snapshots"] == [(process, 1)]
    assert said["leakmw.workers"] == [({}, 1)]
    ((attributes, size),) = said["leakmw.memory.resident"]
    assert attributes == process
    assert size > 1 << 20
    assert said["leakmw.heap.traced"][0][1] > 0


def test_figures_have_units_and_are_counters_or_gauges(
    watch_wsgi: Callable[..., Any], reader: InMemoryMetricReader
) -> None:
    """Just as Prometheus gets them, with UCUM's units."""
    face = watch_wsgi(_App(), frames=1, service="otel-units")
    face.monitor.take_snapshot(600)
    data: Any = reader.get_metrics_data()
    known = {figure.name: figure for figure in FIGURES}

    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        figure = known[metric.name]
        assert (metric.unit, metric.description) == (figure.unit, figure.meaning)
        assert isinstance(metric.data, Sum) == figure.grows
    assert len(known) == len(FIGURES)
    assert all(name.startswith("leakmw.") for name in known)


class _Known(Monitor):
    """A monitor that knows the shop."""

    def __init__(self, shop: ShopMonitor, service: str) -> None:
        super().__init__(Settings(service=service), lambda _: Route("GET", None))
        self._shop = shop

    def workers(self) -> Any:
        """Return what the test chose."""
        return self._shop.workers()

    @property
    def begun(self) -> bool:
        """Whether anything runs."""
        return True

    def report(self) -> Report | None:
        """Return what the test chose."""
        return self._shop.report()


def test_leaks_have_the_attributes_of_the_conventions(
    shop_monitor: ShopMonitor, reader: InMemoryMetricReader
) -> None:
    """Route and method; what has none of these is told without."""
    monitor = _Known(shop_monitor, "otel-leaks")
    said = told(reader, "otel-leaks")
    monitor.close()

    login = {"http.route": "/login", "http.request.method": "POST"}
    leak = {"leakmw.fingerprint": "9f2c41d0b7aa", "leakmw.site": "shop/views.py:42"}
    assert said["leakmw.leak.suspected"] == [(leak | login, 1)]
    assert (login, 1123.9) in said["leakmw.endpoint.request.growth"]
    assert said["leakmw.findings"][0] == ({"leakmw.verdict": "leak"}, 0)


def test_a_process_tells_of_itself_alone(
    shop_monitor: ShopMonitor, reader: InMemoryMetricReader
) -> None:
    """Each worker exports: what another one has is not exported twice."""
    monitor = _Known(shop_monitor, "otel-others")
    said = told(reader, "otel-others")
    monitor.close()

    assert "leakmw.visits" not in said
    assert "leakmw.endpoint.retained" not in said
    assert "leakmw.findings" in said


def test_an_app_that_is_gone_is_not_told_of_nor_kept(reader: InMemoryMetricReader) -> None:
    """The meter provider lives on; the app does not by it."""
    face = LeakMiddleware(_App(), token=None, frames=1, service="otel-gone")
    face.monitor.take_snapshot(600)
    assert told(reader, "otel-gone")["leakmw.overhead.budget"] == [({}, 0.01)]
    face.monitor.close()
    assert told(reader, "otel-gone") == {}
    gone = weakref.ref(face.monitor)
    del face
    gc.collect()

    assert gone() is None


def test_an_app_without_visits_is_left_alone(reader: InMemoryMetricReader) -> None:
    """Nothing is started for the sake of its figures: a server's parent process has such apps."""
    before = threading.active_count()
    face = LeakMiddleware(_App(), service="otel-idle")

    assert told(reader, "otel-idle") == {}
    assert not face.monitor.begun
    assert threading.active_count() == before


def test_nothing_is_configured_globally(reader: InMemoryMetricReader) -> None:
    """Not the provider that other code gets, and nothing without being asked."""
    assert isinstance(metrics.get_meter_provider(), metrics._internal._ProxyMeterProvider)
    script = "import sys, leakmw.wsgi, leakmw.admin.routes; print('opentelemetry' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    for name in ("opentelemetry", "opentelemetry.metrics"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "leakmw.otel")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'leakmw\[otel\]'"):
        importlib.import_module("leakmw.otel")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the handler has moved to another place
@pytest.mark.parametrize("preset", ["flat", "otel"])
def test_events_are_log_records_where_the_app_exports_its_logs(
    preset: Any, shop_report: Report, plain_logging: None
) -> None:
    """The handler on the root logger gets them with all fields as attributes."""
    in_memory: Any = logs_export.InMemoryLogExporter
    exporter = in_memory()
    provider = sdk_logs.LoggerProvider()
    provider.add_log_record_processor(logs_export.SimpleLogRecordProcessor(exporter))
    handler = sdk_logs.LoggingHandler(logger_provider=provider)
    handler.addFilter(fields(preset))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        say(Events(Settings(service="shop"), shop_report.worker), shop_report)
    finally:
        root.removeHandler(handler)
        provider.shutdown()
    finished: Any = exporter.get_finished_logs()
    (record,) = [data.log_record for data in finished]
    attributes = dict(record.attributes)

    assert record.severity_text in {"WARN", "WARNING"}
    assert record.body.startswith("leakmw.leak_suspected fingerprint=9f2c41d0b7aa ")
    if preset == "flat":
        assert attributes["event"] == "leakmw.leak_suspected"
        assert attributes["endpoint"] == "POST /login"
        assert attributes["bytes_per_request"] == 1123.9
    else:
        assert attributes["event.name"] == "leakmw.leak_suspected"
        assert attributes["http.route"] == "/login"
        assert attributes["leakmw.bytes_per_request"] == 1123.9
