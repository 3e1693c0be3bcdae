"""tracemalloc in short windows: what it finds, what it does not blame, and how rarely it runs."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
import time
import tracemalloc
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from leakmw import wsgi
from leakmw.records import Frame, Row, Snapshot
from leakmw.tracers import sampling, windows
from leakmw.tracers.windows import VISITS, Growth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakmw.monitor import Monitor
    from leakmw.wsgi import LeakMiddleware

PATHS = ("/leak", "/cache", "/churn")
KEPT: list[object] = []
CACHE: OrderedDict[int, bytes] = OrderedDict()
COUNT = itertools.count()


@pytest.fixture(autouse=True)
def _no_extension(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the hook does not load, ``auto`` traces in windows."""
    monkeypatch.setattr(sampling, "_missing", "No module named '_sampler'")
    monkeypatch.setattr(windows, "MOST_SECONDS", 1.0)  # a window ends soon after the traffic
    yield
    KEPT.clear()
    CACHE.clear()


def leak() -> str:
    """Keep a kilobyte for good."""
    KEPT.append(bytes(1000))
    return churn()


def cache() -> str:
    """Keep a kilobyte until many more have come."""
    CACHE[next(COUNT)] = bytes(1000)
    if len(CACHE) > 5000:
        CACHE.popitem(last=False)
    return churn()


def churn() -> str:
    """Keep nothing."""
    return "".join(str(number) for number in range(50))


def shop() -> Flask:
    """Return an app that leaks, caches or does neither, by path."""
    app = Flask("shop")
    app.add_url_rule("/leak", view_func=leak)
    app.add_url_rule("/cache", view_func=cache)
    app.add_url_rule("/churn", view_func=churn)
    return app


