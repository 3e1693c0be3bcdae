"""What holds around every test: a clean environment before it, nothing left running after it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import structlog
from hypothesis import settings

from leakmw.admin.messages import AdminRequest, AdminResponse
from leakmw.admin.service import Service
from leakmw.records import (
    Change,
    Collecting,
    Collections,
    Container,
    CycleGroup,
    Cycles,
    Diff,
    Endpoint,
    Engine,
    Estimate,
    Finding,
    Frame,
    Growth,
    Holdings,
    Inspection,
    Kind,
    Live,
    Memory,
    Profile,
    Reply,
    Report,
    Request,
    Row,
    Snapshot,
    SnapshotError,
    Span,
    State,
    Trace,
    Verdict,
    Waiting,
    Window,
    Worker,
    WorkerStatus,
)
from leakmw.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from leakmw.asgi import LeakMiddleware
    from leakmw.report.events import Events
    from leakmw.wsgi import LeakMiddleware as WsgiFace

# what was started in the background ignores it, and so would every server that is started here
signal.signal(signal.SIGINT, signal.default_int_handler)

# no server remembers what another one did, nor leaves anything in the developer's own folder
os.environ[f"{PREFIX}STORE"] = "memory"
STATE = tempfile.TemporaryDirectory(prefix="leakmw-tests-")
os.environ["XDG_STATE_HOME"] = STATE.name

# no test has a time limit: a busy machine is no failure
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's own shell reaches a test.

    The exact tracer sees each block, so that a test needs but few of them; what is said of samples
    asks for them. No test remembers what another one did: what is said of the store asks for it.
    """
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}ENGINE", "tracemalloc")
    monkeypatch.setenv(f"{PREFIX}STORE", "memory")


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """A test that leaves tracing on, a thread of leakmw's or a child process behind has failed."""
    before = _running()
    yield
    # what was told to stop may take its time to do so: a look at the heap of all these tests, say
    for wait in (*(0.002 * 2**n for n in range(8)), *([0.5] * 240)):
        left = _running() - before
        if not left:
            break
        if wait > 0.01:  # most are gone by then, and each collection goes through that heap too
            gc.collect()  # an app that was thrown away takes its thread with it
        time.sleep(wait)
    if "tracemalloc" in left:
        tracemalloc.stop()
    assert not left, f"left running: {', '.join(sorted(left))}"


@pytest.fixture
def only_new_garbage() -> Iterator[None]:
    """Have a test collect what it left without going through all that the runner has."""
    gc.freeze()
    yield
    gc.unfreeze()


def _running() -> set[str]:
    threads = {
        f"thread {thread.ident}"
        for thread in threading.enumerate()
        # a thread not made by threading stays in its list after its end before Python 3.13
        if thread.name == "leakmw" and thread.ident in sys._current_frames()
    }
    children = {f"process {child.pid}" for child in _children()}
    return threads | children | ({"tracemalloc"} if tracemalloc.is_tracing() else set())


@pytest.fixture
def plain_logging() -> Iterator[None]:
    """No logging configured before a test reaches it; what it configures does not outlive it."""
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logger = logging.getLogger("leakmw")
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logger.handlers.clear()
    logger.filters.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def _children() -> Sequence[psutil.Process]:
    """Return the child processes; psutil reads all processes for it, so it is asked last."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ()
    return psutil.Process().children()


_NEW = {
    Verdict.SUSPECT: State.SUSPECTED,
    Verdict.LEAK: State.CONFIRMED,
}


def say(events: Events, report: Report) -> None:
    """Say *report*, all of whose suspects and leaks are new."""
    events.report(report)
    found = [one for one in report.findings if one.verdict in _NEW]
    events.changes(report, [Change(_NEW[one.verdict], one) for one in found])


@pytest.fixture
def shop_report() -> Report:
    """Return a report on a shop: a suspect, a growth that settled, two flat endpoints."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    flat = Estimate(-0.1, -0.4, 0.2)
    login, price = _suspect(), _settled()
    return Report(
        id="5d0c2e8f1a37",
        taken_at=noon,
        service="shop",
        version="1.4.2",
        worker=Worker(host="web-1", pid=71, started_at=noon - timedelta(hours=2)),
        engine=Engine(name="tracemalloc", frames=32, cost_ratio=0.006, own_bytes=23_068_672),
        window=Window(start=noon - timedelta(seconds=340), end=noon, visits=12012, seconds=340.2),
        memory=Memory(
            rss_bytes=222_298_112,
            pss_bytes=201_326_592,
            uss_bytes=199_229_440,
            anonymous_bytes=197_132_288,
            shared_bytes=25_165_824,
            python_bytes=92_274_688,
            python_free_bytes=6_291_456,
            python_arena_bytes=99_614_720,
            native_bytes=63_963_136,
            mapped_bytes=8_388_608,
            free_bytes=12_582_912,
            limit_bytes=536_870_912,
            limit_kind="cgroup",
            used_bytes=230_686_720,
            room_bytes=306_184_192,
            seconds_to_limit=Estimate(23_400.0, 21_600.0, 25_200.0),
        ),
        endpoints=(
            _total("POST /login", 4012, 4_508_876, 12_036, login.growth.bytes_per_request),
            _total("GET /price/{sku}", 4000, 270_336, 2048, price.growth.bytes_per_request),
            _total("GET /users/{id}", 4000, -400, -4, flat),
            _total("(background)", 0, 0, 0, None),
        ),
        findings=(login, price),
        notes=("tracing began 2 h after the start of the worker: older memory is not in here",),
    )


