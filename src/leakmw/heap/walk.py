"""One look at the heap: what holds what grows, and which containers are long.

Plain computing on a frozen copy of the process; what comes back is names and figures.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import weakref

# update() asks whether it was given a Mapping: a metaclass of the app may answer that
from collections import Counter, _count_elements  # type: ignore[attr-defined]
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.causes import Case, cause
from leakmw.heap.containers import measured
from leakmw.heap.garbage import HEADER_BYTES
from leakmw.heap.graph import OUTSIDE, THREADS, Graph, held_outside, is_namespace
from leakmw.heap.holders import held, owner_of, retained
from leakmw.heap.naming import CALLABLES, Names
from leakmw.heap.objects import is_a, ranked, size_of
from leakmw.heap.paths import path
from leakmw.heap.roots import follow_threads, modules
from leakmw.records import Container, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from leakmw.heap.holders import Held, Retained
    from leakmw.records import Births

MOST_LENGTHS = 2000
"""Containers whose length is remembered from one look to the next, the longest."""

MOST_LISTED = 20
"""Containers that are named in one look."""

TIMERS = "timers of the event loop"
"""What developers call the heap in which it has them."""

MOST_RETAINED = 3
"""Holders for which it is counted what they retain: each takes another walk."""


TYPES = 8
"""Types named of what a holder retains."""


class Found(NamedTuple):
    """What holds the growth of one origin.

    Attributes:
        cause: Kind of mistake.
        path: Name of the holder; ``None`` where there is none.
        kind: Of container.
        length: Its entries; ``None`` where that cannot be read.
        cap: What it will not exceed, ``None`` if nothing says so.
        address: Where it is, for the next look.
        entry: Type of most of its entries.
        objects: Objects of that origin that were found.
        garbage: Part of those that only wait for the collector.
        retained: Bytes that only the holder keeps, if that was counted.
        types: Part of those by type.
    """

    cause: str
    path: str | None
    kind: str
    length: int | None
    cap: int | None
    address: int
    entry: str
    objects: int
    garbage: float
    retained: int | None
    types: dict[str, float]


class Look(NamedTuple):
    """What was seen of the heap.

    Attributes:
        found: By origin.
        lengths: Of long containers, by address and kind.
        containers: Those that grew most since the last look, and the longest.
        types: Those with most bytes, if that was asked.
        objects: Objects that the collector walks through.
    """

    found: list[tuple[str, Found]]
    lengths: dict[str, int]
    containers: list[Container]
    types: list[Kind]
    objects: int


class Ask(NamedTuple):
    """What a look is to find.

    Attributes:
        births: Tells whose objects are to be followed.
        own: Says whether a file is the app's.
        shorten: Shortens the name of a file.
        frames: The innermost of each thread.
        before: Lengths at the last look.
        origins: Those asked for, most important first.
        copied: Whether this is a copy of the process, whose frozen objects may be put back where
            the collector shows them.
        types: Whether to count objects by type.
    """

    births: Births
    own: Callable[[str], bool]
    shorten: Callable[[str], str]
    frames: Mapping[int, FrameType]
    before: Mapping[str, int]
    origins: Sequence[str]
    copied: bool = True
    types: bool = False


def look(ask: Ask) -> Look:
    """Walk the heap."""
    if ask.copied:
        ask.births.begin()
        gc.unfreeze()
    every: list[Any] = gc.get_objects()
    sizes = _sizes(every) if ask.types else []
    graph = Graph(ask.births)
    begun = modules(ask.own)
    graph.reach(begun)
    stacks = follow_threads(graph, ask.frames)
    loose = graph.unreached(every)
    del every
    outside = held_outside(loose)
    graph.follow(outside, OUTSIDE)
    waiting = graph.unreached(loose)
    graph.note(waiting)
    names = Names(graph.functions, ask.shorten)
    roots = [root.thing for root in begun] + stacks + outside
    lengths = _lengths(graph)
    return Look(
        found=_found(graph, ask.origins, names, roots),
        lengths={key: length for key, (_, length) in lengths.items()},
        containers=_listed(graph, lengths, ask.before, names),
        types=[Kind(names.of_class(kind), count, size) for kind, count, size in sizes],
        objects=len(graph.parents) + len(waiting),
    )


def _sizes(every: Sequence[object]) -> list[tuple[type, int, int]]:
    """Return the types with most bytes, how many objects they have and how many bytes."""
    kinds: dict[int, type] = {}
    counts: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for thing in every:
        kind = type(thing)
        kinds[id(kind)] = kind  # by identity, as a metaclass of the app may have its own __hash__
        counts[id(kind)] += 1
        sizes[id(kind)] += size_of(thing) + HEADER_BYTES
    largest = sizes.most_common(MOST_LISTED)
    return [(kinds[name], counts[name], size) for name, size in largest]


def _found(
    graph: Graph, origins: Sequence[str], names: Names, roots: Sequence[Any]
) -> list[tuple[str, Found]]:
    found = []
    for index, origin in enumerate(one for one in origins if one in graph.found):
        every = graph.found[origin]
        # a weak reference lies elsewhere than what it refers to is kept
        things = [thing for thing in every if not is_a(thing, weakref.ref)] or every
        holding = held(graph, things)
        kept = None
        if index < MOST_RETAINED and _is_known(holding.holder):
            with suppress(MemoryError):  # what is known of it is worth telling all the same
                lists = [every] if things is every else [every, things]
                kept = retained(roots, holding.holder, _held_by_us(holding, lists))
        found.append((origin, _described(holding, names, kept)))
    return found


def _held_by_us(holding: Held, lists: Sequence[Sequence[object]]) -> Counter[int]:
    """Return how many references of ours there are to what was found, by ``id``."""
    ours: Counter[int] = Counter()
    for some in (*lists, *holding.tails):
        _count_elements(ours, map(id, some))
    return ours


def _is_known(holder: object) -> bool:
    return all(holder is not one for one in (None, OUTSIDE, THREADS))


def _described(holding: Held, names: Names, kept: Retained | None) -> Found:
    where, kind, length, cap = _holder(holding, names)
    total = holding.reached + holding.garbage
    return Found(
        cause=cause(Case(holding, where or "")),
        path=where,
        kind=kind,
        length=length,
        cap=cap,
        address=id(holding.holder) if _is_known(holding.holder) else 0,
        entry=_entry(holding, names),
        objects=total,
        garbage=holding.garbage / total if total else 0.0,
        retained=kept.bytes if kept else None,
        types=_shares(kept.types, names) if kept else {},
    )


def _shares(types: Sequence[tuple[type, int]], names: Names) -> dict[str, float]:
    total = sum(size for _, size in types) or 1
    largest = sorted(types, key=lambda one: -one[1])[:TYPES]
    return {names.of_class(kind): size / total for kind, size in largest}


def _holder(holding: Held, names: Names) -> tuple[str | None, str, int | None, int | None]:
    holder = holding.holder
    if holder is None:
        return None, "", None, None
    if holder is THREADS:
        return "running threads", "threads", None, None
    if holder is OUTSIDE:
        exits = atexit._ncallbacks()  # noqa: SLF001  # there is no other way
        if exits and _are_called(holding):
            return "atexit", "atexit", exits, None
        return "held outside of Python", "outside", None, None
    timers = is_a(holding.owner, asyncio.BaseEventLoop) and is_a(holder, list)
    where = TIMERS if timers else path(names, holding.chain, holding.owner)
    return where, *measured(holder, holding.owner)


def _are_called(holding: Held) -> bool:
    return bool(holding.tails) and all(
        bool(tail) and is_a(tail[0], *CALLABLES, tuple) for tail in holding.tails
    )


def _entry(holding: Held, names: Names) -> str:
    kinds = ranked(names.of_type(type(tail[0])) for tail in holding.tails if tail)
    return kinds[0][0] if kinds else ""


def _lengths(graph: Graph) -> dict[str, tuple[Any, int]]:
    """Return the longest containers by what tells them apart at the next look."""
    every = []
    for thing in graph.wide:
        if type(thing) is tuple or is_namespace(graph.chain(thing)):
            continue
        container = measured(thing)
        if container.length:
            every.append((container.length, f"{id(thing):x} {container.kind}", thing))
    every.sort(key=lambda one: (-one[0], one[1]))
    return {key: (thing, length) for length, key, thing in every[:MOST_LENGTHS]}


def _listed(
    graph: Graph,
    lengths: Mapping[str, tuple[Any, int]],
    before: Mapping[str, int],
    names: Names,
) -> list[Container]:
    grown = {key: length - before[key] for key, (_, length) in lengths.items() if key in before}
    ranked = sorted(lengths, key=lambda key: (-grown.get(key, 0), -lengths[key][1]))
    listed = []
    for key in ranked[:MOST_LISTED]:
        thing, length = lengths[key]
        way = graph.chain(thing)
        owner = owner_of(way)
        container, where = measured(thing, owner), path(names, way, owner)
        listed.append(Container(where, container.kind, length, container.cap, grown.get(key)))
    return listed
