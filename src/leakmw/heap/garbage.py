"""How much memory only waits for the garbage collector, found without collecting anything.

The collector's own way (Neil Schemenauer, 2000; CPython's ``Python/gc.c``): what has more
references than its neighbors account for is held from outside, and so is all that can be reached
from there. It is walked in a forked child, on a frozen copy of the heap: nothing of the app runs,
no finalizer either, and the app is stopped for the fork alone.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc

# update() asks whether it was given a Mapping: a metaclass of the app may answer that
from collections import Counter, _count_elements  # type: ignore[attr-defined]
from itertools import compress
from types import MappingProxyType
from typing import TYPE_CHECKING

from leakmw.heap.child import Child
from leakmw.heap.objects import size_of, tracked
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

DEADLINE_SECONDS = 60.0
"""After which the child that walks the heap is killed."""

BATCH = 10_000
"""Objects whose neighbors are listed at once."""

NOTHING: Mapping[int, int] = MappingProxyType({})

HEADER_BYTES = 16
"""What the collector keeps before each object."""


class Garbage:
    """Looks how much memory only waits for a collection, the more seldom the less that helped.

    Args:
        rss_bytes: Says what the process takes: to look at an object copies its page.

        room_bytes: Says what it may take more.

        failed: Told why it could not be looked at.

    Attributes:
        missing: Why the last look did not tell; ``None`` if it did.
    """

    def __init__(
        self,
        rss_bytes: Callable[[], int | None],
        room_bytes: Callable[[], int],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._child = Child(rss_bytes, room_bytes)
        self._failed = failed
        self._looked: tuple[int, int | None] = (0, None)
        self._next, self._gap = 0, 1
        self.missing: str | None = None

    @property
    def cpu_seconds(self) -> float:
        """What the children have used."""
        return self._child.cpu_seconds

    def waiting_at(self, number: int) -> int | None:
        """Return the bytes that a full collection would free.

        Args:
            number: Of the snapshot for which it is asked: one look serves all of it.

        Returns:
            ``None`` if it cannot be told now.
        """
        if number != self._looked[0] and number >= self._next:
            self._looked = number, self._look()
            self._next, self._gap = number + self._gap, 2 * self._gap
        return self._looked[1] if number == self._looked[0] else None

    def _look(self) -> int | None:
        self.missing = None
        try:
            return int(self._child.run(_work, DEADLINE_SECONDS).result)
        except SnapshotError as error:
            self.missing = str(error)
            self._failed("heap", error)
            return None


def _work() -> bytes:
    tracemalloc.stop()  # it would make all of this slow
    return str(bytes_of(unreachable())).encode()


def unreachable(objects: Sequence[Any] | None = None, through: object = None) -> list[Any]:
    """Return what a collection of *objects* would free.

    What is not among them holds what it refers to: what was frozen, or is of an older generation.

    Args:
        objects: As :func:`leakmw.heap.objects.tracked` returns them, and referred to by nothing
            else of ours; all there are unless given.

        through: One of them that is taken to hold nothing.
    """
    objects = tracked() if objects is None else objects
    every = dict(zip(map(id, objects), map(sys.getrefcount, objects), strict=True))
    inside: Counter[int] = Counter()
    for referents in _referents(objects):
        _count_elements(inside, filter(every.__contains__, map(id, referents)))
    frontier = [thing for thing in objects if every[id(thing)] > inside[id(thing)] + OURS]
    reached = set(map(id, frontier)) | {id(through)}
    frontier = [thing for thing in frontier if thing is not through]
    while frontier:
        batch, frontier = frontier[-BATCH:], frontier[:-BATCH]
        for thing in gc.get_referents(*batch):
            name = id(thing)
            if name in every and name not in reached:
                reached.add(name)
                frontier.append(thing)
    return [thing for thing in objects if id(thing) not in reached]


def bytes_of(found: Sequence[Any]) -> int:
    """Return the memory of *found* and of what nothing else refers to, however far away.

    A dictionary of numbers or texts is nothing that the collector looks at: what such things keep
    is found from one to the next.
    """
    known = set(map(id, found))
    total, layer = HEADER_BYTES * len(found), found
    while layer:
        total += sum(map(size_of, layer))
        layer = _theirs(layer, known)
    return total


def leaves_of(found: Sequence[Any], held: Mapping[int, int]) -> list[Any]:
    """Return what *found* refer to and nothing else does, and what is none of them.

    Args:
        found: What refers to them.

        held: How many references of ours there are to some, by ``id``.
    """
    return _theirs(found, set(map(id, found)), held)


def _theirs(
    things: Sequence[Any], known: set[int], held: Mapping[int, int] = NOTHING
) -> list[Any]:
    """Return what only *things* refer to, without those that are *known*; they are known then.

    What has but one reference is most of it and cannot be met again: it goes into no table.
    """
    theirs: list[Any] = []
    shared: dict[int, Any] = {}
    inside: Counter[int] = Counter()
    for referents in _referents(things):
        counts = list(map(sys.getrefcount, referents))
        theirs += compress(referents, map((OURS + 1).__ge__, counts))
        others = list(compress(referents, map((OURS + 1).__lt__, counts)))
        shared.update((id(one), one) for one in others if id(one) not in known)
        _count_elements(inside, map(id, others))
        referents.clear()
        others.clear()
    counts = list(map(sys.getrefcount, shared.values()))
    for (name, thing), count in zip(shared.items(), counts, strict=True):
        if count <= inside[name] + OURS + held.get(name, 0):
            known.add(name)
            theirs.append(thing)
    return theirs


def _referents(things: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(things), BATCH):
        yield gc.get_referents(*things[start : start + BATCH])


OURS = next(map(sys.getrefcount, [object()]))
"""References to what is in a container of ours while they are counted."""
