"""The ways to many objects are a tree, the same as if each was followed alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from leakmw.heap.graph import Root
from leakmw.heap.ways import TAIL, Ways


class Thing:
    """Anything."""


@st.composite
def forests(draw: st.DrawFn) -> tuple[dict[int, Any], list[Any], list[Any]]:
    """Make roots and things that each were reached from an earlier one; return some of these."""
    roots: list[Any] = [Root("module", name, None) for name in ("one", "other")]
    things: list[Any] = []
    parents: dict[int, Any] = {}
    for number in range(draw(st.integers(0, 40))):
        thing = Thing()
        near = (*roots, *things[-3:]) if draw(st.booleans()) else (*roots, *things)
        parents[id(thing)] = near[draw(st.integers(0, len(near) - 1))]
        things.append(thing)
        assert len(things) == number + 1
    chosen = draw(st.lists(st.sampled_from(things), unique_by=id)) if things else []
    return parents, things, [*chosen, Thing()]  # the last was never reached


def chain(parents: dict[int, Any], thing: Any) -> list[Any]:
    """Return one way, from its root on."""
    way = [thing]
    while id(way[-1]) in parents:
        way.append(parents[id(way[-1])])
    return way[::-1]


@given(forests())
def test_each_step_knows_how_many_ways_lead_through_it(forest: Any) -> None:
    """And where they go on from there, to the last step that is told."""
    parents, things, chosen = forest
    ways = Ways(parents, chosen)
    chains = [chain(parents, one) for one in chosen[:-1]]
    passes = Counter(id(step) for one in chains for step in one)
    assert ways.reached == len(chains)
    assert {id(one): ways.passes(one) for one in things if id(one) in passes} == {
        name: count for name, count in passes.items() if name in parents
    }
    for one in things:
        if id(one) in passes:
            behind = Counter(
                tuple(map(id, way[way.index(one) + 1 :][:TAIL])) for way in chains if one in way
            )
            assert Counter(tuple(map(id, tail)) for tail in ways.tails(one)) == behind


@given(forests(), st.floats(1, 5))
def test_the_trunk_is_what_most_take(forest: Any, least: float) -> None:
    """It goes on as long as enough of them do."""
    parents, _, chosen = forest
    ways = Ways(parents, chosen)
    trunk = ways.trunk(least)
    assert all(ways.passes(step) >= least for step in trunk)
    for step, after in pairwise(trunk):
        assert parents[id(after)] is step
        assert ways.passes(after) == max(map(ways.passes, ways.after(step)))
    if trunk:
        assert all(ways.passes(step) < least for step in ways.after(trunk[-1]))
