"""Whether leakmw itself stays small, whatever is sent.

python benchmarks/bounded.py [--requests 1000000]

Sends requests with random paths, headers and methods through the WSGI and the ASGI face, with
snapshots as usual, and prints the memory that leakmw's own lines hold, after a tenth, after half,
and at the end. Exits with 1 if a table is past its cap or if that memory grew by more than 64 KiB
in the second half.
"""

from __future__ import annotations

import argparse
import gc
import random
import string
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import psutil
from figures import machine, table

import leakmw
from leakmw.asgi import LeakMiddleware as AsgiFace
from leakmw.monitor import MAX_FAILURES, Monitor
from leakmw.records import MAX_SNAPSHOTS
from leakmw.tracers.grouping import MAX_ROWS
from leakmw.wsgi import LeakMiddleware as WsgiFace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAMES = 2
ENDPOINTS = 100
ALLOWED_GROWTH = 64 << 10
REST_SECONDS = 3.0
OWN = str(Path(leakmw.__file__).parent / "*")
LETTERS = string.printable + "äß\u202e\U0001f600"


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Find every other path."""
    start_response("404 Not Found" if len(environ["PATH_INFO"]) % 2 else "200 OK", [])
    return [b""]


async def asgi_app(scope: Any, _receive: Any, send: Any) -> None:
    """Find every other path."""
    status = 404 if len(scope["path"]) % 2 else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def ask_wsgi(face: Any, method: str, path: str, header: str) -> None:
    """Send one request."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": method, f"HTTP_{header}": header}
    environ["PATH_INFO"] = path.encode().decode("latin-1")  # PEP 3333's way of bytes
    list(face(environ, lambda *_: None))


def ask_asgi(face: Any, method: str, path: str, header: str) -> None:
    """Send one request; nothing in it waits, so no event loop is needed."""
    raw = header.encode()
    scope = {"type": "http", "method": method, "path": path, "headers": [(raw, raw)]}
    try:
        face(scope, _receive, _send).send(None)
    except StopIteration:
        return
    raise RuntimeError("the app waited for something")


async def _receive() -> Any:
    return {"type": "http.request"}


async def _send(_message: Any) -> None:
    return None


def junk(seed: int) -> Iterator[tuple[str, str, str]]:
    """Yield random methods, paths and headers."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    while True:
        path = "/" + "".join(chance.choices(LETTERS, k=chance.randrange(60)))
        yield "".join(chance.choices(LETTERS, k=5)), path, "".join(chance.choices(LETTERS, k=9))


def past_caps(monitor: Monitor) -> list[str]:
    """Return the tables that are larger than they may be."""
    sizes = {
        "endpoints": (len(monitor.endpoints()), ENDPOINTS + 2),
        "routes": (sum(map(len, monitor.known.values())), ENDPOINTS + 2),
        "failures": (len(monitor._failures), MAX_FAILURES),  # noqa: SLF001  # a table
        "snapshots": (len(monitor.snapshots()), MAX_SNAPSHOTS),
        "rows": (max(len(one.trace.rows) for one in monitor.snapshots()), MAX_ROWS),
    }
    return [f"{name}: {size} of {cap}" for name, (size, cap) in sizes.items() if size > cap]


def own_bytes() -> int:
    """Return what blocks born at leakmw's own lines hold while its thread is at no work."""
    time.sleep(REST_SECONDS)  # the report on a snapshot is made after it
    gc.collect()  # empties the interpreter's free lists, whose blocks stand at their last lines
    found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, OWN)])
    return sum(trace.size for trace in found.traces)


def run(title: str, face: Any, ask: Callable[..., None], requests: int) -> tuple[list[str], bool]:
    """Send the requests; return a row of the table, and whether all stayed small."""
    process = psutil.Process()
    stops = [requests // 10, requests // 2, requests]
    own, resident = [], []
    source = junk(7)
    for sent in range(1, requests + 1):
        ask(face, *next(source))
        if sent in stops:
            face.monitor.take_snapshot(120)
            own.append(own_bytes())
            resident.append(process.memory_info().rss)
    crowded = past_caps(face.monitor)
    face.monitor.close()
    row = [title, *(f"{value / 1024:,.0f}" for value in own)]
    row += [f"{value / (1 << 20):,.1f}" for value in resident[1:]]
    row.append(", ".join(crowded) or "none")
    return row, not crowded and own[2] - own[1] <= ALLOWED_GROWTH


def main() -> int:
    """Print the table of both faces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    requests: int = parser.parse_args().requests
    tracemalloc.start(FRAMES)
    chosen: dict[str, Any] = {
        "frames": FRAMES,
        "max_endpoints": ENDPOINTS,
        "store": "memory",
    }
    rows, small = [], []
    for title, face, ask in (
        ("WSGI", WsgiFace(wsgi_app, **chosen), ask_wsgi),
        ("ASGI", AsgiFace(asgi_app, **chosen), ask_asgi),
    ):
        row, stayed = run(title, face, ask, requests)
        rows.append(row)
        small.append(stayed)
    head = ("face", "own KiB after 10 %", "50 %", "100 %", "RSS MiB at 50 %", "100 %", "past cap")
    print(f"{requests:,} requests each. {machine()}\n")
    print(table(head, rows))
    return 0 if all(small) else 1


if __name__ == "__main__":
    sys.exit(main())
