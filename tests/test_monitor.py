"""The Monitor: counting, snapshots, forks, and what it leaves behind."""

from __future__ import annotations

import gc
import random
import string
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from leakmw.monitor import MAX_FAILURES, Monitor
from leakmw.records import Route, SnapshotError
from leakmw.settings import Settings
from leakmw.store.memory import MAX_SNAPSHOTS
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SESSIONS: dict[int, str] = {}


def login() -> None:
    """Leak some 1,100 bytes: the next line is the site."""
    SESSIONS[len(SESSIONS)] = "x" * 1000 + str(len(SESSIONS))


def home() -> None:
    """Leak nothing."""
    assert sum(range(10)) == 45


VIEWS = {"/login": login, "/": home}


def route(request: Mapping[str, Any]) -> Route:
    """Name a visit of this file's views."""
    return Route(request["method"], request["path"], VIEWS.get(request["path"]))


def serve(monitor: Monitor, path: str, method: str = "GET") -> None:
    """Serve one visit."""
    visit = monitor.begin()
    try:
        VIEWS[path]()
    finally:
        monitor.finish(visit, {"method": method, "path": path})


@pytest.fixture(name="make")
def _make() -> Iterator[Callable[..., Monitor]]:
    """Return what makes monitors; they are closed in the end."""
    made: list[Monitor] = []

    def make(**chosen: Any) -> Monitor:
        made.append(Monitor(Settings(frames=8, **chosen), route))
        return made[-1]

    yield make
    SESSIONS.clear()
    for monitor in made:
        monitor.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for what the background thread does."""
    while not condition():
        time.sleep(0.005)


def test_every_so_many_visits_there_is_a_snapshot(make: Callable[..., Monitor]) -> None:
    """And before them there is none."""
    monitor = make(every=50)
    for _ in range(49):
        serve(monitor, "/")
    before = monitor.snapshots()
    serve(monitor, "/")
    until(monitor.snapshots)

    assert before == ()
    assert monitor.snapshots()[0].visits == 50


def test_it_names_endpoint_line_and_bytes_of_a_leak(make: Callable[..., Monitor]) -> None:
    """And says nothing of the endpoint that does not leak."""
    monitor = make(every=10**9)
    for _ in range(7):
        for _ in range(60):
            serve(monitor, random.choice(["/login", "/"]))  # no secret
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


def test_threads_lose_no_visit(make: Callable[..., Monitor]) -> None:
    """Each is counted once, under its own endpoint."""
    monitor = make(every=10**9)

    def work() -> None:
        for _ in range(2000):
            serve(monitor, "/")
            serve(monitor, "/login")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    visits = {name: endpoint.visits for name, endpoint in monitor.endpoints().items()}
    assert visits == {"GET /": 16000, "GET /login": 16000}


def test_finishing_twice_counts_once(make: Callable[..., Monitor]) -> None:
    """A server may close a response again."""
    monitor = make()
    visit = monitor.begin()
    monitor.finish(visit, {"method": "GET", "path": "/"})
    monitor.finish(visit, {"method": "GET", "path": "/"})
    assert [endpoint.visits for endpoint in monitor.endpoints().values()] == [1]


def test_callers_that_come_meanwhile_get_the_same_snapshot(make: Callable[..., Monitor]) -> None:
    """One who comes later gets another."""
    monitor = make()
    serve(monitor, "/")
    taken: list[str] = []
    threads = [
        threading.Thread(target=lambda: taken.append(monitor.take_snapshot(60).id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == 8
    assert len(set(taken)) < 8
    assert monitor.take_snapshot(60).id not in taken


def test_a_snapshot_may_be_the_first_thing_asked_of_a_worker(make: Callable[..., Monitor]) -> None:
    """Before any visit."""
    assert make().take_snapshot(60).visits == 0


def test_growth_between_two_snapshots_is_told_by_their_ids(make: Callable[..., Monitor]) -> None:
    """In whichever order they are named; one that is not kept is a KeyError."""
    monitor = make(every=10**9)
    serve(monitor, "/login")
    first = monitor.take_snapshot(60)
    for _ in range(40):
        serve(monitor, "/login")
    second = monitor.take_snapshot(60)
    diff = monitor.diff(second.id, first.id)

    assert (diff.older.id, diff.newer.id) == (first.id, second.id)
    assert diff.endpoints[0].endpoint == "GET /login"
    assert diff.endpoints[0].visits == 40
    assert 40 * 1000 < diff.sites[0].bytes < 40 * 1300
    with pytest.raises(KeyError):
        monitor.diff(first.id, "nothing")


def test_history_is_bounded_and_keeps_its_origin(make: Callable[..., Monitor]) -> None:
    """The first snapshot and the latest ones stay."""
    monitor = make(every=10**9)
    taken = [monitor.take_snapshot(60).id for _ in range(MAX_SNAPSHOTS + 3)]
    kept = [snapshot.id for snapshot in monitor.snapshots()]
    assert kept == [taken[0], *taken[-MAX_SNAPSHOTS + 1 :]]


def test_a_monitor_that_is_thrown_away_leaves_nothing() -> None:
    """Test suites make an app for each test: no thread, no tracer, no monitor stays behind."""
    gone = []
    for _ in range(20):
        monitor = Monitor(Settings(), route)
        serve(monitor, "/")
        gone.append(weakref.ref(monitor))
        del monitor
    gc.collect()
    until(
        lambda: (
            not any(
                thread.name == "leakmw"
                for thread in threading.enumerate()
                if thread.ident in sys._current_frames()
            )
        )
    )
    gc.collect()
    assert not [one for one in gone if one() is not None]


FORKS = """
import os, sys, time
from leakmw.monitor import Monitor
from leakmw.records import Route
from leakmw.settings import Settings
monitor = Monitor(Settings(every=10**9), lambda request: Route("GET", "/"))
def serve():
    monitor.finish(monitor.begin(), {})
