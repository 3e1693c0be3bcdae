"""The monitor: exact counting on the request path, everything else on one thread."""

from __future__ import annotations

import gc
import json
import random
import string
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from leakmw import monitor as monitor_module
from leakmw.monitor import MAX_FAILURES, Monitor
from leakmw.pace import AT_ONCE
from leakmw.pipeline import Pipeline
from leakmw.records import MAX_SNAPSHOTS, OTHER, UNMATCHED, Route, SnapshotError, Visit
from leakmw.settings import Settings
from leakmw.tracers.exact import ExactTracer
from leakmw.tracers.grouping import MAX_ROWS
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from leakmw.records import Snapshot, Trace

    Watch = Callable[..., Monitor]

PATIENCE = 60.0
OWN: dict[str, Any] = {"engine": "tracemalloc", "frames": 4, "store": "memory"}


SESSIONS: dict[int, str] = {}


def login() -> None:
    """Leak some 1,100 bytes: the next line is the site."""
    SESSIONS[len(SESSIONS)] = "x" * 1000 + str(len(SESSIONS))


def home() -> None:
    """Leak nothing."""


VIEWS = {"/login": login}


def by_path(request: Mapping[str, Any]) -> Route:
    """Name a visit as a face does."""
    path = request.get("path", "/")
    return Route("GET", path, VIEWS.get(path, home))


@pytest.fixture(name="watch")
def _watch() -> Iterator[Watch]:
    """Make monitors that are closed when the test is over."""
    made: list[weakref.ref[Monitor]] = []

    def watch(**settings: Any) -> Monitor:
        monitor = Monitor(Settings(**{**OWN, **settings}), by_path)
        made.append(weakref.ref(monitor))
        return monitor

    yield watch
    SESSIONS.clear()
    for reference in made:
        monitor = reference()
        if monitor is not None:
            monitor.close()


def begun(monitor: Monitor) -> Visit:
    """Begin a visit of a request that no other face has seen."""
    visit = monitor.begin({})
    assert visit is not None
    return visit


def serve(monitor: Monitor, times: int = 1, path: str = "/") -> None:
    """Begin and finish visits, one after the other."""
    for _ in range(times):
        visit = begun(monitor)
        VIEWS.get(path, home)()
        monitor.finish(visit, {"path": path})


def windows(monitor: Monitor, times: int, path: str) -> int:
    """Serve so many windows, and return how many snapshots there have been."""
    for _ in range(times):
        serve(monitor, monitor.settings.every, path)
        monitor.profiles(PATIENCE)  # the thread has seen to the visits before it answers
    return monitor.snapshots()[-1].number


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does; a hang is told by the test run's own watchdog."""
    while not condition():
        time.sleep(0.005)


def background() -> list[threading.Thread]:
    """Return leakmw's threads that run."""
    running = sys._current_frames()
    return [
        thread
        for thread in threading.enumerate()
        if thread.name == "leakmw" and thread.ident in running
    ]


def test_a_snapshot_is_taken_every_so_many_visits(watch: Watch) -> None:
    """And one more after half as many, from which growth is measured."""
    monitor = watch(every=10)
    for number, visits in enumerate((5, 5, 10, 10), start=1):
        serve(monitor, visits)
        until(lambda: len(monitor.snapshots()) == number)  # noqa: B023  # it is called at once
    assert [snapshot.visits for snapshot in monitor.snapshots()] == [5, 10, 20, 30]
    monitor.take_snapshot(PATIENCE)  # after the report of the last
    report = monitor.report()
    assert report is not None
    assert report.window.visits == 25


def test_it_names_endpoint_line_and_bytes_of_a_leak(watch: Watch) -> None:
    """And says nothing of the endpoint that does not leak."""
    rng = random.Random(3)
    gc.collect()  # garbage of the test runner's, of which this growth may be a part as well
    monitor = watch(every=10**9)
    for _ in range(7):
        for _ in range(60):
            serve(monitor, 1, rng.choice(["/login", "/"]))
        monitor.take_snapshot(60)
    report = monitor.report()

    assert report is not None
    (finding,) = [one for one in report.findings if one.verdict == "suspect"]
    growth = finding.growth
    assert growth.endpoint == "GET /login"
    assert growth.site is not None
    assert growth.site.file.endswith("test_monitor.py")
    assert growth.site.function == "login"
    assert growth.bytes_per_request is not None
    assert 1000 < growth.bytes_per_request.estimate < 1300


