"""What leads back to itself is one component, whatever the graph looks like."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leakmw.heap.components import components


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """Return a graph: where each node leads to, some of them twice or to themselves."""
    size = draw(st.integers(1, 12))
    node = st.integers(0, size - 1)
    return draw(st.lists(st.lists(node, max_size=4), min_size=size, max_size=size))


def _by_scipy(graph: list[list[int]]) -> set[frozenset[int]]:
    edges = [(node, step) for node, ahead in enumerate(graph) for step in ahead]
    sources = [source for source, _ in edges]
    targets = [target for _, target in edges]
    matrix = coo_array((np.ones(len(edges)), (sources, targets)), (len(graph), len(graph)))
    _, labels = connected_components(matrix, connection="strong")
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels)}


@given(graphs())
def test_components_are_those_that_scipy_finds(graph: list[list[int]]) -> None:
    """Each node is in one, and each comes after all that it leads to."""
    found = list(components(len(graph), graph.__getitem__))

    assert set(map(frozenset, found)) == _by_scipy(graph)
    assert sorted(node for component in found for node in component) == list(range(len(graph)))
    place = {node: index for index, component in enumerate(found) for node in component}
    assert all(place[step] <= place[node] for node in place for step in graph[node])


def test_a_node_is_asked_once_where_it_leads_to() -> None:
    """To ask costs a walk of its object."""
    asked: list[int] = []

    def neighbors(node: int) -> list[int]:
        asked.append(node)
        return [(node + 1) % 5, 0, node]

    assert [len(component) for component in components(5, neighbors)] == [5]
    assert sorted(asked) == [0, 1, 2, 3, 4]


def test_a_long_chain_and_a_wide_fan_are_found() -> None:
    """A hundred thousand deep, or wide: no recursion is in the way."""
    size = 100_000
    circle = list(components(size, lambda node: [(node + 1) % size]))
    chain = list(components(size, lambda node: [node + 1] if node + 1 < size else []))
    fan = list(components(size, lambda node: [] if node else range(size)))

    assert list(map(len, circle)) == [size]
    assert len(chain) == len(fan) == size
    assert (chain[0], fan[-1]) == ([size - 1], [0])
