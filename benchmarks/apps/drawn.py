"""An app whose requests are served bare or watched, as drawn by lot, with and without the hook.

``GET /drawn`` answers with what they took, and forgets it.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

from leakmw.asgi import LeakMiddleware as AsgiMiddleware
from leakmw.faces import speaks_asgi
from leakmw.tracers import _sampler
from leakmw.visits.current import CURRENT, OURS
from leakmw.wsgi import LeakMiddleware as WsgiMiddleware

if TYPE_CHECKING:
    from contextvars import ContextVar

VISIT: ContextVar[Any] = CURRENT
PATH = "/drawn"
HOOKS = ("no hook", "no samples", "samples")
"""What is there in the stretches of a round, in an order drawn by lot."""

STRETCH = 100
"""Requests between two switches of the hook."""

SETTLING = 5
"""Requests of each kind after a switch that do not count."""

NO_SAMPLES = float(1 << 40)
FRAMES = 32
INTERVAL = float(os.environ["BENCHMARK_INTERVAL"])
"""Mean bytes between two samples where they are taken."""


class Lots:
    """Draws who serves each request, and notes what that took of the CPU.

    From the arrival of one request to that of the next is all that the server does for it, as long
    as its client has one connection.

    Args:
        bare: An app.

        watched: The same within leakmw.
    """

    def __init__(self, bare: Any, watched: Any) -> None:
        self._servers = (bare, watched)
        self._drawn = 0
        self._arrived = time.process_time_ns()
        self._hooks: list[str] = []
        self._round: dict[str, list[float]] = {}
        self._rounds: list[dict[str, list[float]]] = []
        self._begin_stretch()

    def server(self) -> Any:
        """Return what serves the request that has arrived."""
        took = time.process_time_ns() - self._arrived
        self._took[self._drawn].append(took)
        self._left -= 1
        if not self._left:
            self._round[self._hook] = [statistics.median(one[SETTLING:]) for one in self._took]
            self._begin_stretch()
        self._drawn = random.getrandbits(1)
        self._arrived = time.process_time_ns()
        return self._servers[self._drawn]

    def _begin_stretch(self) -> None:
        if not self._hooks:
            self._rounds.append(self._round)
            self._round = {}
            self._hooks = random.sample(HOOKS, len(HOOKS))
        self._hook = self._hooks.pop()
        self._took: tuple[list[int], list[int]] = ([], [])
        self._left = STRETCH
        _sampler.stop()
        if self._hook != "no hook":
            interval = INTERVAL if self._hook == "samples" else NO_SAMPLES
            _sampler.start(VISIT, OURS, FRAMES, 0.0, interval, 1)
        self._arrived = time.process_time_ns()

    def told(self) -> bytes:
        """Return, as JSON, the median nanoseconds of requests, by round and by what was hooked in.

        Those served bare come first, then those watched.
        """
        told, self._rounds = self._rounds[1:], [{}]
        return json.dumps(told).encode()


def _wsgi(bare: Any) -> Any:
    lots = Lots(bare, WsgiMiddleware(bare))

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != PATH:
            return lots.server()(environ, start_response)
        body = lots.told()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return app


def _asgi(bare: Any) -> Any:
    lots = Lots(bare, AsgiMiddleware(bare))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await bare(scope, receive, send)
        elif scope["path"] != PATH:
            await lots.server()(scope, receive, send)
        else:
            body = lots.told()
            headers = [(b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


_bare = importlib.import_module(os.environ["BENCHMARK_APP"]).app
app = _asgi(_bare) if speaks_asgi(_bare) else _wsgi(_bare)