def test_a_snapshot_may_be_the_first_thing_asked_of_a_worker(watch: Watch) -> None:
    """Before any visit."""
    assert watch().take_snapshot(PATIENCE).visits == 0


def test_visits_are_counted_by_endpoint(watch: Watch) -> None:
    """Those without a name as unmatched."""
    monitor = watch()
    serve(monitor, 3, "/a")
    serve(monitor, 2, "/b")
    monitor.finish(begun(monitor))
    counts = {name: endpoint.visits for name, endpoint in monitor.endpoints().items()}
    assert counts == {"GET /a": 3, "GET /b": 2, UNMATCHED: 1}


def test_a_visit_is_counted_once_however_often_it_is_finished(watch: Watch) -> None:
    """A server may close twice, and a finalizer once more."""
    monitor = watch()
    visit = begun(monitor)
    for _ in range(3):
        monitor.finish(visit, {"path": "/a"})
    assert monitor.endpoints()["GET /a"].visits == 1


def test_a_name_that_was_given_early_stays(watch: Watch) -> None:
    """The framework forgets its route before the visit ends."""
    monitor = watch()
    visit = begun(monitor)
    monitor.name(visit, {"path": "/early"})
    monitor.name(visit, {"path": "/late"})
    monitor.finish(visit, {"path": "/late"})
    assert set(monitor.endpoints()) == {"GET /early"}


def test_the_users_own_name_comes_first(watch: Watch) -> None:
    """Where it has one; else the route says it."""
    monitor = watch(endpoint=lambda request: request.get("job"))
    monitor.finish(begun(monitor), {"job": "export"})
    monitor.finish(begun(monitor), {"path": "/a"})
    assert set(monitor.endpoints()) == {"export", "GET /a"}


def test_threads_count_exactly_from_the_first_visit_on(watch: Watch) -> None:
    """No lock, and nothing lost, also while they all meet a monitor that is new."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            monitor = watch(every=10_000)
            start = threading.Barrier(8)

            def work(monitor: Monitor = monitor, start: threading.Barrier = start) -> None:
                start.wait()
                serve(monitor, 500, "/a")

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert monitor.endpoints()["GET /a"].visits == 4000
            assert monitor.take_snapshot(PATIENCE).in_flight == 0
            monitor.close()
    finally:
        sys.setswitchinterval(interval)


def test_what_is_being_served_is_in_flight(watch: Watch) -> None:
    """From its beginning to its end."""
    monitor = watch()
    visits = [begun(monitor) for _ in range(3)]
    monitor.finish(visits[0])
    assert monitor.take_snapshot(PATIENCE).in_flight == 2


@pytest.fixture(name="held")
def _held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold every snapshot up until the event is set."""
    release = threading.Event()
    trace = ExactTracer.trace

    def patient(self: ExactTracer, *given: Any) -> Trace:
        release.wait()
        return trace(self, *given)

    monkeypatch.setattr(ExactTracer, "trace", patient)
    return release


