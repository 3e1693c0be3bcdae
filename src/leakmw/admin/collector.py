"""What Python's garbage collector says and does, told without running any code of the app.

A collection alone runs code of the app: its finalizers.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.naming import Names, functions_near
from leakmw.heap.objects import full_name, size_of
from leakmw.meters import rss_bytes
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from leakmw.records import (
        Collections,
        CycleGroup,
        Frame,
        Heap,
        Inspection,
        Monitored,
        Waiting,
    )

    Referrers = Mapping[str, Mapping[str, int]]

EXAMINED = 10_000
"""Objects of ``gc.garbage`` that are looked at."""

GROUPS = 50
"""Groups of them that are listed."""

ENDPOINTS = 50
"""Endpoints whose collections are listed."""

LOOK_TIMEOUT = 25.0
"""Seconds that a request waits for a look at the heap: less than gunicorn gives a worker."""

REFERRERS_SECONDS = 60.0
"""For how long the referrers of what ``gc.garbage`` holds are good: to find them takes a look."""

_DEBUG = ("DEBUG_STATS", "DEBUG_COLLECTABLE", "DEBUG_UNCOLLECTABLE", "DEBUG_SAVEALL")


class Group(NamedTuple):
    """Objects of one type that were born at one line."""

    type: str
    born: Frame | None


class Collector:
    """The garbage collector of this process.

    Args:
        monitored: Knows what collections take, and looks at the heap.

        clock: Monotonic seconds.
    """

    def __init__(self, monitored: Monitored, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitored = monitored
        self._clock = clock
        self._referrers: tuple[float, int, Referrers | None] = (0.0, 0, None)

    def state(self) -> dict[str, Any]:
        """Return the collector's counts and settings, what it took, and what it could not free."""
        debug = gc.get_debug()
        return {
            "enabled": gc.isenabled(),
            "counts": list(gc.get_count()),
            "thresholds": list(gc.get_threshold()),
            "stats": gc.get_stats(),
            "debug": [name for name in _DEBUG if debug & getattr(gc, name)],
            "frozen_objects": gc.get_freeze_count(),
            "pauses": self._pauses(),
            "garbage": self._garbage(),
        }

    def _pauses(self) -> dict[str, Any] | None:
        collecting = self._monitored.collecting()
        if collecting is None:
            return None
        endpoints = collecting.endpoints
        ranked = sorted((endpoints or {}).items(), key=lambda item: -_seconds(item[1]))
        listed = [
            {"endpoint": name, "generations": _generations(pauses)}
            for name, pauses in ranked[:ENDPOINTS]
        ]
        return {
            "since": collecting.since.isoformat().replace("+00:00", "Z"),
            "generations": _generations(collecting.generations),
            "endpoints": None if endpoints is None else listed,
            "endpoints_left_out": len(ranked[ENDPOINTS:]),
        }

    def _garbage(self) -> dict[str, Any]:
        """Return what lies in ``gc.garbage`` by type and place of birth, most bytes first.

        An object's bytes are its own, without its attribute dictionary and what it refers to.
        """
        referrers = self._referred() if gc.garbage else {}  # before our list is one of them
        things = list(islice(gc.garbage, EXAMINED))
        names = Names(functions_near({id(kind): kind for kind in map(type, things)}.values()))
        counts: Counter[Group] = Counter()
        sizes: Counter[Group] = Counter()
        kinds: dict[str, set[str]] = {}
        for thing, born in zip(things, self._monitored.births(things), strict=True):
            group = Group(names.of_class(type(thing)), born)
            counts[group] += 1
            sizes[group] += size_of(thing)
            kinds.setdefault(group.type, set()).add(full_name(type(thing)))
        return {
            "length": len(gc.garbage),
            "examined": counts.total(),
            "groups": [
                {
                    "type": group.type,
                    "born_at": _place(group.born),
                    "count": counts[group],
                    "bytes": size,
                    "referrers": _counted(referrers, kinds[group.type]),
                }
                for group, size in sizes.most_common(GROUPS)
            ],
            "groups_left_out": max(len(sizes) - GROUPS, 0),
        }

    def _referred(self) -> Referrers | None:
        """Return what refers to the garbage, from a look that is not too old; else ``None``."""
        until, length, referrers = self._referrers
        if self._clock() >= until or length != len(gc.garbage):
            length = len(gc.garbage)
            try:
                referrers = self._monitored.look(_referrers, LOOK_TIMEOUT)
            except SnapshotError:
                referrers = None
            self._referrers = self._clock() + REFERRERS_SECONDS, length, referrers
        return referrers

    def inspect(self) -> dict[str, Any]:
        """Find cyclic garbage without collecting it.

        Raises:
            SnapshotError: With what is missing.
        """
        inspection = self._monitored.look(_cycles, LOOK_TIMEOUT)
        found = inspection.found
        return {
            "objects": found.objects,
            "bytes": found.bytes,
            "groups": [_group(group) for group in found.groups],
            "groups_left_out": found.groups_left_out,
            "cycles_left_out": found.cycles_left_out,
            "seconds": inspection.seconds,
            "pause_seconds": inspection.pause_seconds,
        }

    def collect(self) -> dict[str, Any]:
        """Run a full collection, finalizers of the app included, and say what came of it.

        It goes by generation, the youngest first, so that each says what it brought. What that is
        in bytes a forked child has found just before; without one it is not known.
        """
        try:
            waiting: Sequence[Waiting | None] = self._monitored.look(_waiting, LOOK_TIMEOUT)
            missing = None
        except SnapshotError as error:
            waiting, missing = [None] * len(gc.get_count()), str(error)
        rss = rss_bytes()
        generations = [
            _collected(number) | {"bytes": None if one is None else one.bytes}
            for number, one in enumerate(waiting)
        ]
        return {
            "unreachable_objects": sum(one["unreachable_objects"] for one in generations),
            "freed_objects": sum(one["freed_objects"] for one in generations),
            "bytes": sum(one["bytes"] for one in generations) if missing is None else None,
            "missing": missing,
            "generations": generations,
            "rss_bytes": {"before": rss, "after": rss_bytes()},
            "seconds": sum(one["seconds"] for one in generations),
        }


