"""The slowest request while somebody looks into a large heap.

python benchmarks/heap_look.py [--objects 1000000 5000000] [--rounds 7]

Real servers with a large heap get requests at a steady rate: alone, during a full analysis of
leakmw, and while objgraph, Pympler, guppy3 and Dozer look at the same heap, in the same process,
as their documentation has them used. A wait counts from when the request was due.
"""

from __future__ import annotations

import argparse
import os
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from figures import Spread, machine, table
from servers import CORES, TOKEN, on_core, serving
from traffic import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Server

CASES = (("heaped_flask", "gunicorn gthread"), ("heaped_starlette", "uvicorn"))
RATE = 200.0
CONNECTIONS = 4
ANSWERS = 3
"""Times that an answer may come too late: 5 million objects take longer than a client waits."""

PEERS = {
    "objgraph": "`objgraph.growth()`",
    "pympler": "Pympler, `summarize`",
    "guppy3": "guppy3, `heap()`",
    "dozer": "Dozer, one count",
}
SETTINGS = {"token": TOKEN, "every": 10**9}
"""Nothing looks but when it is asked to."""


def visited(server: Server, path: str) -> None:
    """Have the app look."""
    urllib.request.urlopen("http://{}:{}/look/{}".format(*server.address, path)).close()


def analysed(server: Server) -> None:
    """Have leakmw look: who asks again while a look is under way waits for the same one."""
    for _ in range(ANSWERS):
        with suppress(urllib.error.HTTPError):
            server.asked("heap", "POST")
            return
    server.asked("heap", "POST")


def measured(server: Server, load: Load, rounds: int) -> list[tuple[str, ...]]:
    """Return a row for each way to look: the slowest requests, and how long it took."""
    slowest: dict[str, list[float]] = {}
    took: dict[str, list[float]] = {}

    def look(name: str, way: Callable[[], object]) -> float:
        waits, seconds = load.during(way)
        slowest.setdefault(name, []).append(1000 * max(waits))
        took.setdefault(name, []).append(seconds)
        return seconds

    for _ in range(rounds):
        seconds = look("a full analysis of leakmw", partial(analysed, server))
        # the longer one waits, the slower the slowest
        look("the app alone, for as long", partial(time.sleep, seconds))
    for name, title in PEERS.items():  # once shows it: they take long
        look(title, partial(visited, server, name))
    return [
        (name, _shown(slowest[name]), f"{max(slowest[name]):,.1f}", f"{min(took[name]):.1f}")
        for name in slowest
    ]


def _shown(values: list[float]) -> str:
    return Spread.of(values).shown(1) if len(values) > 1 else f"{values[0]:,.1f}"


def look(app: str, kind: str, objects: int, rounds: int) -> str:
    """Return the table of one server."""
    os.environ["BENCHMARK_OBJECTS"] = str(objects)
    with (
        serving(kind, app, "leakmw", SETTINGS) as server,
        closing(Load(server.address, RATE, CONNECTIONS)) as load,
    ):
        load.run(1.0)
        server.asked("snapshots", "POST")
        rows = measured(server, load, rounds)
    head = ("while this runs", "slowest request, ms", "of all rounds", "took at least, s")
    return table(head, rows)


def main() -> None:
    """Look at each size of the heap in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="*", default=[1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    print(f"{RATE:.0f} requests a second. {machine()}\n")
    with on_core(CORES[0]):
        for objects in chosen.objects:
            for app, kind in CASES:
                title = f"{app.removeprefix('heaped_')}, {kind}, {objects:,} objects"
                print(f"**{title}**\n\n{look(app, kind, objects, chosen.rounds)}", flush=True)


if __name__ == "__main__":
    main()