def test_callers_that_wait_for_a_snapshot_get_the_same(
    watch: Watch, held: threading.Event
) -> None:
    """None of them is forgotten, and one snapshot is taken."""
    monitor = watch()
    snapshots: list[Snapshot] = []
    callers = [
        threading.Thread(target=lambda: snapshots.append(monitor.take_snapshot(PATIENCE)))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    until(lambda: len(monitor._tickets) == 8)
    held.set()
    for caller in callers:
        caller.join()
    assert len(snapshots) == 8
    assert len({snapshot.id for snapshot in snapshots}) == 1
    assert len(monitor.snapshots()) == 1


def test_wakes_that_pile_up_cost_one_snapshot(watch: Watch, held: threading.Event) -> None:
    """However slow a snapshot is, there is no queue that grows for good."""
    monitor = watch(every=1)
    serve(monitor, 5000)
    held.set()
    until(lambda: monitor.snapshots() and monitor.snapshots()[-1].visits == 5000)
    assert monitor.take_snapshot(PATIENCE).number <= 3


def test_a_caller_does_not_wait_longer_than_it_said(watch: Watch, held: threading.Event) -> None:
    """It is told, and nothing is kept for it."""
    monitor = watch()
    with pytest.raises(SnapshotError, match="no snapshot within 0 s"):
        monitor.take_snapshot(0)
    assert not monitor._tickets
    held.set()
    assert monitor.take_snapshot(PATIENCE).number >= 1


def test_a_caller_is_told_why_there_is_no_snapshot(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In our own words; of anybody else's exception only the type is shown."""
    monitor = watch()
    for error, message in (
        (SnapshotError("no snapshot: too little memory"), "too little memory"),
        (ValueError("the password is tiger"), "it failed with ValueError"),
    ):

        def fail(*given: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(ExactTracer, "trace", fail)
        with pytest.raises(SnapshotError, match=message) as caught:
            monitor.take_snapshot(PATIENCE)
        assert "tiger" not in str(caught.value)


def test_growth_between_two_snapshots_is_told_by_their_ids(watch: Watch) -> None:
    """In whichever order they are named; one that is not kept is a KeyError."""
    monitor = watch(every=10**9)
    serve(monitor, 1, "/login")
    first = monitor.take_snapshot(60)
    serve(monitor, 40, "/login")
    second = monitor.take_snapshot(60)
    diff = monitor.diff(second.id, first.id)

    assert (diff.older.id, diff.newer.id) == (first.id, second.id)
    assert diff.endpoints[0].endpoint == "GET /login"
    assert diff.endpoints[0].visits == 40
    assert 40 * 1000 < diff.sites[0].bytes < 40 * 1300
    with pytest.raises(KeyError):
        monitor.diff(first.id, "nothing")


def test_a_closed_monitor_counts_on_and_takes_no_snapshot(watch: Watch) -> None:
    """Its thread is gone and its tracing, and a caller is refused at once."""
    monitor = watch(every=1)
    serve(monitor)
    until(monitor.snapshots)
    monitor.close()
    until(lambda: not background())
    assert not tracemalloc.is_tracing()
    serve(monitor, 5)
    monitor.close()
    assert monitor.endpoints()["GET /"].visits == 6
    with pytest.raises(SnapshotError):
        monitor.take_snapshot(10**9)


def test_a_monitor_that_is_thrown_away_takes_its_thread_along(watch: Watch) -> None:
    """Nothing holds it: not the thread, not the pipeline, not what it told."""
    monitor = watch(every=1)
    serve(monitor)
    until(monitor.snapshots)
    gone = weakref.ref(monitor)
    del monitor
    until(lambda: gc.collect() is not None and gone() is None)
    until(lambda: not background())
    assert not tracemalloc.is_tracing()


def test_two_hundred_monitors_leave_no_thread(watch: Watch) -> None:
    """As the test suite of an app makes them."""
    monitors = [watch() for _ in range(200)]
    for monitor in monitors:
        serve(monitor)
    assert len(background()) <= 200
    del monitor
    monitors.clear()
    until(lambda: gc.collect() is not None and not background())


def test_nothing_of_a_request_is_kept(watch: Watch) -> None:
    """Neither when it is named nor when naming it fails."""

    class Request(dict[str, Any]):
        """A request whose end can be seen."""

    def name(request: Mapping[str, Any]) -> str | None:
        if request.get("broken"):
            raise ValueError(request)
        return None

    monitor = watch(endpoint=name)
    gone = []
    for request in (Request(path="/a"), Request(broken=True)):
        visit = begun(monitor)
        monitor.name(visit, request)
        monitor.finish(visit, request)
        gone.append(weakref.ref(request))
    del request
    monitor.take_snapshot(PATIENCE)
    assert [reference() for reference in gone] == [None, None]


def test_the_apps_own_tracemalloc_goes_on(watch: Watch) -> None:
    """It is used, its limit is noted, and it is not stopped."""
    tracemalloc.start(2)
    try:
        monitor = watch(frames=32)
        monitor.take_snapshot(PATIENCE)
        report = monitor.report()
        monitor.close()
        until(lambda: not background())
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert report is not None
    assert report.engine.frames == 2
    assert any("already running with 2 frames" in note for note in report.notes)


def test_the_cost_and_the_process_are_part_of_the_report(watch: Watch) -> None:
    """With what the settings call the app."""
    monitor = watch(service="shop", version="1.4.2")
    snapshot = monitor.take_snapshot(PATIENCE)
    report = monitor.report()
    assert report is not None
    assert (report.service, report.version, report.id) == ("shop", "1.4.2", snapshot.id)
    assert report.engine.cost_ratio is not None
    assert 0 < report.engine.cost_ratio < 1
    assert report.memory.rss_bytes
    assert report.worker.host


def test_kinds_of_errors_are_bounded(watch: Watch) -> None:
    """Whatever an app raises; each known one goes on being counted."""
    monitor = watch()
    for number in range(3 * MAX_FAILURES):
        monitor.failed(f"endpoint {number}", ValueError())
    for _ in range(5):
        monitor.failed("endpoint 0", ValueError())
    assert len(monitor._failures) == MAX_FAILURES
    assert monitor._failures["endpoint 0", "ValueError"].times == 6


def test_a_worker_knows_itself(watch: Watch) -> None:
    """With its visits, its snapshots and the errors of leakmw's own so far."""
    monitor = watch(service="shop")
    serve(monitor, 3)
    assert [(one.visits, one.snapshots) for one in monitor.workers()] == [(3, 0)]
    monitor.take_snapshot(PATIENCE)
    (worker,) = monitor.workers()
    assert (worker.service, worker.visits, worker.snapshots) == ("shop", 3, 1)
    assert (worker.alive, worker.errors) == (True, 0)
    monitor.failed("endpoint", ValueError())
    monitor.failed("endpoint", ValueError())
    assert monitor.workers()[0].errors == 2


def test_an_error_that_comes_after_the_monitors_end_is_nobodys(watch: Watch) -> None:
    """The thread's last words may come late."""
    monitor = watch()
    told = monitor_module._weakly(monitor.failed)
    told("log", ValueError())
    assert ("log", "ValueError") in monitor._failures
    del monitor
    gc.collect()
    told("log", ValueError())


def test_names_are_bounded(watch: Watch) -> None:
    """Past the cap all are one; what has a name keeps it."""
    monitor = watch(max_endpoints=20)
    for number in range(500):
        serve(monitor, 1, f"/{number}")
    serve(monitor, 3, "/7")
    endpoints = monitor.endpoints()
    assert len(endpoints) == 21
    assert endpoints["GET /7"].visits == 4
    assert endpoints[OTHER].visits == 480


def test_nothing_grows_whatever_strangers_send() -> None:
    """Random paths, methods and headers: every table within its cap, and steady from there on."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK" if len(environ["PATH_INFO"]) % 2 else "404 Not Found", [])
        return [b""]

    def namer(environ: Mapping[str, Any]) -> str | None:
        if environ["PATH_INFO"].startswith("/q"):
            raise type(environ["PATH_INFO"][:6].strip("/") or "E", (Exception,), {})
        return None

    face = LeakMiddleware(app, every=150, frames=4, max_endpoints=30, endpoint=namer)
    own: list[int] = []
    for _ in range(2):
        for _ in range(MAX_SNAPSHOTS):
            send_junk(face, 150)
            snapshot = face.monitor.take_snapshot(PATIENCE)
        own.append(held_by_leakmw())
    monitor = face.monitor
    endpoints = monitor.endpoints()
    monitor.close()

    assert sum(endpoint.visits for endpoint in endpoints.values()) == 4800
    assert len(endpoints) <= 30 + 2
    assert sum(map(len, monitor._endpoints.known.values())) <= 30 + 2
    assert len(monitor._failures) <= MAX_FAILURES
    assert len(monitor.snapshots()) == MAX_SNAPSHOTS
    assert len(snapshot.trace.rows) <= MAX_ROWS
    assert own[1] - own[0] < 64 << 10


CHANCE = random.Random(7)
LETTERS = string.printable + "äß\u202e"


def send_junk(face: LeakMiddleware, times: int) -> None:
    """Send requests as a scanner does."""
    start: Any = lambda *_: None  # noqa: E731  # what a server gives
    for _ in range(times):
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        path = "/" + "".join(CHANCE.choices(LETTERS, k=CHANCE.randrange(40)))
        environ["PATH_INFO"] = path.encode().decode("latin-1")
        environ["REQUEST_METHOD"] = "".join(CHANCE.choices(string.ascii_uppercase, k=4))
        environ["HTTP_" + "".join(CHANCE.choices(LETTERS, k=8))] = "x"
        face(environ, start)


def held_by_leakmw() -> int:
    """Return the bytes that lines of leakmw have allocated and that are alive."""
    ours = tracemalloc.Filter(True, str(Path(monitor_module.__file__).parent / "*"))
    gc.collect()
    traces = tracemalloc.take_snapshot().filter_traces([ours]).traces
    return sum(trace.size for trace in traces)


FORKED = """
import json, os, sys, threading
from leakmw.monitor import Monitor
from leakmw.records import Route
from leakmw.settings import Settings

settings = Settings(engine="tracemalloc", frames=1, every=50, store="memory")
monitor = Monitor(settings, lambda request: Route("GET", "/"))

def serve(times):
    for _ in range(times):
        monitor.finish(monitor.begin({}), {})

def say(who):
    snapshot = monitor.take_snapshot(60)
    names = [thread.name for thread in threading.enumerate()]
    told = dict(
        who=who, visits=snapshot.visits, number=snapshot.number, in_flight=snapshot.in_flight,
        own=monitor.report().worker.pid == os.getpid(), threads=names.count("leakmw"),
    )
    os.write(1, json.dumps(told).encode() + b"\\n")
"""

FORKS = {
    "os": """
serve(3)
say("parent")
half = monitor.begin({})
child = os.fork()
if child == 0:
    monitor.finish(half)
    serve(2)
    say("child")
    os._exit(0)
os.waitpid(child, 0)
serve(1)
say("parent")
""",
    "preload": """
child = os.fork()
if child == 0:
    serve(2)
    say("child")
    os._exit(0)
os.waitpid(child, 0)
""",
    "multiprocessing": """
import multiprocessing

def work():
    serve(2)
    say("child")

if __name__ == "__main__":
    serve(3)
    for method in ("fork", "spawn"):
        process = multiprocessing.get_context(method).Process(target=work)
        process.start()
        process.join()
    say("parent")
""",
}


def told(tmp_path: Path, script: str) -> list[dict[str, Any]]:
    """Run a script of its own and return what its processes said."""
    file = tmp_path / "app.py"
    file.write_text(FORKED + script)
    done = subprocess.run([sys.executable, file], capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def expected(who: str, visits: int, number: int, in_flight: int = 0) -> dict[str, Any]:
    """Return what a process says that watches itself alone."""
    return {
        "who": who,
        "visits": visits,
        "number": number,
        "in_flight": in_flight,
        "own": True,
        "threads": 1,
    }


def test_a_forked_worker_starts_anew_by_itself(tmp_path: Path) -> None:
    """With its own thread and count; the parent goes on with its own."""
    assert told(tmp_path, FORKS["os"]) == [
        expected("parent", 3, 1),
        expected("child", 2, 1),
        expected("parent", 4, 2, in_flight=1),
    ]


def test_a_preloaded_app_starts_nothing_before_the_fork(tmp_path: Path) -> None:
    """The master has made the monitor and serves nobody."""
    assert told(tmp_path, FORKS["preload"]) == [expected("child", 2, 1)]


def test_workers_of_multiprocessing_start_anew(tmp_path: Path) -> None:
    """Whether they are forked or spawned."""
    assert told(tmp_path, FORKS["multiprocessing"]) == [
        expected("child", 2, 1),
        expected("child", 2, 1),
        expected("parent", 3, 1),
    ]


def test_snapshots_of_an_app_that_does_not_grow_wait_until_they_can_be_afforded(
    watch: Watch,
) -> None:
    """These visits cost next to nothing; anybody may have one taken at any time."""
    monitor = watch()
    assert windows(monitor, AT_ONCE, "/") >= AT_ONCE
    before = monitor.snapshots()[-1].number
    assert windows(monitor, 10, "/") == before
    assert monitor.take_snapshot(PATIENCE).number == before + 1


def test_snapshots_of_an_app_that_grows_do_not_wait(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is known whether it is a leak, which takes eight windows of growth."""
    # to look who holds the growth, among all that the tests have, would take the longest of all
    monkeypatch.setattr(Pipeline, "look_for_holders", lambda _: None)
    monitor = watch()
    windows(monitor, AT_ONCE - 6, "/")
    before = windows(monitor, 6, "/login")
    assert before >= AT_ONCE
    assert windows(monitor, 2, "/login") == before + 2


def test_as_many_snapshots_are_taken_as_were_asked_for(watch: Watch) -> None:
    """Whatever they cost."""
    monitor = watch(every=10)
    assert windows(monitor, 2 * AT_ONCE, "/") >= 2 * AT_ONCE


def test_a_shorter_step_is_heeded_at_once(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that learns that it will not live long looks more often from then on."""
    monitor = watch(every=10**9)
    woken = []
    monkeypatch.setattr(Monitor, "_wake", lambda self: woken.append(self._finished()))
    serve(monitor, 7)
    monitor._wake_each(10)
    serve(monitor, 300 - 7)
    monitor._wake_each(1000)
    serve(monitor, 2700)
    assert woken == [0, *range(10, 301, 10), 1000, 2000, 3000]  # at the first visit, too
