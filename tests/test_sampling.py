"""The sampling tracer through the faces: endpoint, line and growth, at a bounded cost."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import asgi, wsgi
from leakmw.pace import AT_ONCE, CALM_PART
from leakmw.records import BACKGROUND, Verdict
from leakmw.settings import SettingsError
from leakmw.tracers import sampling, windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakmw.monitor import Monitor
    from leakmw.records import Finding, Row

if sampling.unavailable():
    pytest.skip("the extension is not built", allow_module_level=True)

from leakmw.tracers import _sampler

KEPT: list[object] = []
NEVER = 10**9


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    KEPT.clear()


def helper(size: int) -> None:
    """Leak for whoever calls."""
    KEPT.append(bytes(size))


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Leak a kilobyte at one of three paths, and churn at all."""
    churn = [str(number) * 10 for number in range(200)]
    if environ["PATH_INFO"] == "/leak":
        helper(1000)
    start_response("200 OK", [])
    return [b"".join(map(str.encode, churn))]


def watched(face: Any) -> Any:
    """Return a face whose sampling has begun: it does a moment after the first visit."""
    face.monitor.take_snapshot(60)
    return face


def ask(face: Any, path: str) -> None:
    """Serve one WSGI request to its end."""
    serve(face, {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": ""})


def serve(face: Any, environ: dict[str, Any]) -> None:
    """Do what a server does with *environ*."""
    body = face(environ, lambda *_given: None)
    assert b"".join(body)
    if hasattr(body, "close"):
        body.close()


def rows(monitor: Monitor) -> list[Row]:
    """Return the rows of the last snapshot that :func:`helper` has made."""
    trace = monitor.snapshots()[-1].trace
    return [row for row in trace.rows if row.path[-1].function == "helper"]


def suspects(monitor: Monitor) -> list[Finding]:
    """Return what the last report suspects."""
    report = monitor.report()
    assert report is not None
    return [one for one in report.findings if one.verdict is Verdict.SUSPECT]


def test_a_leak_is_suspected_at_its_endpoint_and_line() -> None:
    """And nothing else is."""
    face = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=4096)
    monitor = face.monitor
    for _ in range(7):
        for number in range(300):
            ask(face, ("/leak", "/a", "/b")[number % 3])
        monitor.take_snapshot(60)
    (suspect,) = suspects(monitor)
    monitor.close()
    assert suspect.growth.endpoint == "GET /leak"
    assert suspect.growth.site is not None
    assert suspect.growth.site.function == "helper"
    assert "all of it was allocated in visits of this endpoint" in suspect.evidence
    estimate = suspect.growth.bytes_per_request
    assert estimate is not None
    assert estimate.estimate == pytest.approx(1033 + 8, rel=0.4)  # from some 150 samples
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < estimate.estimate < estimate.high


def test_asking_for_it_where_it_does_not_load_is_an_error_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the reason and the remedy; ``auto`` takes tracemalloc there."""
    monkeypatch.setattr(sampling, "_missing", "No module named '_sampler'")
    monkeypatch.setattr(windows, "MOST_SECONDS", 0.1)
    with pytest.raises(SettingsError, match=r"No module named '_sampler'.*leakmw doctor"):
        wsgi.LeakMiddleware(wsgi_app, engine="sampling")
    face = wsgi.LeakMiddleware(wsgi_app, engine="auto", frames=1)
    assert face.monitor.take_snapshot(60).engine.name == "tracemalloc"
    face.monitor.close()


def test_a_healthy_app_is_not_suspected() -> None:
    """The same traffic without the leak."""
    face = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=4096)
    for _ in range(7):
        for number in range(300):
            ask(face, ("/c", "/a", "/b")[number % 3])
        face.monitor.take_snapshot(60)
    found = suspects(face.monitor)
    face.monitor.close()
    assert not found


def test_a_snapshot_tells_births_apart() -> None:
    """What of each window is still alive."""
    face = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=512)
    watched(face)
    for visits in (100, 200, 50):
        for _ in range(visits):
            ask(face, "/leak")
        face.monitor.take_snapshot(60)
    (row,) = rows(face.monitor)
    face.monitor.close()
    assert row.endpoint == "GET /leak"
    assert len(row.births) == 3
    for birth, visits in zip(row.births, (100, 200, 50), strict=True):
        assert birth.bytes == pytest.approx(visits * 1033, rel=0.25)
    assert sum(birth.bytes for birth in row.births) == row.bytes


def test_no_traffic_keeps_a_request_alive() -> None:
    """The samples hold the visit, and a visit holds nothing of its request."""

    class Environ(dict[str, Any]):
        """An environ that can be watched."""

    gone = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        helper(5000)
        start_response("200 OK", [])
        return [b"x"]

    face = wsgi.LeakMiddleware(app, every=NEVER, engine="sampling", sample_bytes=256)
    watched(face)
    for _ in range(20):
        environ = Environ(REQUEST_METHOD="GET", PATH_INFO="/leak", SCRIPT_NAME="")
        gone.append(weakref.ref(environ))
        serve(face, environ)
        del environ
    gc.collect()
    face.monitor.take_snapshot(60)
    assert not [environ for environ in gone if environ() is not None]
    assert sum(row.blocks for row in rows(face.monitor)) == pytest.approx(20, abs=4)
    face.monitor.close()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Leak in the visit, in a child task, in a thread and after the answer."""
    size = 2000 if scope["path"] == "/leak" else 0
    await asyncio.sleep(0)
    if size:
        helper(size)
        await asyncio.to_thread(helper, size)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})
    if size:
        await asyncio.create_task(later(size))


