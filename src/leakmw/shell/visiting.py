"""Visits of an app in this process, as a server would make them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import unquote, urlsplit
from wsgiref.util import setup_testing_defaults

from leakmw.faces import speaks_asgi

if TYPE_CHECKING:
    from types import TracebackType

    from leakmw.monitor import Monitor

LIFESPAN_SECONDS = 60.0


class Visitor(Protocol):
    """Makes visits while it is entered."""

    monitor: Monitor

    def __enter__(self) -> Self:
        """Start the app."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the app, and leakmw's thread."""

    def visit(self, path: str) -> int | str:
        """Ask for *path*; return the status, or the type of what the app raised."""


def of(app: Any, **settings: Any) -> Visitor:
    """Return what visits *app*, watched with these settings.

    Raises:
        SettingsError: If one of them, or of the environment, is wrong.
    """
    return AsgiVisitor(app, **settings) if speaks_asgi(app) else WsgiVisitor(app, **settings)


class WsgiVisitor:
    """Visits a WSGI app."""

    def __init__(self, app: Any, **settings: Any) -> None:
        from leakmw.wsgi import LeakMiddleware

        self._face = LeakMiddleware(app, **settings)
        self.monitor: Monitor = self._face.monitor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.close()

    def visit(self, path: str) -> int | str:
        """Ask for *path*; return the status, or the type of what the app raised."""
        address = urlsplit(path)
        environ: dict[str, Any] = {
            "PATH_INFO": unquote(address.path, "latin-1"),  # PEP 3333's way of bytes
            "QUERY_STRING": address.query,
        }
        setup_testing_defaults(environ)
        said: list[str] = []

        def start_response(status: str, *_: object) -> Any:
            said.append(status)
            return bool

        try:
            body: Any = self._face(environ, start_response)
            try:
                for _ in body:
                    pass
            finally:
                if hasattr(body, "close"):
                    body.close()
        except Exception as error:  # noqa: BLE001  # the app's, which a server would log
            return type(error).__name__
        return int(said[-1][:3]) if said else "no status"


class AsgiVisitor:
    """Visits an ASGI app, on an event loop of its own, between its startup and its shutdown."""

    def __init__(self, app: Any, **settings: Any) -> None:
        from leakmw.asgi import LeakMiddleware

        self._face = LeakMiddleware(app, **settings)
        self.monitor: Monitor = self._face.monitor
        self._loop = asyncio.new_event_loop()
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._state: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # the app's
            self._loop.run_until_complete(self._end())
        self._loop.close()
        self.monitor.close()

    async def _start(self) -> None:
        started = asyncio.Event()

        async def send(event: Any) -> None:
            if event["type"].startswith("lifespan.startup"):
                started.set()

        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self._state}
        self._life = asyncio.ensure_future(self._face(scope, self._events.get, send))
        await self._events.put({"type": "lifespan.startup"})
        waiting = asyncio.ensure_future(started.wait())
        # an app without a lifespan ends at once, mostly with an exception
        await asyncio.wait(
            {waiting, self._life}, timeout=LIFESPAN_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()

    async def _end(self) -> None:
        await self._events.put({"type": "lifespan.shutdown"})
        await asyncio.wait({self._life}, timeout=LIFESPAN_SECONDS)
        self._life.cancel()

    def visit(self, path: str) -> int | str:
        """Ask for *path*; return the status, or the type of what the app raised."""
        try:
            return self._loop.run_until_complete(self._visit(path))
        except Exception as error:  # noqa: BLE001  # the app's, which a server would log
            return type(error).__name__

    async def _visit(self, path: str) -> int | str:
        address = urlsplit(path)
        said: list[int] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(address.path),
            "raw_path": address.path.encode(),
            "query_string": address.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 40_000),
            "server": ("127.0.0.1", 80),
            "state": dict(self._state),
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                said.append(event["status"])

        await self._face(scope, receive, send)
        return said[-1] if said else "no status"
