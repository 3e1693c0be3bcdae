"""Time one app of ``apps`` in this process, without a server: prints microseconds per request."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

BLOCKS = 15
BLOCK_SECONDS = 0.1

Visits = Callable[[int], None]


def wsgi_visits(app: Any) -> Visits:
    """Return what makes so many visits, as a WSGI server would."""
    template: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(template)

    def start_response(*_: Any) -> None:
        pass

    def visit(count: int) -> None:
        for _ in range(count):
            body = app(dict(template), start_response)
            for _chunk in body:
                pass
            if hasattr(body, "close"):
                body.close()

    return visit


def asgi_visits(app: Any) -> Visits:
    """Return what makes so many visits, as an ASGI server would."""
    template = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        pass

    async def visits(count: int) -> None:
        for _ in range(count):
            await app(dict(template), receive, send)

    loop = asyncio.new_event_loop()
    return lambda count: loop.run_until_complete(visits(count))


def is_asgi(app: Any) -> bool:
    """Return whether an app, or its call, is a coroutine function."""
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__)


def visits_of(name: str) -> Visits:
    """Return what makes visits of an app, a module in ``apps``."""
    sys.path.insert(0, str(Path(__file__).parent / "apps"))
    app = importlib.import_module(name).app
    return asgi_visits(app) if is_asgi(app) else wsgi_visits(app)


def microseconds(visit: Visits) -> float:
    """Return the shortest time of several blocks: everything else disturbs, and only slows."""
    count = 100
    while (seconds := _seconds(visit, count)) < BLOCK_SECONDS:
        count *= 2
    return min(seconds, *(_seconds(visit, count) for _ in range(BLOCKS))) / count * 1e6


def _seconds(visit: Visits, count: int) -> float:
    started = time.perf_counter()
    visit(count)
    return time.perf_counter() - started


def main() -> None:
    """Print the figure."""
    print(microseconds(visits_of(sys.argv[1])))


if __name__ == "__main__":
    main()
