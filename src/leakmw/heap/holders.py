"""What keeps a growth alive: where the ways to its objects part.

The ways from the roots to the objects of one origin run together as far as what holds all of them,
and part there: in the dictionary whose entries they are, in the list that was never emptied. It is
what Eclipse's Memory Analyzer calls the accumulation point.
"""

from __future__ import annotations

import gc
from collections import Counter
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.containers import CACHED, measured
from leakmw.heap.garbage import HEADER_BYTES, leaves_of
from leakmw.heap.graph import WIDE, Root, ends_of, is_namespace
from leakmw.heap.objects import (
    attributes_of,
    is_a,
    is_collected,
    perilous,
    referents_of,
    size_of,
    slots_of,
)
from leakmw.heap.ways import Ways

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leakmw.heap.graph import Graph

MOST_WAYS = 0.5
"""Part of the ways that must run through what is called their holder."""

LEAST_BRANCHES = 3
"""Ways that must part at it, if there are as many."""


class Held(NamedTuple):
    """What holds the objects of one origin.

    Attributes:
        holder: Where the ways part; ``None`` where they have nothing in common, not even a root.
        owner: The instance whose attribute it is, if it is one.
        chain: The way to it, from the root on.
        tails: What comes next on each way through it.
        reached: Ways in all.
        garbage: Objects of the origin to which there is no way.
    """

    holder: Any
    owner: Any
    chain: tuple[Any, ...]
    tails: tuple[tuple[Any, ...], ...]
    reached: int
    garbage: int


def held(graph: Graph, things: Sequence[object]) -> Held:
    """Find what holds *things*, all of one origin."""
    ways = Ways(graph.parents, things)
    garbage = len(things) - ways.reached
    trunk = _parting(ways)
    if not trunk:
        return Held(None, None, (), (), ways.reached, garbage)
    way = _known(ends_of(trunk))
    tails = tuple(ways.tails(trunk[-1]))
    return Held(way[-1], owner_of(way), way, tails, ways.reached, garbage)


def _parting(ways: Ways) -> list[Any]:
    """Return the way that they run together, as far as to where they part."""
    trunk = ways.trunk(max(1.0, MOST_WAYS * ways.reached))
    while trunk and not _may_hold(trunk[-3:], ways):
        trunk.pop()
    return trunk


def _may_hold(way: Sequence[Any], ways: Ways) -> bool:
    """Say whether the last step of *way* is where ways part, or what may have many things."""
    if is_namespace(way):
        return False
    branches, through = len(ways.after(way[-1])), ways.passes(way[-1])
    parts = branches >= min(LEAST_BRANCHES, through) > 1
    return parts or (type(way[-1]) is not Root and _is_long(way[-1]))


def _is_long(step: object) -> bool:
    length = measured(step).length
    return type(step) is not tuple and length is not None and length >= WIDE


def _known(way: Sequence[Any]) -> tuple[Any, ...]:
    """Return the way to what a developer knows: not to the dictionary inside of a cache."""
    *before, _ = way
    return tuple(before if before and is_a(before[-1], CACHED) else way)


def owner_of(way: Sequence[Any]) -> Any:
    """Return the instance that has the last step of *way* as an attribute."""
    *before, _ = way
    if before and is_namespace(before):
        before.pop()
    above = before[-1] if before else None
    if type(above) is Root or is_a(above, type, FunctionType):
        return None
    contents = [*(attributes_of(above) or {}).values(), *(one for _, one in slots_of(above))]
    return above if any(one is way[-1] for one in contents) else None


class Retained(NamedTuple):
    """What would go if a holder were emptied.

    Attributes:
        bytes: Its size.
        types: The same by type.
    """

    bytes: int
    types: list[tuple[type, int]]


def retained(roots: Iterable[object], holder: object, held: Mapping[int, int]) -> Retained:
    """Return what only *holder* keeps: all that is not reached on any way around it.

    Args:
        roots: Where the ways begin.

        holder: What keeps it.

        held: How many references of ours there are to some objects, by ``id``.
    """
    around: set[int] = {id(holder)}
    _spread(list(roots), around)
    only = _spread(gc.get_referents(holder), set(around))
    kinds: dict[int, type] = {}
    sizes: Counter[int] = Counter()
    for thing in (*only, *leaves_of([holder, *only], held)):
        kind = type(thing)
        kinds[id(kind)] = kind
        sizes[id(kind)] += size_of(thing) + (HEADER_BYTES if is_collected(kind) else 0)
    return Retained(sizes.total(), [(kinds[name], size) for name, size in sizes.items()])


def _spread(frontier: list[Any], seen: set[int]) -> list[Any]:
    """Walk from *frontier* to what was not *seen*; return what was met."""
    met, danger = [], perilous()
    while frontier:
        thing = frontier.pop()
        if id(thing) in seen or not is_collected(type(thing)):
            continue
        seen.add(id(thing))
        met.append(thing)
        frontier.extend(referents_of(thing, danger))
    return met
