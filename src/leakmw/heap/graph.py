"""What holds what: the app's objects, walked from their roots forward.

Forward, since neither what ``gc.freeze()`` has set aside nor what a C library holds is found by
asking an object who refers to it. Each object is reached once, by one of the shortest ways. What
is reached from nowhere, and yet has more references than its neighbors account for, is held by
something that is no object; all else is garbage (Neil Schemenauer's way, ``Python/gc.c``).

This runs in a forked child wherever it can. It calls no method of the app's objects.
"""

from __future__ import annotations

import gc
import sys
import threading

# update() asks whether it was given a Mapping: a metaclass of the app may answer that
from collections import Counter, _count_elements  # type: ignore[attr-defined]
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.objects import (
    attributes_of,
    buffer_of,
    header_bytes,
    is_a,
    is_collected,
    is_derived,
    perilous,
    referents_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakmw.records import Births

WIDE = 32
"""References of an object from which on it is looked at as a container that may grow."""

MOST_FOUND = 400
"""Objects of one origin that are followed to what holds them."""


class Root(NamedTuple):
    """Where a walk begins.

    Attributes:
        kind: ``module``, ``thread``, ``outside`` or ``leakmw``.
        name: Of the module; empty for others.
        thing: Where it leads to.
    """

    kind: str
    name: str
    thing: object


THREADS = Root("thread", "", None)
"""What holds the variables of running functions."""

OUTSIDE = Root("outside", "", None)
"""What holds things without being an object: ``atexit``, a C library."""


GAP = Root("gap", "", None)
"""Stands for the middle of a very long way."""

NEAR, FAR = 100, 4
"""Steps that are told of a very long way: so many from its end, and so many from its root."""


def ends_of(way: Sequence[Any]) -> list[Any]:
    """Return a way, of a very long one both ends with ``GAP`` in between."""
    if len(way) <= FAR + NEAR:
        return list(way)
    return [*way[:FAR], GAP, *way[-NEAR:]]


def is_namespace(way: Sequence[Any]) -> bool:
    """Say whether the last step of a way is a dictionary of names: of a module or an object."""
    *before, thing = way
    if type(thing) is not dict or not before:
        return False
    holder = before[-1]
    if len(before) > 1 and is_a(before[-2], threading.local):
        return True  # that of one thread, below a dictionary of those of all threads
    if type(holder) is Root:
        return holder.kind == "module"
    if is_a(holder, type):
        return True
    return thing is attributes_of(holder)


class Graph:
    """The objects reached so far, each with the one that it was reached from.

    Args:
        births: Tells whose objects are to be found.

    Attributes:
        parents: By ``id``; a ``Root`` where a walk has begun.
        wide: What refers to many others.
        functions: All that was reached: their code knows the names in the app's source.
        found: Objects by origin, as many as are followed.
        counts: How many there were.
    """

    def __init__(self, births: Births) -> None:
        self._born = births.of
        self._by_block = births.by_block
        self._array = _array()
        self._danger = perilous()
        self._leaf: dict[int, bool] = {}
        self._headers: dict[int, int] = {}
        self.parents: dict[int, Any] = {}
        self.wide: list[object] = []
        self.functions: list[FunctionType] = []
        self.found: dict[str, list[object]] = {}
        self.counts: Counter[str] = Counter()

    def reach(self, roots: Iterable[Root]) -> None:
        """Walk on from *roots*, nearest objects first."""
        frontier: list[object] = []
        for root in roots:
            self._enter([root.thing], root, frontier)
        self._walk(frontier)

    def follow(self, things: Iterable[object], holder: object) -> None:
        """Walk on from *things*, which *holder* holds in a way that the collector does not see."""
        frontier: list[object] = []
        self._enter(things, holder, frontier)
        self._walk(frontier)

    def _walk(self, frontier: list[object]) -> None:
        while frontier:
            nearer, frontier = frontier, []
            for thing in nearer:
                referents = referents_of(thing, self._danger) or self._hidden(thing)
                if len(referents) >= WIDE:
                    self.wide.append(thing)
                self._enter(referents, thing, frontier)

    def _enter(self, things: Iterable[object], parent: object, frontier: list[object]) -> None:
        parents, leaf = self.parents, self._leaf
        for thing in things:
            name = id(thing)
            if name in parents:
                continue
            kind = type(thing)
            is_leaf = leaf.get(id(kind))
            if is_leaf is None:
                is_leaf = self._met(kind)
            claimed = self._claim(thing, kind)
            if is_leaf and not claimed:
                continue  # strings and numbers that nobody asks for are most of a heap
            parents[name] = parent
            if not is_leaf:
                frontier.append(thing)
                if kind is FunctionType:
                    self.functions.append(thing)  # type: ignore[arg-type]  # it is one

    def _claim(self, thing: object, kind: type) -> bool:
        """Keep a thing for each finding that has a block of it; return whether one has."""
        origin = self._born(thing, id(thing) - self._headers[id(kind)])
        if origin is not None:
            self._keep(origin, thing)
        if self._by_block and (buffer := buffer_of(thing)):
            other = self._born(thing, buffer)
            if other is not None and other != origin:
                self._keep(other, thing)
                return True
        return origin is not None

    def _met(self, kind: type) -> bool:
        self._headers[id(kind)] = header_bytes(kind)
        is_array = self._array is not None and is_derived(kind, self._array)
        is_leaf = self._leaf[id(kind)] = not (is_collected(kind) or is_array)
        return is_leaf

    def _hidden(self, thing: object) -> list[Any]:
        """Return what an array is a view of, which the collector is not told."""
        if self._array is None or not is_a(thing, self._array):
            return []
        return [vars(self._array)["base"].__get__(thing)]

    def _keep(self, origin: str, thing: object) -> None:
        self.counts[origin] += 1
        kept = self.found.setdefault(origin, [])
        if len(kept) < MOST_FOUND:
            kept.append(thing)

    def note(self, garbage: Iterable[object]) -> None:
        """Count whose objects *garbage* and what it refers to are: nothing else leads there."""
        for thing in garbage:
            for one in (thing, *gc.get_referents(thing)):
                kind = type(one)
                if id(kind) not in self._headers:
                    self._met(kind)
                if id(one) not in self.parents:
                    self._claim(one, kind)

    def unreached(self, every: Sequence[object]) -> list[Any]:
        """Return those of *every* object that were not reached."""
        parents = self.parents
        return [thing for thing in every if id(thing) not in parents]

    def chain(self, thing: object) -> list[Any]:
        """Return the way to an object, from its root on; nothing if it was not reached.

        Of a very long one only both ends, with ``GAP`` in between.
        """
        chain: list[Any] = []
        step: Any = thing
        while type(step) is not Root:
            chain.append(step)
            step = self.parents.get(id(step))
            if step is None:
                return []
        return ends_of([step, *reversed(chain)])


def _array() -> type | None:
    """Return NumPy's class of arrays if the app has imported it."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array if type(array) is type else None


def held_outside(unreached: Sequence[object]) -> list[Any]:
    """Return those that something else than objects holds.

    Args:
        unreached: All that was reached from nowhere, and that nothing but this list refers to
            beside what the app has.
    """
    counts = dict(zip(map(id, unreached), map(sys.getrefcount, unreached), strict=True))
    inside: Counter[int] = Counter()
    for thing in unreached:
        _count_elements(inside, filter(counts.__contains__, map(id, gc.get_referents(thing))))
    return [thing for thing in unreached if counts[id(thing)] > inside[id(thing)] + OURS]


OURS = next(map(sys.getrefcount, [object()]))
"""References to what is in one list of ours while they are counted."""
