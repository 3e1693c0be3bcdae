"""What Python's garbage collector says of itself, read without running any code of the app.

Sizes come from methods written in C, names from the getters of ``type``: a class of the app may
have its own ``__sizeof__``, and its metaclass its own ``__getattribute__``.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import Counter
from itertools import islice
from types import MethodDescriptorType
from typing import Any, NamedTuple

from leakmw.meters import rss_bytes

EXAMINED = 10_000
"""Objects of ``gc.garbage`` that are looked at."""

GROUPS = 50
"""Groups of them that are listed."""

_NAME_LIMIT = 200
_DEBUG = ("DEBUG_STATS", "DEBUG_COLLECTABLE", "DEBUG_UNCOLLECTABLE", "DEBUG_SAVEALL")

# The getters of ``type`` itself, which no metaclass can override.
_name_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__
_bases_of = type.__dict__["__mro__"].__get__
_members_of = type.__dict__["__dict__"].__get__


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
        sizes[group] += _size(thing)
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
    return Group(_full_name(type(thing)), *place)


def _full_name(kind: type) -> str:
    try:
        module = _module_of(kind)
    except AttributeError:  # made by type() where no __name__ was in sight
        module = None
    # A class may call its module anything, a property included.
    where = f"{module}." if type(module) is str and module != "builtins" else ""
    return f"{where}{_name_of(kind)}"[:_NAME_LIMIT]


def _size(thing: object) -> int:
    """Return the object's own bytes as the nearest ``__sizeof__`` written in C counts them."""
    candidates = ((base, _members_of(base).get("__sizeof__")) for base in _bases_of(type(thing)))
    sizeof = next(
        method
        for base, method in candidates
        if type(method) is MethodDescriptorType and method.__objclass__ is base
    )
    size: int = sizeof(thing)
    return size


def _uncollectable() -> int:
    count: int = gc.get_stats()[-1]["uncollectable"]
    return count
