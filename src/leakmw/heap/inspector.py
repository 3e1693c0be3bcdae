"""What is asked of the heap: a forked child answers, and the answers come back as records."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from itertools import islice
from typing import TYPE_CHECKING, Any

from leakmw.heap.cycles import cycles, referrers
from leakmw.heap.garbage import bytes_of, unreachable
from leakmw.heap.objects import tracked
from leakmw.records import CycleGroup, Cycles, Frame, Holdings, Inspection, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from leakmw.heap.child import Child

DEADLINE_SECONDS = 60.0
"""After which the child is killed; it gives way to everybody else."""

EXAMINED = 10_000
"""Objects of ``gc.garbage`` whose referrers are looked for."""

REFERRERS = 10
"""Types of referrers that are named for each type."""

GENERATIONS = 3


class Inspector:
    """Answers questions about the heap.

    Args:
        child: Looks in a forked copy of the process.

        born: Tells where an object was born; in the child, too.

        begin: Called first in the child that asks for births.

        described: Makes the places of births such as reports have them.

        holdings: Walks for what holds what grows.
    """

    def __init__(
        self,
        child: Child,
        born: Callable[[object], Frame | None],
        begin: Callable[[], object],
        described: Callable[[Iterable[Frame]], Iterable[Frame]],
        holdings: Callable[[], Holdings],
    ) -> None:
        self._child = child
        self._born = born
        self._begin = begin
        self._described = described
        self.holdings = holdings

    @property
    def cpu_seconds(self) -> float:
        """What the children have used."""
        return self._child.cpu_seconds

    def cycles(self) -> Inspection:
        """Find cyclic garbage without collecting it.

        Raises:
            SnapshotError: If memory, time or the platform do not allow it now.
        """
        started = time.perf_counter()
        outcome = self._child.run(self._cycles, DEADLINE_SECONDS)
        found = Cycles(*json.loads(outcome.result))
        return Inspection(
            found._replace(groups=tuple(self._group(*fields) for fields in found.groups)),
            seconds=time.perf_counter() - started,
            pause_seconds=outcome.pause_seconds,
        )

    def _cycles(self) -> bytes:
        self._begin()
        return _packed(cycles(self._born))

    def _group(self, *fields: Any) -> CycleGroup:
        group = CycleGroup(*fields)
        frames = self._described(Frame(*frame) for frame, _ in group.births)
        counts = (count for _, count in group.births)
        return group._replace(
            types=tuple((name, count) for name, count in group.types),
            finalizers=tuple(group.finalizers),
            uncollectable=None if group.uncollectable is None else tuple(group.uncollectable),
            births=tuple(zip(frames, counts, strict=True)),
        )

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the garbage of each generation: what no collection of a younger one would free.

        Raises:
            SnapshotError: If memory, time or the platform do not allow it now.
        """
        amounts = json.loads(self._child.run(_waiting, DEADLINE_SECONDS).result)
        return tuple(Waiting(*amount) for amount in amounts)

    def referrers(self) -> Mapping[str, Mapping[str, int]]:
        """Return by type of what ``gc.garbage`` holds how many objects of which types refer to it.

        Raises:
            SnapshotError: If memory, time or the platform do not allow it now.
        """
        counts: dict[str, dict[str, int]] = json.loads(
            self._child.run(_referrers, DEADLINE_SECONDS).result
        )
        return counts


def _packed(answer: object) -> bytes:
    return json.dumps(answer).encode()


def _waiting() -> bytes:
    tracemalloc.stop()  # it would make all of this slow
    amounts: list[Waiting] = []
    younger: set[int] = set()
    for generation in range(GENERATIONS):
        found = unreachable(_up_to(generation))
        news = [thing for thing in found if id(thing) not in younger]
        younger.update(map(id, news))
        amounts.append(Waiting(len(news), bytes_of(news)))
        del found, news  # they would hold what is looked at next
    return _packed(amounts)


def _up_to(generation: int) -> list[Any]:
    """Return the objects of all generations up to this one, but not the list itself."""
    objects = tracked(0)
    for older in range(1, generation + 1):
        objects += tracked(older)
    return objects


def _referrers() -> bytes:
    tracemalloc.stop()
    return _packed(referrers(list(islice(gc.garbage, EXAMINED)), REFERRERS))
