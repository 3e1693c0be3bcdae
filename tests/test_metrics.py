"""Prometheus gets the figures that the records hold, in its own formats, and never too many."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families

from leakmw.records import Frame, Live, Profile, SnapshotError, Verdict, Worker, WorkerStatus
from leakmw.report.figures import FIGURES
from leakmw.report.metrics import exposition
from leakmw.report.readings import MAX_ENDPOINTS, MAX_LEAKS, MAX_WORKERS, Seen
from leakmw.report.routes import attributes, named

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ShopMonitor

    from leakmw.admin.messages import AdminResponse
    from leakmw.records import Report

    Ask = Callable[..., AdminResponse]
    Series = dict[str, list[tuple[dict[str, str], float]]]

_MOMENT = datetime(2026, 11, 22, tzinfo=UTC)
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def series(text: str, parse: Any = families) -> Series:
    """Return the samples of an exposition by name."""
    found: Series = {}
    for family in parse(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def shown(monitor: ShopMonitor) -> Series:
    """Return the samples that Prometheus would have of a shop."""
    seen = Seen(monitor.workers(), monitor.profiles(1), monitor.report(), 0.01)
    return series(exposition(seen, "").body.decode())


def _worker(report: Report, number: int) -> WorkerStatus:
    return WorkerStatus(
        worker=Worker(host="web-1", pid=number, started_at=report.taken_at),
        alive=True,
        seen_at=report.taken_at + timedelta(seconds=number),
        visits=number,
    )


def test_a_scrape_tells_what_the_report_says(ask: Ask) -> None:
    """The figures of the shop are there with their routes, methods and workers."""
    response = ask("GET", "/metrics")
    said = series(response.body.decode())

    assert response.status == 200
    assert dict(response.headers)["Content-Type"].startswith("text/plain; version=")
    pid = {"pid": "71"}
    login = {"route": "/login", "method": "POST"}
    suspect = {"fingerprint": "9f2c41d0b7aa", "site": "shop/views.py:42", "cause": "", **login}
    assert said["leakmw_workers"] == [({}, 1)]
    assert said["leakmw_app_info"] == [({"service": "shop", "version": "1.4.2"}, 1)]
    assert said["leakmw_leak_suspected"] == [(suspect, 1)]
    assert "leakmw_leak_confirmed" not in said
    assert said["leakmw_endpoint_retained_bytes"] == [(login, 4_000_000)]
    assert (login, 1123.9) in said["leakmw_endpoint_growth_bytes_per_request"]
    assert said["leakmw_resident_memory_bytes"] == [(pid, 222_298_112)]
    assert said["leakmw_time_to_limit_seconds"] == [(pid, 23_400)]
    assert said["leakmw_snapshots_total"] == [(pid, 3)]
    assert said["leakmw_snapshot_pause_seconds"] == [(pid, 0.003)]
    assert said["leakmw_overhead_ratio"] == [(pid, 0.006)]
    assert {labels["verdict"]: value for labels, value in said["leakmw_findings"]} == {
        "leak": 0,
        "suspect": 1,
        "bounded": 0,
        "settled": 1,
        "fragmentation": 0,
    }


def test_openmetrics_is_had_for_the_asking(ask: Ask) -> None:
    """It says the same, and is well-formed by the strict parser."""
    plain, strict = ask("GET", "/metrics"), ask("GET", "/metrics", accept=OPENMETRICS)

    assert dict(strict.headers)["Content-Type"].startswith("application/openmetrics-text")
    assert strict.body.endswith(b"# EOF\n")
    assert series(strict.body.decode(), openmetrics) == series(plain.body.decode())


def test_every_figure_is_described_with_its_unit(ask: Ask) -> None:
    """Each has a help text, and one that is measured in something says so."""
    described = {family.name: family for family in families(ask("GET", "/metrics").body.decode())}

    for figure in FIGURES:
        said = described[figure.metric.removesuffix("_total")]
        assert said.documentation == figure.meaning
        assert said.type == ("counter" if figure.grows else "gauge")
        assert figure.metric.endswith("_total") == figure.grows
        for unit in ("bytes", "seconds"):
            assert (unit in figure.metric) == (f"in {unit}" in figure.meaning)


def test_every_metric_is_documented() -> None:
    """The page has each with its labels and meaning, and no other."""
    page = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(leakmw_\w+)` \| (.*) \|$", page, re.MULTILINE))
    del told["leakmw_app_info"]

    assert told == {figure.metric: f"{_labels(figure.by)}| {figure.meaning}" for figure in FIGURES}


def _labels(by: tuple[str, ...]) -> str:
    names = {"endpoint": "`route`, `method`", "worker": "`pid`"}
    labels = ", ".join(names.get(name, f"`{name}`") for name in by)
    return f"{labels} " if labels else ""


def test_what_is_not_known_is_not_said(shop_monitor: ShopMonitor) -> None:
    """A worker without a snapshot has counts, and no figure of anything else."""
    assert shop_monitor.latest is not None
    shop_monitor.peers = (_worker(shop_monitor.latest, 7),)
    shop_monitor.live, shop_monitor.latest = (), None

    assert set(shown(shop_monitor)) == {
        "leakmw_app_info",
        "leakmw_errors_total",
        "leakmw_overhead_budget_ratio",
        "leakmw_snapshots_total",
        "leakmw_visits_total",
        "leakmw_workers",
    }


def test_a_dead_worker_has_no_figures(shop_monitor: ShopMonitor) -> None:
    """Its counts end with it, as those of a process do."""
    (worker,) = shop_monitor.peers
    gone = replace(
        worker, alive=False, worker=Worker(host="web-1", pid=70, started_at=worker.seen_at)
    )
    shop_monitor.peers = (worker, gone)
    said = shown(shop_monitor)

    assert said["leakmw_workers"] == [({}, 1)]
    assert [labels for labels, _ in said["leakmw_visits_total"]] == [{"pid": "71"}]


def test_live_memory_is_that_of_all_workers(shop_monitor: ShopMonitor) -> None:
    """By endpoint it is added up, by worker it is told apart."""
    (profile,) = shop_monitor.live
    other = replace(profile, worker=Worker(host="web-1", pid=72, started_at=profile.taken_at))
    shop_monitor.live = (profile, other)
    said = shown(shop_monitor)

    login = {"route": "/login", "method": "POST"}
    assert said["leakmw_endpoint_retained_bytes"] == [(login, 8_000_000)]
    assert said["leakmw_heap_traced_bytes"] == [
        ({"pid": "71"}, 4_000_000),
        ({"pid": "72"}, 4_000_000),
    ]


def test_there_is_a_cap_on_each_figure(shop_monitor: ShopMonitor) -> None:
    """Of endpoints, leaks and workers past it the worst or latest are told; memory is not lost."""
    report = shop_monitor.latest
    assert report is not None
    (profile,) = shop_monitor.live
    names = [f"GET /{number}" for number in range(2 * MAX_ENDPOINTS)]
    rows = [Live(name, (Frame("a.py", 1),), 10 + at, 1) for at, name in enumerate(names)]
    leak = replace(report.findings[0], verdict=Verdict.LEAK)
    shop_monitor.latest = replace(
        report,
        findings=tuple(replace(leak, fingerprint=f"{at:012x}") for at in range(2 * MAX_LEAKS)),
        endpoints=tuple(replace(leak.growth, endpoint=name) for name in names),
    )
    shop_monitor.live = (replace(profile, rows=tuple(rows)),)
    shop_monitor.peers = tuple(_worker(report, number) for number in range(2 * MAX_WORKERS))
    said = shown(shop_monitor)

    held = said["leakmw_endpoint_retained_bytes"]
    assert len(held) == MAX_ENDPOINTS + 1
    assert sum(value for _, value in held) == sum(row.bytes for row in rows)
    assert ({"route": "/399", "method": "GET"}, 409) in held
    assert len(said["leakmw_endpoint_growth_bytes_per_request"]) == MAX_ENDPOINTS
    assert len(said["leakmw_leak_confirmed"]) == MAX_LEAKS
    assert len(said["leakmw_visits_total"]) == MAX_WORKERS
    assert ({"pid": "127"}, 127) in said["leakmw_visits_total"]
    assert said["leakmw_workers"] == [({}, 2 * MAX_WORKERS)]


def test_profiles_are_read_once_for_a_snapshot(ask: Ask, shop_monitor: ShopMonitor) -> None:
    """Where there is nothing new, and where they cannot be had, those of before are told."""

    def held() -> float:
        said = series(ask("GET", "/metrics").body.decode())
        return sum(value for _, value in said.get("leakmw_heap_traced_bytes", []))

    (worker,), (profile,) = shop_monitor.peers, shop_monitor.live
    assert held() == 4_000_000
    shop_monitor.live = (replace(profile, rows=profile.rows * 2),)
    assert held() == 4_000_000
    shop_monitor.peers = (replace(worker, snapshots=4),)
    shop_monitor.refusal = SnapshotError("a look is under way")
    assert held() == 4_000_000
    shop_monitor.refusal = None
    assert held() == 8_000_000
    shop_monitor.peers = (replace(worker, alive=False),)
    assert held() == 0


@given(st.lists(st.text(), unique=True, max_size=5))
def test_no_name_breaks_a_scrape(names: list[str]) -> None:
    """Whatever endpoints are called, each series is there once and Prometheus can read it."""
    profile = Profile(
        worker=Worker(host="web-1", pid=1, started_at=_MOMENT),
        snapshot="1",
        taken_at=_MOMENT,
        sample_bytes=None,
        rows=tuple(Live(name, (Frame(name, 1),), 5, 1) for name in names),
    )
    body = exposition(Seen((), (profile,), None, 0.01), "").body
    held = series(body.decode()).get("leakmw_endpoint_retained_bytes", [])

    counted = Counter(tuple(sorted(labels.items())) for labels, _ in held)
    assert set(counted.values()) <= {1}
    assert len(held) <= len(names)


def test_the_apps_own_registry_is_left_alone(ask: Ask) -> None:
    """Nothing of leakmw is among what the app itself exports, and nothing of it is lost."""
    before = {family.name for family in REGISTRY.collect()}
    ask("GET", "/metrics")

    assert {family.name for family in REGISTRY.collect()} == before
    assert not any(name.startswith("leakmw") for name in before)


def test_the_library_is_not_loaded_before_somebody_scrapes() -> None:
    """Not even with the admin endpoint's pages; nor is what reads and writes the figures."""
    lazy = {"prometheus_client", "leakmw.report.figures", "leakmw.report.pprof"}
    script = f"import sys, leakmw.admin.routes; print(bool({lazy!r} & set(sys.modules)))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_without_the_library_it_says_what_to_install(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer names the extra."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    response = ask("GET", "/metrics")

    assert response.status == 501
    assert b"pip install 'leakmw[prometheus]'" in response.body