def _cycles(heap: Heap) -> Inspection:
    return heap.cycles()


def _waiting(heap: Heap) -> Sequence[Waiting]:
    return heap.waiting()


def _referrers(heap: Heap) -> Referrers:
    return heap.referrers()


def _collected(generation: int) -> dict[str, Any]:
    """Collect up to *generation* and say what came of it."""
    length, uncollectable = len(gc.garbage), _uncollectable()
    start = time.perf_counter()
    unreachable = gc.collect(generation)
    seconds = time.perf_counter() - start
    kept = max(len(gc.garbage) - length, _uncollectable() - uncollectable, 0)
    return {
        "generation": generation,
        "unreachable_objects": unreachable,
        "freed_objects": max(unreachable - kept, 0),
        "seconds": seconds,
    }


def _generations(pauses: Iterable[Collections]) -> list[dict[str, Any]]:
    return [
        {
            "generation": one.generation,
            "collections": one.times,
            "seconds": one.seconds,
            "longest_seconds": one.longest_seconds,
            "collected": one.collected,
            "uncollectable": one.uncollectable,
        }
        for one in pauses
        if one.times
    ]


def _seconds(pauses: Iterable[Collections]) -> float:
    return sum(one.seconds for one in pauses)


def _group(group: CycleGroup) -> dict[str, Any]:
    return {
        "types": [{"type": name, "count": count} for name, count in group.types],
        "types_left_out": group.types_left_out,
        "cycles": group.cycles,
        "objects": group.objects,
        "hanging_objects": group.hanging_objects,
        "bytes": group.bytes,
        "finalizers": list(group.finalizers),
        "uncollectable": None if group.uncollectable is None else list(group.uncollectable),
        "frozen_objects": group.frozen_objects,
        "kept_objects": group.kept_objects,
        "born_at": [(_place(frame) or {}) | {"count": count} for frame, count in group.births],
    }


def _place(frame: Frame | None) -> dict[str, Any] | None:
    return frame and {"file": frame.file, "line": frame.line, "function": frame.function}


def _counted(referrers: Referrers | None, kinds: Iterable[str]) -> list[dict[str, Any]] | None:
    """Return what refers to objects of some kinds: those that are shown by one name."""
    if referrers is None:
        return None
    counts: Counter[str] = Counter()
    for name in kinds:
        counts.update(referrers.get(name, {}))
    return [{"type": kind, "count": count} for kind, count in counts.most_common()]


def _uncollectable() -> int:
    return sum(generation["uncollectable"] for generation in gc.get_stats())
