"""The longest stall that a request sees while somebody looks into a large heap.

python benchmarks/heap_look.py [--objects 1000000 5000000] [--rounds 5]

A ticker serves one small request after another and notes how long after its time each came back:
alone, during a full analysis of leakmw, and while objgraph, Pympler, guppy3 and Dozer look at the
same heap in the same process, as their documentation has them used.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING, Any

from figures import machine, table
from stall import Looped, Threaded, Ticker, asgi_app, milliseconds, wsgi_app

from leakmw.asgi import LeakMiddleware as AsgiFace
from leakmw.wsgi import LeakMiddleware as WsgiFace

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.monitor import Monitor
    from leakmw.records import Heap, Holdings

NEVER = 10**9
ALONE_SECONDS = 2.0
PATIENCE_SECONDS = 600.0


def heap(objects: int) -> list[Any]:
    """Return about so many objects that the collector walks through, in three kinds of shapes."""
    return [
        {"id": number, "rows": [number], "pair": (number, [number])}
        for number in range(objects // 4)
    ]


def _holdings(asked: Heap) -> Holdings:
    return asked.holdings()


def _objgraph() -> None:
    import objgraph

    objgraph.growth()


def _pympler() -> None:
    from pympler import muppy, summary

    summarize: Any = summary.summarize
    summarize(muppy.get_objects())


def _guppy() -> None:
    import guppy

    guppy.hpy().heap()


def _dozer() -> None:
    with warnings.catch_warnings(action="ignore"):
        from dozer.leak import Dozer

        dozer = Dozer(None)
    dozer.stop()
    dozer.tick()


PEERS: dict[str, Callable[[], None]] = {
    "`objgraph.growth()`": _objgraph,
    "Pympler, `summarize`": _pympler,
    "guppy3, `heap()`": _guppy,
    "Dozer, one count": _dozer,
}


def measure(ticker: Ticker, monitor: Monitor, rounds: int) -> list[tuple[str, str, str]]:
    """Return a row for each way to look: longest stalls in milliseconds, and how long it took."""
    ways: dict[str, Callable[[], object]] = {
        "the app alone": lambda: time.sleep(ALONE_SECONDS),
        "a full analysis of leakmw": lambda: monitor.look(_holdings, PATIENCE_SECONDS),
        **PEERS,
    }
    stalls: dict[str, list[float]] = {name: [] for name in ways}
    took: dict[str, list[float]] = {name: [] for name in ways}
    with ticker:
        for _ in range(rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                stalls[name].append(ticker.during(way))
                took[name].append(time.perf_counter() - started)
    return [(name, milliseconds(stalls[name]), f"{min(took[name]):.1f}") for name in ways]


def look(objects: int, rounds: int) -> None:
    """Print a table for a threaded app and one for an event loop."""
    wsgi = WsgiFace(wsgi_app, every=NEVER, store="memory")
    asgi = AsgiFace(asgi_app, every=NEVER, store="memory")
    kept = heap(objects)
    print(f"About {objects:,} objects. {machine()}\n")
    for title, ticker, monitor in (
        ("Threads", Threaded(wsgi), wsgi.monitor),
        ("Event loop", Looped(asgi), asgi.monitor),
    ):
        monitor.take_snapshot(PATIENCE_SECONDS)
        rows = measure(ticker, monitor, rounds)
        print(f"**{title}**\n")
        print(
            table(("while this runs", "longest stall, ms", "took at least, s"), rows), flush=True
        )
        monitor.close()
    kept.clear()


def main() -> None:
    """Look at each size of the heap in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="*", default=[1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    for objects in chosen.objects:
        look(objects, chosen.rounds)


if __name__ == "__main__":
    main()
