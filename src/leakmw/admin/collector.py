"""What Python's garbage collector says of itself, read without running any code of the app."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import Counter
from itertools import islice
from typing import Any, NamedTuple

from leakmw.heap.objects import full_name, size_of
from leakmw.meters import rss_bytes

EXAMINED = 10_000
"""Objects of ``gc.garbage`` that are looked at."""

GROUPS = 50
"""Groups of them that are listed."""

_DEBUG = ("DEBUG_STATS", "DEBUG_COLLECTABLE", "DEBUG_UNCOLLECTABLE", "DEBUG_SAVEALL")


class Group(NamedTuple):
    """Objects of one type that were born at one line."""

    type: str
    file: str | None
    line: int | None


def state() -> dict[str, Any]:
    """Return the collector's counts and settings, and what it could not free."""
    debug = gc.get_debug()
    return {
        "enabled": gc.isenabled(),
        "counts": list(gc.get_count()),
        "thresholds": list(gc.get_threshold()),
        "stats": gc.get_stats(),
        "debug": [name for name in _DEBUG if debug & getattr(gc, name)],
        "frozen_objects": gc.get_freeze_count(),
        "garbage": garbage(),
    }


def garbage() -> dict[str, Any]:
    """Return what lies in ``gc.garbage`` by type and place of birth, most bytes first.

    An object's bytes are its own, without its attribute dictionary and what it refers to. Where
    it was born is known to tracemalloc alone, and ``None`` when that did not see it; Python 3.11
    never finds it for an object with an attribute dictionary.
    """
    counts: Counter[Group] = Counter()
    sizes: Counter[Group] = Counter()
    for thing in islice(gc.garbage, EXAMINED):
        group = _group(thing)
        counts[group] += 1
        sizes[group] += size_of(thing)
    return {
        "length": len(gc.garbage),
        "examined": counts.total(),
        "groups": [
            {
                "type": group.type,
                "born_at": group.file and {"file": group.file, "line": group.line},
                "count": counts[group],
                "bytes": size,
            }
            for group, size in sizes.most_common(GROUPS)
        ],
        "groups_left_out": max(len(sizes) - GROUPS, 0),
    }


def collect() -> dict[str, Any]:
    """Run a full collection, finalizers of the app included, and say what came of it."""
    rss, length, uncollectable = rss_bytes(), len(gc.garbage), _uncollectable()
    start = time.perf_counter()
    unreachable = gc.collect()
    seconds = time.perf_counter() - start
    kept = max(len(gc.garbage) - length, _uncollectable() - uncollectable, 0)
    return {
        "unreachable_objects": unreachable,
        "freed_objects": max(unreachable - kept, 0),
        "rss_bytes": {"before": rss, "after": rss_bytes()},
        "seconds": seconds,
    }


def _group(thing: object) -> Group:
    born = tracemalloc.get_object_traceback(thing)
    place = (born[-1].filename, born[-1].lineno) if born else (None, None)
    return Group(full_name(type(thing)), *place)


def _uncollectable() -> int:
    count: int = gc.get_stats()[-1]["uncollectable"]
    return count
