"""Strongly connected components of a graph, however deep and wide it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def components(size: int, neighbors: Callable[[int], Iterable[int]]) -> Iterator[list[int]]:
    """Yield the strongly connected components of a graph: each after all that it leads to.

    Tarjan's algorithm (SIAM J. Comput. 1, 1972) with a stack of its own in place of Python's.

    Args:
        size: Of the graph, whose nodes are the numbers below it.

        neighbors: Returns where a node leads to; asked once for each.
    """
    found = [0] * size  # when a node was found, from 1; 0: it was not
    lowest = [0] * size  # the earliest that it is known to lead back to; past all: it is done
    done, clock = size + 1, 0
    open_nodes: list[int] = []
    for root in range(size):
        path: list[tuple[int, Iterator[int]]] = [] if found[root] else [(root, iter(()))]
        while path:
            node, ahead = path[-1]
            if not found[node]:
                clock += 1
                found[node] = lowest[node] = clock
                open_nodes.append(node)
                ahead = iter(neighbors(node))
                path[-1] = node, ahead
            for step in ahead:
                if not found[step]:
                    path.append((step, ahead))  # where it leads to is asked when it is found
                    break
                lowest[node] = min(lowest[node], lowest[step])
            else:
                path.pop()
                if path:
                    caller = path[-1][0]
                    lowest[caller] = min(lowest[caller], lowest[node])
                if lowest[node] == found[node]:
                    yield _closed(open_nodes, node, lowest, done)


def _closed(open_nodes: list[int], node: int, lowest: list[int], done: int) -> list[int]:
    """Take the component of its first node off the open ones."""
    component: list[int] = []
    while not component or component[-1] != node:
        component.append(open_nodes.pop())
        lowest[component[-1]] = done
    return component
