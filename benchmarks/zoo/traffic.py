"""Sends requests to an app in this process, as a server would call it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

from zoo.shops import NUMBER, AppError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

OVERLAPPING = 8
"""Requests that an ASGI app serves at once."""

PHASES = 4
"""How often a shifting mix changes."""


class Mix:
    """Draws the paths of the requests.

    Args:
        paths: Those of the app.

        shares: Part of the traffic by path; the others share the rest evenly.

        shifting: Whether paths take turns at being asked for three times as often.

        total: Requests in all.

    Attributes:
        sent: Requests so far, by path.
    """

    def __init__(
        self, paths: list[str], shares: Mapping[str, float], total: int, *, shifting: bool
    ) -> None:
        self._paths = paths
        rest = (1 - sum(shares.values())) / max(1, len(paths) - len(shares))
        self._weights = [shares.get(path, rest) for path in paths]
        self._shifting, self._total = shifting, total
        self._chance = random.Random(11)  # noqa: S311  # no secret
        self.sent: Counter[str] = Counter()

    def next(self) -> tuple[int, str]:
        """Return the number and the path of the next request."""
        number = self.sent.total()
        weights = list(self._weights)
        if self._shifting:
            favored = int(PHASES * number / self._total) % len(weights)
            weights[favored] *= 3
        (path,) = self._chance.choices(self._paths, weights)
        self.sent[path] += 1
        return number, path


def ask_wsgi(app: Any, number: int, path: str) -> None:
    """Send one request to a WSGI app; an error of the app is its client's."""
    NUMBER.set(number)
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": f"n={number}"}
    setup_testing_defaults(environ)
    with suppress(AppError):
        body = app(environ, _start_response)
        try:
            list(body)
        finally:
            if hasattr(body, "close"):
                body.close()


async def ask_asgi(app: Any, number: int, path: str) -> None:
    """Send one request to an ASGI app; an error of the app is its client's."""
    NUMBER.set(number)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": f"n={number}".encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1000),
        "server": ("127.0.0.1", 80),
    }
    with suppress(AppError):
        await app(scope, _receive, _send)


def stepper(app: Any, mix: Mix, size: int, *, speaks_asgi: bool) -> Callable[[], object]:
    """Return what sends *size* requests to *app* each time it is called."""
    if not speaks_asgi:
        return rounds(app, mix, size).__next__
    loop = asyncio.new_event_loop()
    serving = rounds_async(app, mix, size)
    return lambda: loop.run_until_complete(anext(serving))


def rounds(app: Any, mix: Mix, size: int) -> Iterator[None]:
    """Send *size* requests to a WSGI app at each step."""
    while True:
        for _ in range(size):
            ask_wsgi(app, *mix.next())
        yield


async def rounds_async(app: Any, mix: Mix, size: int) -> AsyncIterator[None]:
    """Send *size* requests to an ASGI app at each step, several at once."""
    while True:
        for _ in range(size // OVERLAPPING):
            async with asyncio.TaskGroup() as group:
                for _ in range(OVERLAPPING):
                    group.create_task(ask_asgi(app, *mix.next()))
        yield


def _start_response(*_: Any) -> Any:
    return None


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Any) -> None:
    return None
