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
from collections import Counter
from typing import TYPE_CHECKING

from leakmw import forked
from leakmw.heap.objects import size_of
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

DEADLINE_SECONDS = 60.0
"""After which the child that walks the heap is killed."""

TABLES_BYTES = 256 << 20
"""What the child may take for its tables on top of a copy of the process."""

BATCH = 10_000
"""Objects whose neighbors are listed at once."""

HEADER_BYTES = 16
"""What the collector keeps before each object."""


class Garbage:
    """Looks how much memory only waits for a collection, the more seldom the less that helped.

    Args:
        rss_bytes: Says what the process takes: to look at an object copies its page.

        room_bytes: Says what it may take more.

        failed: Told why it could not be looked at.

    Attributes:
        cpu_seconds: What the children have used.
    """

    def __init__(
        self,
        rss_bytes: Callable[[], int | None],
        room_bytes: Callable[[], int],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._rss_bytes = rss_bytes
        self._room_bytes = room_bytes
        self._failed = failed
        self._looked: tuple[int, int | None] = (0, None)
        self._next, self._gap = 0, 1
        self.cpu_seconds = 0.0

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
        try:
            needed = self._affordable()
            outcome = forked.run(_work, _nothing, seconds=DEADLINE_SECONDS, memory_bytes=needed)
        except (forked.ForkError, forked.ChildError, SnapshotError) as error:
            self._failed("heap", error)
            return None
        self.cpu_seconds += outcome.cpu_seconds
        return int(outcome.result)

    def _affordable(self) -> int:
        """Return the bytes that the child may take; raise if the limits leave less."""
        needed = (self._rss_bytes() or 0) + TABLES_BYTES
        room = self._room_bytes()
        if room < needed:
            raise SnapshotError(
                f"garbage is not looked for: it takes up to {needed >> 20} MiB for a moment and "
                f"the memory limit leaves {room >> 20} MiB"
            )
        return needed


def _nothing() -> None:
    """Nothing is counted at the moment of this fork."""


def _work() -> bytes:
    tracemalloc.stop()  # it would make all of this slow
    return str(bytes_of(unreachable())).encode()


def unreachable() -> list[Any]:
    """Return what a full collection would free, of all that the collector looks at.

    What was frozen holds what it refers to, as it does for the collector.
    """
    objects = gc.get_objects()
    every = dict(zip(map(id, objects), map(sys.getrefcount, objects), strict=True))
    inside: Counter[int] = Counter()
    for referents in _referents(objects):
        inside.update(filter(every.__contains__, map(id, referents)))
    frontier = [thing for thing in objects if every[id(thing)] > inside[id(thing)] + OURS]
    reached = set(map(id, frontier))
    while frontier:
        batch, frontier = frontier[-BATCH:], frontier[:-BATCH]
        for thing in gc.get_referents(*batch):
            name = id(thing)
            if name in every and name not in reached:
                reached.add(name)
                frontier.append(thing)
    return [thing for thing in objects if id(thing) not in reached]


def bytes_of(found: Sequence[Any]) -> int:
    """Return the memory of *found* and of what nothing else refers to."""
    theirs = leaves_of(found)
    return sum(map(size_of, found)) + HEADER_BYTES * len(found) + sum(map(size_of, theirs))


def leaves_of(found: Sequence[Any]) -> list[Any]:
    """Return what *found* refer to and nothing else does, and what is none of them."""
    named = set(map(id, found))
    leaves: dict[int, Any] = {}
    inside: Counter[int] = Counter()
    for referents in _referents(found):
        leaves.update((id(one), one) for one in referents if id(one) not in named)
        inside.update(map(id, referents))
        referents.clear()
    counts = list(map(sys.getrefcount, leaves.values()))
    return [
        thing
        for (name, thing), count in zip(leaves.items(), counts, strict=True)
        if count <= inside[name] + OURS
    ]


def _referents(things: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(things), BATCH):
        yield gc.get_referents(*things[start : start + BATCH])


OURS = next(map(sys.getrefcount, [object()]))
"""References to what is in a container of ours while they are counted."""