def ask(face: LeakMiddleware, path: str) -> None:
    """Serve one request to its end."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
    }
    served_by: Any = face
    body = served_by(environ, lambda *_given: None)
    assert b"".join(body)
    body.close()


@contextmanager
def served(paths: tuple[str, ...], **settings: Any) -> Iterator[Monitor]:
    """Serve requests on a thread for the time of a block."""
    app = shop()
    face = wsgi.LeakMiddleware(app.wsgi_app, engine="auto", **settings)
    over = threading.Event()

    def serve() -> None:
        for path in itertools.cycle(paths):
            if over.is_set():
                return
            ask(face, path)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield face.monitor
    finally:
        over.set()
        thread.join()
        face.monitor.close()


def snapshots_of(monitor: Monitor, number: int) -> tuple[Snapshot, ...]:
    """Wait until that many snapshots were taken."""
    while not (kept := monitor.snapshots()) or kept[-1].number < number:
        time.sleep(0.01)
    return kept


def suspects(monitor: Monitor) -> set[tuple[str, str | None]]:
    """Return endpoint and function of what the report finds."""
    report = monitor.report()
    assert report is not None
    found = [finding.growth for finding in report.findings]
    return {(growth.endpoint, growth.site.function) for growth in found if growth.site}


def test_a_leak_is_suspected_at_its_endpoint_and_line() -> None:
    """What it grows by is taken for all requests, also for those that no window has seen."""
    with served(("/leak", "/churn"), every=100, overhead=1.0) as monitor:
        snapshots_of(monitor, 12)  # the first few tell that it grows, and not how fast
        while ("GET /leak", "leak") not in suspects(monitor):
            time.sleep(0.05)
        report = monitor.report()
    assert report is not None
    # the process of the tests may have memory that nothing uses, too, and so few visits are traced
    # that chance may show another suspect
    growth = max((one.growth for one in report.findings), key=lambda growth: growth.bytes)
    assert growth.endpoint == "GET /leak"
    assert growth.bytes_per_request is not None
    assert 500 < growth.bytes_per_request.estimate < 2000
    assert report.engine.name == "tracemalloc"
    assert report.engine.cost_ratio
    assert "leakmw doctor" in report.notes[0]


def test_a_full_cache_is_not_suspected() -> None:
    """Each new entry is growth to a window, but the process has no more blocks than before."""
    for _ in range(5001):
        cache()
    gc.collect()
    with served(("/cache", "/churn"), every=100, overhead=1.0) as monitor:
        snapshots_of(monitor, 15)
        found = suspects(monitor)
    assert not found


def test_windows_are_as_rare_as_their_cost_demands() -> None:
    """However often a snapshot is asked for."""
    with served(PATHS, every=30, overhead=0.1) as monitor:
        kept = snapshots_of(monitor, 4)
    visits = [snapshot.visits for snapshot in kept[1:]]
    assert all(b - a > VISITS / 0.1 for a, b in itertools.pairwise(visits))


def test_a_tracemalloc_that_runs_is_used_as_it_is() -> None:
    """Its price is paid already, and it goes on."""
    tracemalloc.start(1)
    try:
        with served(PATHS, every=100) as monitor:
            snapshots_of(monitor, 2)
            assert monitor.snapshots()[-1].trace.rows[0].bytes > 0
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_a_child_that_is_forked_within_a_window_is_not_traced() -> None:
    """Nothing of the window is left open in it."""
    before = gc.get_freeze_count()
    with served(PATHS, every=100, overhead=1.0):
        while not tracemalloc.is_tracing():
            time.sleep(0)
        pid = os.fork()
        if pid == 0:
            os._exit(tracemalloc.is_tracing() or gc.get_freeze_count() > before)
        assert os.waitpid(pid, 0)[1] == 0


def row(size: int, blocks: int, line: int = 1) -> Row:
    """Return a row of a line."""
    path = (Frame("app.py", line),)
    return Row(path, size, blocks, path, in_visit=True)


def test_growth_is_added_up_over_windows() -> None:
    """Each taken as often as the visits that it stands for; what shrinks counts against it."""
    growth = Growth()
    assert growth.rows(1000) == ()
    growth.begin(1000)
    growth.add([row(100, 1)], [row(300, 3)], 10.0)
    growth.add([row(500, 5)], [row(400, 4)], 5.0)
    growth.add([], [row(100, 1, line=2)], 1.0)
    both = growth.rows(10_000)
    assert [(one.path[0].line, one.bytes, one.blocks) for one in both] == [
        (1, 1500, 15),
        (2, 100, 1),
    ]
    one_block = 2 * (100 * 10) ** 2 + 2 * (100 * 5) ** 2
    assert both[0].variance == (2 * 100 * 10) ** 2 + (100 * 5) ** 2 + one_block


def test_what_visits_in_flight_hold_is_no_sure_growth() -> None:
    """It takes several windows that found the same, however many blocks each of them found."""
    held, kept = Growth(), Growth()
    held.begin(0)
    kept.begin(0)
    met = [50, 50, 0, 50, 50, 0, 50, 50]
    for window, in_flight in enumerate(met):
        held.add([row(50, 50)] if window == 5 else [], [row(in_flight, in_flight)], 10.0)
        kept.add([], [row(2000, 20)], 10.0)
    (passing,), (leaking,) = held.rows(10**6), kept.rows(10**6)
    assert passing.bytes < 2 * passing.variance**0.5
    assert leaking.bytes > 2.6 * leaking.variance**0.5


def test_a_block_more_in_each_window_is_no_sure_growth() -> None:
    """Not until there are many windows: it may be one that the interpreter keeps for reuse."""
    growth = Growth()
    growth.begin(0)
    for _ in range(20):
        growth.add([row(100, 1)], [row(200, 2)], 10.0)
    (spare,) = growth.rows(10**6)
    assert spare.bytes < 2.6 * spare.variance**0.5
    growth.add([row(100, 1)], [row(200, 2)], 10.0)
    (regular,) = growth.rows(10**6)
    assert regular.bytes > 2.6 * regular.variance**0.5


def test_what_fell_below_its_beginning_is_left_out() -> None:
    """It is no live memory."""
    growth = Growth()
    growth.begin(0)
    growth.add([row(300, 3)], [row(100, 1)], 2.0)
    assert growth.rows(1000) == ()


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 10_000), st.floats(0.1, 1000)), min_size=1
    ),
    st.integers(-(10**6), 10**6),
)
def test_all_growth_together_is_no_more_than_the_process_has_grown(
    found_in: list[tuple[int, int, float]], grown: int
) -> None:
    """Up to rounding."""
    growth = Growth()
    growth.begin(10**7)
    for line, blocks, times in found_in:
        growth.add([], [row(blocks * 10, blocks, line)], times)
    found = growth.rows(10**7 + grown)
    assert sum(one.blocks for one in found) <= max(0, grown) + len(found)
    assert all(one.bytes >= 0 for one in found)


def test_an_idle_process_answers_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot on demand does not wait forever for visits that do not come."""
    monkeypatch.setattr(windows, "MOST_SECONDS", 0.1)
    face = wsgi.LeakMiddleware(shop().wsgi_app, engine="auto", frames=2)
    ask(face, "/churn")
    assert face.monitor.take_snapshot(sys.maxsize).trace.rows == ()
    face.monitor.close()
