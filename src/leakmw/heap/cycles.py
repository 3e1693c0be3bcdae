"""The cycles in the garbage, grouped by the types in them; plain computing in a forked child."""

from __future__ import annotations

import gc
from array import array
from types import FunctionType, WrapperDescriptorType
from typing import TYPE_CHECKING

from leakmw.heap.components import components
from leakmw.heap.garbage import bytes_of, unreachable
from leakmw.heap.naming import Names
from leakmw.heap.objects import finalizer_of, full_name, ranked, tracked
from leakmw.records import CycleGroup, Cycles, Frame

try:
    from leakmw.heap import _collector
except ImportError:
    _legacy: Callable[[type], bool] | None = None
else:
    _legacy = _collector.is_legacy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Born = Callable[[object], Frame | None]

GROUPS = 20
"""Groups that are listed."""

TYPES = 20
"""Types that are named of one group."""

BIRTHS = 5
"""Places that are named of one group."""


def cycles(born: Born) -> Cycles:
    """Find cyclic garbage, that which was frozen or lies in ``gc.garbage`` included.

    What was frozen comes back to the collector, so this is for a forked child alone.

    Args:
        born: Tells where an object was born.
    """
    loose = array("Q", map(id, gc.get_objects())) if gc.get_freeze_count() else None
    gc.unfreeze()
    names = _names()
    found = unreachable(through=gc.garbage)
    return _Garbage(found, loose, names).described(born)


def _names() -> Names:
    """Return what tells names that stand in the code of some function."""
    return Names(one for one in tracked() if type(one) is FunctionType)


class _Group:
    """Cycles with the same types in them."""

    __slots__ = ("bytes", "cycles", "hanging", "members")

    def __init__(self) -> None:
        self.cycles = 0
        self.members: list[int] = []
        self.hanging: list[int] = []
        self.bytes = 0


class _Garbage:
    """Garbage as a graph of numbers.

    Args:
        found: The garbage.

        loose: Ids of what was not frozen; ``None`` if nothing was.

        names: Says what may be shown.
    """

    def __init__(self, found: list[Any], loose: array[int] | None, names: Names) -> None:
        self._found = found
        self._of_class = names.of_class
        self._number = {id(thing): number for number, thing in enumerate(found)}
        self._frozen = frozenset[int]()
        if loose is not None:
            self._frozen = frozenset(self._number).difference(loose)
        self._kept = frozenset(map(id, gc.garbage))

    def described(self, born: Born) -> Cycles:
        """Return what lies in it."""
        groups = sorted(self._groups(), key=lambda group: -group.bytes)
        return Cycles(
            objects=len(self._found),
            bytes=bytes_of(self._found),
            groups=tuple(self._described(group, born) for group in groups[:GROUPS]),
            groups_left_out=len(groups[GROUPS:]),
            cycles_left_out=sum(group.cycles for group in groups[GROUPS:]),
        )

    def _groups(self) -> Iterable[_Group]:
        found = components(len(self._found), self._neighbors)
        circles = [one for one in found if len(one) > 1 or one[0] in self._neighbors(one[0])]
        taken = bytearray(len(self._found))
        for circle in circles:
            for number in circle:
                taken[number] = True
        groups: dict[frozenset[str], _Group] = {}
        for circle in reversed(circles):  # first those that lead to others
            group = groups.setdefault(frozenset(self._names(circle)), _Group())
            group.cycles += 1
            group.members += circle
            group.hanging += self._hanging(circle, taken)
        for group in groups.values():
            group.bytes = bytes_of(self._things(group.members + group.hanging))
        return groups.values()

    def _hanging(self, circle: list[int], taken: bytearray) -> Iterator[int]:
        """Yield what hangs on a cycle, and on no other before it."""
        frontier = circle[:]
        while frontier:
            for number in self._neighbors(frontier.pop()):
                if not taken[number]:
                    taken[number] = True
                    frontier.append(number)
                    yield number

    def _neighbors(self, number: int) -> list[int]:
        numbers = map(self._number.get, map(id, gc.get_referents(self._found[number])))
        return [one for one in numbers if one is not None]

    def _things(self, numbers: Iterable[int]) -> list[Any]:
        return [self._found[number] for number in numbers]

    def _names(self, numbers: Iterable[int]) -> Iterator[str]:
        return map(self._of_class, map(type, self._things(numbers)))

    def _described(self, group: _Group, born: Born) -> CycleGroup:
        things = self._things(group.members)
        names = set(map(id, things))
        types = ranked(self._names(group.members))
        circular = {id(kind): kind for kind in map(type, things)}.values()
        hanging = {id(kind): kind for kind in map(type, self._things(group.hanging))}.values()
        births = ranked(filter(None, map(born, things)))
        return CycleGroup(
            types=tuple(types[:TYPES]),
            types_left_out=len(types[TYPES:]),
            cycles=group.cycles,
            objects=len(things),
            hanging_objects=len(group.hanging),
            bytes=group.bytes,
            finalizers=self._named(filter(_has_finalizer, [*circular, *hanging])),
            uncollectable=None if _legacy is None else self._named(filter(_legacy, circular)),
            frozen_objects=len(names & self._frozen),
            kept_objects=len(names & self._kept),
            births=tuple(births[:BIRTHS]),
        )

    def _named(self, kinds: Iterable[type]) -> tuple[str, ...]:
        """Return the names of some of the *kinds*, in order."""
        return tuple(sorted(set(map(self._of_class, kinds)))[:TYPES])


def _has_finalizer(kind: type) -> bool:
    """Say whether there is a ``__del__`` in Python: what C types do at their end is their own."""
    method = finalizer_of(kind)
    return method is not None and type(method) is not WrapperDescriptorType


def referrers(things: Sequence[Any], cap: int) -> dict[str, dict[str, int]]:
    """Return by type of *things* how many objects of which types refer to one of them.

    Args:
        things: What is referred to; what holds them is left out.

        cap: Types that are named for each, those with most objects first.

    Returns:
        By the whole name of the type, which is not to be shown as it is.
    """
    gc.unfreeze()
    of_class = _names().of_class
    names = {id(thing): full_name(type(thing)) for thing in things}
    found: dict[str, list[str]] = {}
    objects = tracked()
    for start in range(0, len(objects), REFERRERS_AT_ONCE):
        batch = objects[start : start + REFERRERS_AT_ONCE]
        if names.keys().isdisjoint(map(id, gc.get_referents(*batch))):
            continue
        for one in batch:
            if one is things or one is gc.garbage:
                continue
            for name in {names.get(id(other)) for other in gc.get_referents(one)} - {None}:
                found.setdefault(str(name), []).append(of_class(type(one)))
    return {name: dict(ranked(others)[:cap]) for name, others in found.items()}


REFERRERS_AT_ONCE = 500
"""Objects whose neighbors are looked at together, few of which refer to what is asked for."""
