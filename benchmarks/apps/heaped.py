"""A large heap, and what others offer to look into it, as their documentation has them used."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OBJECTS = int(os.environ.get("BENCHMARK_OBJECTS", "1000000"))

KEPT = [
    {"id": number, "rows": [number], "pair": (number, [number])} for number in range(OBJECTS // 4)
]
"""About so many objects that the collector walks through, in three kinds of shapes."""


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
    "objgraph": _objgraph,
    "pympler": _pympler,
    "guppy3": _guppy,
    "dozer": _dozer,
}