def _total(endpoint: str, visits: int, size: int, blocks: int, rate: Estimate | None) -> Growth:
    return Growth(
        endpoint=endpoint, visits=visits, bytes=size, blocks=blocks, bytes_per_request=rate
    )


def _suspect() -> Finding:
    site = Frame("shop/views.py", 42, "login")
    growth = Growth(
        endpoint="POST /login",
        visits=4012,
        bytes=4_508_876,
        blocks=12_036,
        bytes_per_request=Estimate(1123.9, 1099.1, 1148.7),
        site=site,
        traceback=(
            Frame("flask/app.py", 1511, "Flask.wsgi_app"),
            Frame("flask/app.py", 902, "Flask.dispatch_request"),
            Frame("shop/limits.py", 17, "limited"),
            site,
            Frame("uuid.py", 726, "uuid4"),
        ),
    )
    return Finding(
        fingerprint="9f2c41d0b7aa",
        verdict=Verdict.SUSPECT,
        growth=growth,
        bytes_per_second=13_253.6,
        evidence=(
            (
                "grew in each of the last 6 windows: 1,120, 1,131, 1,098, 1,140, 1,119, 1,135"
                " bytes per request"
            ),
            "every traceback runs through the view of this endpoint",
        ),
    )


def _settled() -> Finding:
    site = Frame("shop/prices.py", 17, "quote")
    growth = Growth(
        endpoint="GET /price/{sku}",
        visits=4000,
        bytes=270_336,
        blocks=2048,
        bytes_per_request=Estimate(67.6, -20.0, 155.2),
        site=site,
        traceback=(site,),
    )
    return Finding(
        fingerprint="1a2b3c4d5e6f",
        verdict=Verdict.SETTLED,
        growth=growth,
        bytes_per_second=794.6,
        evidence=("grew by 270,336 bytes and then stopped: nothing in the last 3 windows",),
    )


@pytest.fixture(name="watch_wsgi")
def _watch_wsgi() -> Iterator[Callable[..., WsgiFace]]:
    """Watch WSGI apps until the end of the test."""
    from leakmw.wsgi import LeakMiddleware as WsgiFace

    watched = []

    def watch(app: Any, **settings: Any) -> WsgiFace:
        face = WsgiFace(app, **settings)
        watched.append(face)
        return face

    yield watch
    for face in watched:
        face.monitor.close()


@pytest.fixture(name="watch_asgi")
def _watch_asgi() -> Iterator[Callable[..., LeakMiddleware]]:
    """Watch ASGI apps until the end of the test."""
    from leakmw.asgi import LeakMiddleware

    watched = []

    def watch(app: Any, **settings: Any) -> LeakMiddleware:
        face = LeakMiddleware(app, **{"frames": 1, **settings})  # deep tracebacks take their time
        watched.append(face)
        return face

    yield watch
    for face in watched:
        face.monitor.close()


