"""Failing on purpose at each step: every response stays as it was, and it is said once."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import threading
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
import structlog
from tests.c_library import refuse_to_fork

from leakmw import asgi, background, forked, meters, pipeline, reporting, wsgi
from leakmw.tracers import exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.monitor import Monitor

BODY = b"every byte of it"


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer the same to everybody."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Shop", "yes")])
    return [BODY[:5], BODY[5:]]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer the same to everybody."""
    headers = [(b"content-type", b"text/plain"), (b"x-shop", b"yes")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def ask_wsgi(app: Any) -> object:
    """Return all that the server gets to see."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    started: list[object] = []
    body = app(environ, lambda *given: started.append(given))
    chunks = list(body)
    getattr(body, "close", lambda: None)()
    return started, chunks


def ask_asgi(app: Any) -> object:
    """Return all that the server gets to see."""
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(app(scope, None, send))
    return sent


PROTOCOLS = {
    "wsgi": (wsgi_app, wsgi.LeakMiddleware, ask_wsgi),
    "asgi": (asgi_app, asgi.LeakMiddleware, ask_asgi),
}


class Said(logging.Handler):
    """Remembers which steps were said to have failed."""

    def __init__(self) -> None:
        super().__init__()
        self.where: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one event."""
        if getattr(record, "event", None) == "leakmw.self_error":
            self.where.append(str(record.where))  # type: ignore[attr-defined]  # an extra


@pytest.fixture(name="said")
def _said(plain_logging: None) -> Iterator[Said]:
    """Return what ``leakmw.self_error`` said."""
    said = Said()
    logging.getLogger("leakmw").addHandler(said)
    yield said
    logging.getLogger("leakmw").removeHandler(said)


@pytest.fixture(params=PROTOCOLS, name="serve")
def _serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Return what serves visits through a face and compares each answer with the bare app's."""
    app, middleware, ask = PROTOCOLS[request.param]
    monitors: list[Monitor] = []
    bare = ask(app)

    def serve(*, every: int = 4, **chosen: Any) -> None:
        face: Any = middleware(app, every=every, frames=4, **chosen)
        monitors.append(face.monitor)
        for _ in range(4):  # rounds, so that a failure has time to come again
            for _ in range(every):
                assert ask(face) == bare
            wait(face.monitor)

    yield serve
    for monitor in monitors:
        monitor.close()


def wait(monitor: Monitor) -> None:
    """Wait until the thread has dealt with what it was woken for."""
    patience = time.monotonic() + 20
    while monitor._background is not None and time.monotonic() < patience:
        calls = monitor._background._calls
        behind = monitor._finished() - monitor._seen >= 2 * monitor._step
        if calls.empty() and not monitor._unsaid and not behind:
            return
        if calls.empty() and monitor._failures and not monitor._unsaid:
            return
        time.sleep(0.005)


def die() -> bytes:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def hang() -> bytes:
    """Never end."""
    while True:
        pass


def child(task: Callable[[], bytes]) -> Callable[..., forked.Outcome]:
    """Return ``forked.run`` with a task of its own and little patience."""
    run = forked.run

    def other(_: object, mark: Callable[[], None], **__: object) -> forked.Outcome:
        return run(task, mark, seconds=0.3, memory_bytes=1 << 26)

    return other


def raising(error: Exception) -> Callable[..., Any]:
    """Return what raises *error*, whatever it is called with."""

    def raises(*_: object, **__: object) -> Any:
        raise error

    return raises


def test_without_a_failure_nothing_is_said(serve: Callable[..., None], said: Said) -> None:
    """The innocent case beside all that follow."""
    serve()
    assert said.where == []


@pytest.mark.skipif(not forked.AVAILABLE, reason="nothing is forked here")
@pytest.mark.parametrize("step", ["fork refused", "child killed", "child hangs"])
def test_a_child_that_fails(
    step: str, serve: Callable[..., None], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app serves on."""
    if step == "fork refused":
        refuse_to_fork(monkeypatch)
    else:
        monkeypatch.setattr(forked, "run", child(die if step == "child killed" else hang))
    serve()
    assert said.where == (["fork"] if step == "fork refused" else ["snapshot"])


@pytest.mark.parametrize(
    ("broken", "where"),
    [
        ((exact, "_raw_traces", MemoryError()), "snapshot"),
        ((tracemalloc, "start", MemoryError()), "snapshot"),
        ((pipeline, "analyse", RuntimeError("no")), "snapshot"),
        ((reporting, "findings", RuntimeError("no")), "report"),
        ((meters.Meters, "memory", OSError(errno.EIO, "no")), "snapshot"),
    ],
    ids=["copying the traces", "starting the tracer", "analysis", "findings", "meters"],
)
def test_a_step_that_raises(
    broken: tuple[Any, str, Exception],
    where: str,
    serve: Callable[..., None],
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread goes on, and the app does not notice."""
    module, name, error = broken
    monkeypatch.setattr(module, name, raising(error))
    serve()
    assert said.where == [where]


def test_a_thread_that_cannot_be_started(
    serve: Callable[..., None], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container may have reached its limit of threads."""
    native = background.native

    def refusing(module: str, name: str) -> Any:
        if name == "start_new_thread":
            return raising(RuntimeError("can't start new thread"))
        return native(module, name)

    monkeypatch.setattr(background, "native", refusing)
    serve()
    assert said.where == ["start"]


def test_an_endpoint_callable_that_raises(serve: Callable[..., None], said: Said) -> None:
    """It is the user's, and still none of the request's business."""
    serve(endpoint=raising(LookupError("no such tenant")))
    assert said.where == ["endpoint"]


def test_a_sink_that_raises(serve: Callable[..., None], said: Said) -> None:
    """A broken structlog is said through logging."""
    structlog.configure(processors=[raising(ValueError("broken"))])
    serve()
    assert said.where == ["structlog"]


def unfinished(*_: object) -> Any:
    """Render nothing that a logger could take."""
    return object()


def test_a_structlog_that_is_configured_wrongly(serve: Callable[..., None], said: Said) -> None:
    """Its last processor returns what its logger cannot take."""
    factory: Any = structlog.stdlib.LoggerFactory()
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, unfinished], logger_factory=factory
    )
    serve()
    assert set(said.where) <= {"structlog"}
    assert len(said.where) <= 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to be had")
def test_a_full_disk_behind_the_log(
    serve: Callable[..., None], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler raises ``No space left on device`` at each event."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            os.write(disk, record.getMessage().encode())

    disk = os.open("/dev/full", os.O_WRONLY)
    logger = logging.getLogger("leakmw")
    monkeypatch.setattr(logger, "handlers", [said, Full()])
    logger.setLevel(logging.INFO)
    serve()
    os.close(disk)

    assert said.where == ["logging"]


def test_a_failure_is_said_before_a_snapshot_is_handed_out(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has waited for the snapshot may end the process next."""
    looking = threading.Event()
    monkeypatch.setattr(reporting, "findings", raising(RuntimeError("no")))
    monkeypatch.setattr(pipeline.Pipeline, "look_for_holders", lambda _: looking.wait())
    face: Any = wsgi.LeakMiddleware(wsgi_app, frames=4)
    face.monitor.take_snapshot(60)
    heard = list(said.where)
    looking.set()
    face.monitor.close()

    assert heard == ["report"]
