"""The live bytes and blocks of each place over the snapshots kept."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.survival import Survival, survival

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leakmw.records import Birth, Endpoint, Frame, Row, Snapshot, Traceback


_Key = tuple["Traceback", "str | None", "bool | None", bool]
"""Path, endpoint, in-visit and recyclable of a row: what tells rows of one trace apart."""

LEAST_BACKING = 0.25
"""Of what Python recycles, what else must have stayed at the same place, window by window, to say
that it is there that such objects are kept."""

BACKING_DEVIATIONS = 1.64
"""Of what else has stayed, where it is estimated: one sample more or less must not say it. 95 % of
a normal distribution lie below."""

LEAST_EXACT_BACKING = 0.05
"""The same of the growth where that is known to the byte: a list has 8 bytes for each item."""

LEAST_WINDOWS = 3
"""Windows of which one may be left out: the lives of workers that end soon have no more."""


class Place(NamedTuple):
    """Where memory is born, as far as its tracebacks tell.

    Attributes:
        site: The app's own innermost frame.
        endpoints: Endpoints through whose views all its tracebacks run; empty when through none.
        in_visit: Whether it is born inside visits; ``None`` when not known.
        tagged: Whether each block carries its endpoint, so that no traceback has to tell.
        own: Whether the site is the app's own, where that is known.
        recycled: Whether others than the site may have got its objects from the interpreter.
        native: Whether it is no site at all: what is allocated outside of Python's allocators.
    """

    site: Frame
    endpoints: frozenset[str]
    in_visit: bool | None
    tagged: bool = False
    own: bool = True
    recycled: bool = False
    native: bool = False


class Series(NamedTuple):
    """Levels of one place, one for each snapshot.

    Attributes:
        place: Where it is born.
        bytes: Live bytes.
        blocks: Live blocks.
        traceback: A whole traceback behind it.
        variance: Of the last bytes, where they are estimated.
        survival: Births and deaths, where they are known.
    """

    place: Place
    bytes: list[int]
    blocks: list[int]
    traceback: Traceback
    variance: float = 0.0
    survival: Survival | None = None


def comparable(snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """Return the last snapshots whose rows can be compared with each other."""
    first = len(snapshots)
    while first and snapshots[first - 1].trace.grouping == snapshots[-1].trace.grouping:
        first -= 1
    return snapshots[first:]


def collect(snapshots: Sequence[Snapshot]) -> list[Series]:
    """Return the series of every place that changed."""
    views = _Views(snapshots[-1].endpoints.values())
    standing = _standing(snapshots)
    levels: list[dict[_Key, Row]] = [
        {
            (row.path, row.endpoint, row.in_visit, row.recyclable): row
            for row in snapshot.trace.rows
            if id(row) not in standing
        }
        for snapshot in snapshots
    ]
    places: dict[Place, list[_Key]] = defaultdict(list)
    seen: set[_Key] = set()
    compared = _compared(snapshots)
    for rows in levels:
        for key in rows.keys() - seen:
            recycled = _is_recycled(key, levels, compared)
            places[views.place(rows[key], recycled=recycled)].append(key)
        seen |= rows.keys()
    newest = [one.trace.window for one in snapshots if one.trace.window is not None]
    born = newest if len(newest) == len(snapshots) else None
    every = [_series(place, keys, snapshots, levels, born) for place, keys in places.items()]
    return [one for one in every if len(set(one.bytes)) > 1 or len(set(one.blocks)) > 1]


def _standing(snapshots: Sequence[Snapshot]) -> set[int]:
    """Return the ids of the rows that are one and the same in all snapshots, as most are.

    They move no level. A row with births is told anew each time.
    """
    shared = set.intersection(*(set(map(id, snapshot.trace.rows)) for snapshot in snapshots))
    return {id(row) for row in snapshots[-1].trace.rows if id(row) in shared and not row.births}


def _compared(snapshots: Sequence[Snapshot]) -> range:
    """Return the windows between the first and the last snapshot, but the newest.

    What stands there since before, as what a server has made at its start, says nothing of growth,
    and in the newest nothing has had the time to outlive it. None where births are not known.
    """
    first, newest = snapshots[0].trace.window, snapshots[-1].trace.window
    return range(0) if first is None or newest is None else range(first + 1, newest)


def _is_recycled(key: _Key, levels: Sequence[Mapping[_Key, Row]], compared: range) -> bool:
    """Say whether others than those who made the objects of a row may have them now."""
    path, endpoint, in_visit, recyclable = key
    latest = levels[-1].get(key)
    if not recyclable or latest is None:
        return False
    other = (path, endpoint, in_visit, False)
    if not latest.births:
        return _growth(other, levels) < LEAST_EXACT_BACKING * _growth(key, levels)
    backing = _outlived(levels[-1].get(other), compared)
    if len(compared) >= LEAST_WINDOWS:
        # what came in one of them only may be in flight: a connection, say, that is still open
        backing = sorted(backing, key=lambda birth: birth.bytes)[:-1]
    surely = _bytes(backing) - BACKING_DEVIATIONS * _deviation(backing)
    return surely < LEAST_BACKING * _bytes(_outlived(latest, compared))


def _growth(key: _Key, levels: Sequence[Mapping[_Key, Row]]) -> int:
    """Return by how much a row has grown from the first snapshot to the last; 0 if it has not."""
    first, last = levels[0].get(key), levels[-1].get(key)
    return max(0, (last.bytes if last else 0) - (first.bytes if first else 0))


def _outlived(row: Row | None, compared: range) -> list[Birth]:
    """Return what a row has of each of these windows in which anything was born."""
    births = () if row is None else row.births
    return [birth for birth in births if birth.window in compared]


def _bytes(births: Iterable[Birth]) -> int:
    return sum(birth.bytes for birth in births)


def _deviation(births: Iterable[Birth]) -> float:
    return math.sqrt(sum(birth.bytes_variance for birth in births))


def _series(
    place: Place,
    keys: Sequence[_Key],
    snapshots: Sequence[Snapshot],
    levels: Sequence[Mapping[_Key, Row]],
    newest: Sequence[int] | None,
) -> Series:
    sizes, counts = [0] * len(snapshots), [0] * len(snapshots)
    traceback: Traceback = ()
    most, variance = -1, 0.0
    origins = []
    for key in keys:
        rows = _filled([rows.get(key) for rows in levels], snapshots)
        origins.append(rows)
        for index, row in enumerate(rows):
            if row is not None:
                sizes[index] += row.bytes
                counts[index] += row.blocks
        variance += rows[-1].variance if rows[-1] else 0.0
        last = next(row for row in reversed(rows) if row is not None)
        if last.bytes > most:
            most, traceback = last.bytes, last.traceback
    told = None if newest is None else survival(origins, newest)
    return Series(place, sizes, counts, traceback, variance, told)


def _filled(rows: list[Row | None], snapshots: Sequence[Snapshot]) -> list[Row | None]:
    """Put neighbors for rows that a cap left out: what is not known does not grow."""
    if all(snapshot.trace.complete for snapshot in snapshots):
        return rows
    known = next(row for row in rows if row is not None)
    filled: list[Row | None] = []
    for row, snapshot in zip(rows, snapshots, strict=True):
        known = row or known
        filled.append(None if row is None and snapshot.trace.complete else known)
    return filled


class _Views:
    """Finds the endpoints whose views a path runs through."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._spans: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for endpoint in endpoints:
            for span in endpoint.views:
                self._spans[span.file].append((span.first, span.last, endpoint.name))

    def place(self, row: Row, *, recycled: bool) -> Place:
        if recycled:
            return Place(row.path[-1], frozenset(), None, own=row.own, recycled=True)
        if row.endpoint is not None:
            endpoints = frozenset({row.endpoint})
            return Place(row.path[-1], endpoints, row.in_visit, tagged=True, own=row.own)
        # the frame that fewest endpoints share tells most: a base class's dispatch tells little
        through = [names for frame in row.path if (names := self._at(frame))]
        return Place(row.path[-1], min(through, key=len, default=frozenset()), row.in_visit)

    def _at(self, frame: Frame) -> frozenset[str]:
        spans = self._spans.get(frame.file, ())
        return frozenset(name for first, last, name in spans if first <= frame.line <= last)