class ShopHeap:
    """A heap whose answers the test chooses."""

    def __init__(self) -> None:
        group = CycleGroup(
            types=(("shop.orders.Order", 120), ("dict", 120)),
            types_left_out=0,
            cycles=120,
            objects=240,
            hanging_objects=480,
            bytes=96_000,
            finalizers=("shop.orders.Order",),
            uncollectable=(),
            frozen_objects=0,
            kept_objects=0,
            births=((Frame("shop/orders.py", 31, "place"), 7),),
        )
        self.found = Cycles(720, 96_000, (group,), 0, 0)
        self.by_type: dict[str, dict[str, int]] = {}

    def cycles(self) -> Inspection:
        """Return what the test chose."""
        return Inspection(self.found, seconds=0.4, pause_seconds=0.003)

    def holdings(self) -> Holdings:
        """Return what the test chose."""
        return Holdings(
            objects=120_000,
            containers=(Container("shop.views.SESSIONS", "dict", 4000, None, 1000),),
            types=(Kind("dict", 30_000, 7_000_000),),
            findings=(_suspect(),),
            seconds=0.6,
            pause_seconds=0.004,
        )

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the same for each generation, but for its number."""
        return tuple(Waiting(10 * number, 1000 * number) for number in range(3))

    def referrers(self) -> Mapping[str, Mapping[str, int]]:
        """Return what the test chose."""
        return self.by_type


class ShopMonitor:
    """A monitor whose answers the test chooses."""

    def __init__(self, report: Report) -> None:
        self.latest: Report | None = report
        self.kept = tuple(_snapshot(number, report) for number in (1, 2, 3))
        self.refusal: SnapshotError | None = None
        self.heap = ShopHeap()
        self.looks = 0
        self.pauses: Collecting | None = Collecting(
            report.taken_at,
            (
                Collections(0, 412, 0.041, 0.0009, 31_000, 0),
                Collections(1, 37, 0.02, 0.002, 900, 0),
                Collections(2, 0, 0.0, 0.0, 0, 0),
            ),
            {
                "GET /users/{id}": (Collections(0, 12, 0.001, 0.0002, 100, 0),),
                "POST /login": (Collections(0, 400, 0.04, 0.0009, 30_900, 0),),
            },
        )
        self.born: dict[int, Frame] = {}
        self.asked: list[tuple[str, Request]] = []
        here = report.worker
        self.replies: dict[str, dict[Worker, Reply] | None] = {
            str(here.pid): None,
            f"{here.host}:{here.pid}": None,
            "all": {here: Reply(200, "{}"), replace(here, pid=72): Reply(404, "{}")},
        }
        self.peers: tuple[WorkerStatus, ...] = (
            WorkerStatus(
                worker=report.worker,
                alive=True,
                seen_at=report.taken_at,
                visits=12_000,
                snapshots=3,
                service=report.service,
                version=report.version,
                engine=report.engine,
                memory=report.memory,
                snapshot_seconds=1.2,
                pause_seconds=0.003,
            ),
        )
        self.live: tuple[Profile, ...] = (
            Profile(
                worker=report.worker,
                snapshot="000000000003",
                taken_at=report.taken_at,
                sample_bytes=report.engine.sample_bytes,
                rows=(Live("POST /login", report.findings[0].growth.traceback, 4_000_000, 8_000),),
            ),
        )

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return what the test chose."""
        return self.peers

    def profiles(self, timeout: float) -> tuple[Profile, ...]:
        """Return what the test chose."""
        assert timeout > 0
        if self.refusal is not None:
            raise self.refusal
        return self.live

    def own_report(self) -> Report | None:
        """Return what the test chose, as if there were no other worker."""
        return self.latest

    def ask(self, workers: str, request: Request, timeout: float) -> Mapping[Worker, Reply] | None:
        """Return what the test chose to be another worker's answer."""
        assert timeout > 0
        self.asked.append((workers, request))
        if self.refusal is not None:
            raise self.refusal
        if workers not in self.replies:
            raise KeyError(workers)
        return self.replies[workers]

    def serve(self, answer: Callable[[Request], Reply]) -> None:
        """Remember what answers other workers."""
        self.answer = answer

    def collecting(self) -> Collecting | None:
        """Return what the test chose."""
        return self.pauses

    def births(self, things: Sequence[object]) -> Sequence[Frame | None]:
        """Return what the test chose, by what they are."""
        return [self.born.get(id(thing)) for thing in things]

    def look(self, question: Callable[[Any], Any], timeout: float) -> Any:
        """Ask a heap whose answers are always the same."""
        assert timeout > 0
        self.looks += 1
        if self.refusal is not None:
            raise self.refusal
        return question(self.heap)

    def report(self) -> Report | None:
        """Return what the test chose."""
        return self.latest

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return what the test chose."""
        return self.kept

    def take_snapshot(self, timeout: float) -> Snapshot:
        """Return the newest snapshot as if it had been taken now."""
        assert timeout > 0
        if self.refusal is not None:
            raise self.refusal
        return self.kept[-1]

    def diff(self, older: str, newer: str) -> Diff:
        """Return a growth that is always the same."""
        kept = {snapshot.id: snapshot for snapshot in self.kept}
        pair = kept[older], kept[newer]
        if self.refusal is not None:
            raise self.refusal
        growths = (_suspect().growth,)
        return Diff(older=pair[0], newer=pair[1], endpoints=growths, sites=growths)


def _snapshot(number: int, report: Report) -> Snapshot:
    return Snapshot(
        id=f"{number:012x}",
        number=number,
        taken_at=report.taken_at + timedelta(seconds=number),
        clock=float(number),
        trace=Trace((), True, 1, "fork", 1.2, 0.003),  # a field of a tuple
        endpoints={"POST /login": Endpoint("POST /login", 1000 * number)},
        in_flight=2,
        memory=report.memory,
        engine=report.engine,
    )


@pytest.fixture
def shop_monitor(shop_report: Report) -> ShopMonitor:
    """Return a monitor that has the report on the shop and three snapshots."""
    return ShopMonitor(shop_report)


@pytest.fixture
def admin_settings() -> Settings:
    """Return settings with a token."""
    return Settings(token="a-token-of-some-length")  # the secret of tests


@pytest.fixture
def admin(admin_settings: Settings, shop_monitor: ShopMonitor) -> Service:
    """Return the admin service of the shop, on a clock that stands still."""
    return Service(admin_settings, shop_monitor, clock=lambda: 0.0)


@pytest.fixture
def ask(admin: Service, admin_settings: Settings) -> Callable[..., AdminResponse]:
    """Return what asks the admin service for a path below its own, with the token."""

    def answer(
        method: str, path: str, *, query: str = "", body: bytes = b"", **headers: str
    ) -> AdminResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"authorization": f"Bearer {admin_settings.token}"} | named
        request = AdminRequest(method, f"{admin_settings.path}{path}", query, given, body)
        response = admin.handle(request)
        assert response is not None
        return response

    return answer


@pytest.fixture(scope="session")
def django_configured() -> None:
    """Set Django up, once for all tests: a test sets for itself what it needs to be different."""
    import django
    from django.conf import settings as django_settings

    django_settings.configure(
        ALLOWED_HOSTS=["*"], INSTALLED_APPS=["leakmw.django"], SECRET_KEY="of tests", USE_TZ=True
    )
    django.setup()


class History:
    """Snapshots of an app, made by hand: what was alive, and who had been visited."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def add(
        self,
        levels: Mapping[str, int],
        visits: Mapping[str, int],
        *,
        views: Mapping[str, Span] | None = None,
        in_visit: bool | None = True,
        block: int = 100,
        **given: Any,
    ) -> None:
        """Add a snapshot ten seconds after the last.

        Args:
            levels: Live bytes by path, such as ``"views.py:10 prices.py:5"``.

            visits: Visits so far, by endpoint.

            views: Where the code of an endpoint's view stands.

            in_visit: Whether all of it was born in visits.

            block: Bytes in each block.

            given: Fields of the snapshot or its trace.
        """
        number = len(self.snapshots) + 1
        rows = [_row(path, size, block, in_visit=in_visit) for path, size in levels.items()]
        trace = Trace(tuple(rows), True, 1, "fork", 0.1, 0.001)  # a field of a tuple
        known = {name: given.pop(name) for name in trace._fields if name in given}
        endpoints = {
            name: Endpoint(name, count, (views[name],) if views and name in views else ())
            for name, count in visits.items()
        }
        fields = {
            "id": f"{number:012x}",
            "number": number,
            "taken_at": datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=10 * number),
            "clock": 10.0 * number,
            "in_flight": 0,
            "collections": number,
            "memory": Memory(),
            "engine": Engine(name="tracemalloc", frames=32),
            **given,
        }
        self.snapshots.append(
            Snapshot(trace=trace._replace(**known), endpoints=endpoints, **fields)
        )


def _row(path: str, size: int, block: int, *, in_visit: bool | None) -> Row:
    frames = tuple(
        Frame(file, int(line)) for file, line in (place.split(":") for place in path.split())
    )
    return Row(frames, size, size // block, frames, in_visit=in_visit)


@pytest.fixture
def history() -> History:
    """Return an empty history."""
    return History()


@pytest.fixture
def shop_url(admin: Service) -> Iterator[str]:
    """Serve the admin endpoint of the shop on this machine; return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as http.server calls it
            self._answer()

        def do_POST(self) -> None:  # as http.server calls it
            self._answer()

        def _answer(self) -> None:
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            given = AdminRequest(self.command, path, query, headers, body)
            answer = admin.handle(given) or AdminResponse(404, (), b"the app's own")
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/__leaks__"
        finally:
            server.shutdown()
            thread.join()
