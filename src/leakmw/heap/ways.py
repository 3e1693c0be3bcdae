"""The ways from the roots to many objects: a tree, of which each step is looked at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.heap.graph import Root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TAIL = 12
"""Steps that are told of what comes after a place on the way."""


class Ways:
    """The ways to *things*, however long they are.

    Args:
        parents: By ``id`` of an object the one that it was reached from, or a ``Root``.

        things: Where the ways lead to.

    Attributes:
        reached: Things to which there is a way.
    """

    def __init__(self, parents: Mapping[int, Any], things: Sequence[Any]) -> None:
        self._parents = parents
        self._passes: dict[int, int] = {}  # things to which the way leads through a step
        self._first: dict[int, Any] = {}  # the step after one, most have no other
        self._more: dict[int, list[Any]] = {}
        self._roots: list[Root] = []
        pieces = [self._climbed(thing) for thing in things if id(thing) in parents]
        self.reached = len(pieces)
        for steps, join in reversed(pieces):  # those that a piece is joined by come after it
            passes = 1
            for step in steps:
                passes += self._passes[id(step)]
                self._passes[id(step)] = passes
            if join is not None:
                self._passes[id(join)] += passes

    def _climbed(self, thing: Any) -> tuple[list[Any], Any]:
        """Return what is new of the way up, and the step at which it joins what is known."""
        steps: list[Any] = []
        while id(thing) not in self._passes:
            self._passes[id(thing)] = 0
            steps.append(thing)
            if type(thing) is Root:
                self._roots.append(thing)
                return steps, None
            above = self._parents[id(thing)]
            if self._first.setdefault(id(above), thing) is not thing:
                self._more.setdefault(id(above), []).append(thing)
            thing = above
        return steps, thing

    def passes(self, step: Any) -> int:
        """Return how many of the ways lead through a step."""
        return self._passes[id(step)]

    def after(self, step: Any) -> list[Any]:
        """Return the steps that come after one."""
        if id(step) not in self._first:
            return []
        return [self._first[id(step)], *self._more.get(id(step), ())]

    def trunk(self, least: float) -> list[Any]:
        """Return the way that most of them take, as far as *least* of them do."""
        trunk: list[Any] = []
        ahead: list[Any] = [*self._roots]
        while ahead:
            step = max(ahead, key=self.passes)
            if self.passes(step) < least:
                break
            trunk.append(step)
            ahead = self.after(step)
        return trunk

    def tails(self, step: Any) -> Iterator[tuple[Any, ...]]:
        """Yield what comes after a step on each way through it."""
        open_tails: list[tuple[Any, tuple[Any, ...]]] = [(step, ())]
        while open_tails:
            last, tail = open_tails.pop()
            ahead = self.after(last) if len(tail) < TAIL else []
            ending = self.passes(last) - sum(map(self.passes, ahead))
            yield from [tail] * ending
            open_tails += ((one, (*tail, one)) for one in reversed(ahead))