def tell(who):
    snapshot = monitor.take_snapshot(60)
    print(who, snapshot.number, snapshot.visits, flush=True)
for _ in range(3):
    serve()
tell("parent")
child = os.fork()
if child == 0:
    for _ in range(5):
        serve()
    tell("child")
    os._exit(0)
os.waitpid(child, 0)
serve()
tell("parent")
"""


def test_a_forked_worker_starts_anew_by_itself() -> None:
    """With a thread and a count of its own; the parent goes on with its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["parent 1 3", "child 1 5", "parent 2 4"]


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
from leakmw.monitor import Monitor
from leakmw.records import Route
from leakmw.settings import Settings
monitor = Monitor(Settings(every=10**9), lambda request: Route("GET", "/"))
monitor.finish(monitor.begin(), {})
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0)
ticker = gevent.spawn(tick)
snapshot = monitor.take_snapshot(60)
print(snapshot.trace.how, snapshot.visits, ticks > 10)
ticker.kill()
"""


def test_under_gevent_the_other_greenlets_go_on_meanwhile() -> None:
    """The background thread is a real one, and waiting for it is not."""
    done = subprocess.run(
        [sys.executable, "-c", GEVENT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        "fork" if sys.platform == "linux" else "in-process",
        "1",
        "True",
    ]


def test_a_snapshot_that_takes_too_long_is_an_error(make: Callable[..., Monitor]) -> None:
    """It names the wait."""
    monitor = make()
    serve(monitor, "/")
    with pytest.raises(SnapshotError, match="within 0 s"):
        monitor.take_snapshot(0)


def test_nothing_grows_whatever_strangers_send() -> None:
    """Random paths, methods and headers: every table stays within its cap."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK" if len(environ["PATH_INFO"]) % 2 else "404 Not Found", [])
        return [b""]

    def namer(environ: Mapping[str, Any]) -> str | None:
        if environ["PATH_INFO"].startswith("/q"):
            raise type(environ["PATH_INFO"][:6].strip("/") or "E", (Exception,), {})
        return None

    face = LeakMiddleware(app, every=5000, frames=4, max_endpoints=30, endpoint=namer)
    start: Any = lambda *_: None  # noqa: E731  # what a server gives
    chance = random.Random(7)  # no secret
    letters = string.printable + "äß\u202e"
    for _ in range(20_000):
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ["PATH_INFO"] = "/" + "".join(chance.choices(letters, k=chance.randrange(40)))
        environ["REQUEST_METHOD"] = "".join(chance.choices(string.ascii_uppercase, k=4))
        environ["HTTP_" + "".join(chance.choices(letters, k=8))] = "x"
        body: Any = face(environ, start)
        body.close()
    monitor = face.monitor
    endpoints = monitor.endpoints()
    monitor.close()

    assert sum(endpoint.visits for endpoint in endpoints.values()) == 20_000
    assert len(endpoints) <= 30 + 2
    assert len(monitor._endpoints._by_route) <= 30 + 2
    assert len(monitor._failures) <= MAX_FAILURES
    assert len(monitor.snapshots()) <= MAX_SNAPSHOTS