async def later(size: int) -> None:
    """Leak in a background task."""
    await asyncio.sleep(0)
    helper(size)


def test_overlapping_requests_their_tasks_and_threads_keep_their_endpoint() -> None:
    """64 at once, all through one helper."""
    face = asgi.LeakMiddleware(asgi_app, every=NEVER, engine="sampling", sample_bytes=512)

    async def visit(path: str) -> None:
        async def send(_: Any) -> None:
            await asyncio.sleep(0)

        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        await face(scope, None, send)  # type: ignore[arg-type]

    async def main() -> None:
        paths = [f"/e{number % 8}" if number % 8 else "/leak" for number in range(64)]
        await asyncio.gather(*[asyncio.create_task(visit(path)) for path in paths])

    watched(face)
    for _ in range(5):
        asyncio.run(main())
    face.monitor.take_snapshot(60)
    found = rows(face.monitor)
    face.monitor.close()
    assert {row.endpoint for row in found} == {"GET /leak"}
    assert sum(row.bytes for row in found) == pytest.approx(5 * 8 * 3 * 2033, rel=0.15)


def test_threads_of_the_apps_own_are_in_the_background() -> None:
    """They belong to no visit."""

    def app(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x"]

    face = wsgi.LeakMiddleware(app, every=NEVER, engine="sampling", sample_bytes=512)

    def work() -> None:
        for _ in range(30):
            helper(1000)

    for window in range(6):
        for _ in range(10 + 5 * (window % 3)):
            ask(face, "/a")
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        time.sleep(0.05)
        face.monitor.take_snapshot(60)
    report = face.monitor.report()
    face.monitor.close()
    assert report is not None
    grown = {growth.endpoint: growth.bytes for growth in report.endpoints}
    assert grown[BACKGROUND] > 100_000
    assert abs(grown["GET /a"]) < 40_000


def part_after(face: Any, windows: int, path: str) -> float:
    """Return the part of the budget in use after so many snapshots, fifty requests apart."""
    for _ in range(windows):
        for _ in range(50):
            ask(face, path)
        face.monitor.take_snapshot(60)
    return _sampler.figures()["part"]


def test_while_nothing_grows_samples_take_half_of_their_budget() -> None:
    """Once the first snapshots are taken; all of it again as soon as something does."""
    face = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=512)
    assert part_after(face, AT_ONCE - 1, "/quiet") == 1
    assert part_after(face, 1, "/quiet") == CALM_PART
    assert part_after(face, 8, "/leak") == 1
    face.monitor.close()


def test_an_app_with_a_leak_has_the_whole_budget_for_its_process() -> None:
    """Also where another one in it is calm, until the first has gone."""
    calm = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=512)
    leaking = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=512)
    watched(calm)
    assert part_after(leaking, 8, "/leak") == 1
    assert part_after(calm, AT_ONCE, "/quiet") == 1
    leaking.monitor.close()
    while _sampler.figures()["part"] == 1:  # until its thread has ended
        time.sleep(0.01)
    assert _sampler.figures()["part"] == CALM_PART
    calm.monitor.close()


def test_two_apps_in_one_process_share_the_hook() -> None:
    """Each has its own endpoints; the hook ends with the last of them."""
    first = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=512)
    second = wsgi.LeakMiddleware(wsgi_app, every=NEVER, engine="sampling", sample_bytes=512)
    watched(first)
    watched(second)
    for _ in range(50):
        ask(first, "/leak")
        ask(second, "/quiet")
    first.monitor.take_snapshot(60)
    second.monitor.take_snapshot(60)
    first.monitor.close()
    for _ in range(50):
        ask(second, "/leak")
    second.monitor.take_snapshot(60)
    assert sum(row.blocks for row in rows(second.monitor)) == pytest.approx(100, rel=0.3)
    second.monitor.close()
