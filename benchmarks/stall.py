"""The longest stall that a request sees while a snapshot of a large heap is taken.

python benchmarks/stall.py [--engine tracemalloc] [--blocks 1500000] [--gigabytes 0.1 1 4]

A ticker serves one small request after another through the face and notes how long after its time
each came back: alone, while leakmw takes snapshots, and while tracemalloc's own ``take_snapshot``
and ``compare_to`` run on another thread, all in one process with the same live blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import linecache
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Self
from wsgiref.util import setup_testing_defaults

import psutil
from figures import Spread, machine, table

from leakmw.asgi import LeakMiddleware as AsgiFace
from leakmw.wsgi import LeakMiddleware as WsgiFace

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.monitor import Monitor

FRAMES = 16
SITES = 600
BLOCKS_EACH = 3
SMALL = 16
NEVER = 10**9
TICK_SECONDS = 0.0005
ALONE_SECONDS = 2.0


def wsgi_app(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with a little work."""
    start_response("200 OK", [])
    return [b"".join(str(number).encode() for number in range(50))]


async def asgi_app(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer with a little work."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"".join(str(number).encode() for number in range(50))
    await send({"type": "http.response.body", "body": body})


def heap(blocks: int, size: int) -> list[Any]:
    """Return about *blocks* live blocks, born at many sites below stacks of many depths.

    A third of them are of *size* bytes, the others are the lists that hold those.
    """
    source = "\n".join(
        f"def site_{number}(count, size, deeper):\n"
        "    if deeper:\n"
        f"        return site_{(number * 7 + 1) % SITES}(count, size, deeper - 1)\n"
        "    return [[bytes(size)] for _ in range(count)]\n"
        for number in range(SITES)
    )
    sites: dict[str, Any] = {}
    name = "benchmark_sites.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), sites)  # noqa: S102  # the source stands above
    calls = 3000
    count = blocks // calls // BLOCKS_EACH
    return [sites[f"site_{call % SITES}"](count, size, call % 5) for call in range(calls)]


class Ticker:
    """Serves requests in its own thread and remembers the longest wait for one."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.longest = 0.0

    def during(self, work: Callable[[], object]) -> float:
        """Return the longest that a request took, in seconds, while *work* ran."""
        self.longest = 0.0
        work()
        time.sleep(0.1)
        return self.longest

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def note(self, due: float) -> float:
        """Remember a request that was to begin at *due*, and return when the next one is.

        A request that could not even begin has waited, too.
        """
        now = time.perf_counter()
        self.longest = max(self.longest, now - due)
        return now + TICK_SECONDS

    def _run(self) -> None:
        raise NotImplementedError


class Threaded(Ticker):
    """Calls a WSGI app."""

    def __init__(self, face: WsgiFace) -> None:
        super().__init__()
        self._face = face

    def _run(self) -> None:
        due = time.perf_counter()
        while not self._stop.is_set():
            environ: dict[str, Any] = {}
            setup_testing_defaults(environ)
            list(self._face(environ, _start_response))
            due = self.note(due)
            time.sleep(TICK_SECONDS)


class Looped(Ticker):
    """Calls an ASGI app on an event loop."""

    def __init__(self, face: AsgiFace) -> None:
        super().__init__()
        self._face = face

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        due = time.perf_counter()
        while not self._stop.is_set():
            scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
            await self._face(scope, _receive, _send)
            due = self.note(due)
            await asyncio.sleep(TICK_SECONDS)


def _start_response(*_: Any) -> Any:
    return None


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Any) -> None:
    return None


def measure(ticker: Ticker, monitor: Monitor, rounds: int) -> list[tuple[str, str, str]]:
    """Return a row for each way to look, longest stalls in milliseconds."""
    alone, ours, pauses, took = [], [], [], []
    with ticker:
        monitor.take_snapshot(120)
        for _ in range(rounds):
            alone.append(ticker.during(lambda: time.sleep(ALONE_SECONDS)))
            started = time.perf_counter()
            ours.append(ticker.during(lambda: pauses.append(_snapshot(monitor))))
            took.append(time.perf_counter() - started)
        theirs = _theirs(ticker) if tracemalloc.is_tracing() else []
    return [
        ("the app alone", milliseconds(alone), f"{ALONE_SECONDS:g}"),
        ("a snapshot of leakmw", milliseconds(ours), _seconds(took)),
        ("of that, the process stood still", milliseconds(pauses), ""),
        *theirs,
    ]


def _theirs(ticker: Ticker) -> list[tuple[str, str, str]]:
    """Return a row for tracemalloc's own way, once: it takes long, and once shows it."""
    baseline = tracemalloc.take_snapshot()
    started = time.perf_counter()
    stall = ticker.during(lambda: _compare(baseline))
    took = time.perf_counter() - started
    return [("`take_snapshot`, `compare_to`", f"{stall * 1e3:.1f}", f"{took:.1f}")]


def _snapshot(monitor: Monitor) -> float:
    return monitor.take_snapshot(120).trace.pause_seconds


def _compare(baseline: tracemalloc.Snapshot) -> None:
    tracemalloc.take_snapshot().compare_to(baseline, "lineno")


def milliseconds(seconds: list[float]) -> str:
    """Return the spread of some stalls, and the longest."""
    spread = Spread.of([value * 1e3 for value in seconds])
    return f"{spread.shown(1)}, at most {max(seconds) * 1e3:.1f}"


def _seconds(seconds: list[float]) -> str:
    return Spread.of(seconds).shown(1)


def look(blocks: int, gigabytes: float | None, engine: str, rounds: int) -> None:
    """Print a table for a threaded app and one for an event loop."""
    chosen: dict[str, Any] = {"engine": engine, "frames": FRAMES}
    wsgi = WsgiFace(wsgi_app, every=NEVER, store="memory", **chosen)
    asgi = AsgiFace(asgi_app, every=NEVER, store="memory", **chosen)
    for monitor in (wsgi.monitor, asgi.monitor):
        monitor.take_snapshot(120)  # what is born from now on is traced
    size = round(gigabytes * 1e9 * BLOCKS_EACH / blocks) if gigabytes else SMALL
    kept = heap(blocks, size)
    gc.collect()  # in a running app one has seen the heap, and the next full one is far away
    resident = psutil.Process().memory_info().rss / 1e9
    about = f"About {blocks:,} live blocks, {resident:.2f} GB, {FRAMES} frames, engine {engine}."
    print(f"{about} {machine()}\n")
    for title, ticker, monitor in (
        ("Threads", Threaded(wsgi), wsgi.monitor),
        ("Event loop", Looped(asgi), asgi.monitor),
    ):
        rows = measure(ticker, monitor, rounds)
        print(f"**{title}**\n")
        print(table(("while this runs", "longest stall, ms", "took, s"), rows), flush=True)
        monitor.close()
    kept.clear()


def main() -> None:
    """Look at each size of the heap in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=1_500_000)
    parser.add_argument("--gigabytes", type=float, nargs="*", default=[None])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engine", choices=("tracemalloc", "sampling"), default="tracemalloc")
    chosen = parser.parse_args()
    if chosen.engine == "tracemalloc":
        tracemalloc.start(FRAMES)
    for gigabytes in chosen.gigabytes:
        look(chosen.blocks, gigabytes, chosen.engine, chosen.rounds)


if __name__ == "__main__":
    main()