@pytest.mark.parametrize(
    ("endpoint", "method", "route"),
    [
        ("GET /users/{id}", "GET", "/users/{id}"),
        ("WS /live/{room}", "WS", "/live/{room}"),
        ("_OTHER /users", "_OTHER", "/users"),
        ("POST ^orders/(?P<id>[0-9]+) x$", "POST", "^orders/(?P<id>[0-9]+) x$"),
        ("(background)", "", "(background)"),
        ("the till", "", "the till"),
        ("GET", "", "GET"),
    ],
)
def test_a_name_is_taken_apart(endpoint: str, method: str, route: str) -> None:
    """What begins with a method has one; what does not stays whole."""
    assert named(endpoint) == (method, route)
    assert attributes(endpoint)["http.route"] == route


def test_a_websocket_is_a_get_to_opentelemetry() -> None:
    """With the protocol that it goes on with; a plain GET has none."""
    assert attributes("WS /live") == {
        "http.route": "/live",
        "http.request.method": "GET",
        "network.protocol.name": "websocket",
    }
    assert attributes("GET /live") == {"http.route": "/live", "http.request.method": "GET"}
    assert attributes("(other)") == {"http.route": "(other)"}


class _App:
    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]


def test_a_worker_shows_itself_before_its_first_snapshot(watch_wsgi: Callable[..., Any]) -> None:
    """Its visits and errors are counted up to now, not up to its latest snapshot."""
    face = watch_wsgi(_App(), frames=1)
    face.monitor.take_snapshot(600)
    face({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    face.monitor.failed("report", ValueError())
    face.monitor.failed("report", ValueError())
    (status,) = face.monitor.workers()

    assert (status.visits, status.snapshots, status.errors) == (1, 1, 2)


def test_a_profile_names_functions(watch_wsgi: Callable[..., Any]) -> None:
    """Also those of a tracer that knows lines only."""
    face = watch_wsgi(_App(), frames=1)
    face.monitor.take_snapshot(600)
    (profile,) = face.monitor.profiles(600)

    frames = [frame for row in profile.rows for frame in row.traceback]
    assert any(frame.function for frame in frames)
