"""The bounded table of endpoint names and how often each was visited."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from leakmw.records import METHODS, OTHER, OTHER_METHOD, UNMATCHED, Endpoint, Route, Span
from leakmw.visits.views import spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    Known = Mapping[str | None, Mapping[str, "Tally"]]

UNSEEN: Mapping[str, Tally] = MappingProxyType({})
"""The tallies by method of a template that has not been seen."""

MAX_NAME = 200
"""Longest name kept, in characters."""

STRIDE = 250
"""Visits that are counted by small numbers. Python has each of those up to 256 already, so that
counting a visit allocates nothing: under tracemalloc that is dearer than all the rest of it."""


class Tally:
    """The visits of one endpoint.

    Attributes:
        name: Endpoint name.
        views: Where the code of its view stands.
        strides: Finished visits, in whole strides.
        rest: Those since.
    """

    __slots__ = ("name", "rest", "strides", "views")

    def __init__(self, name: str, views: tuple[Span, ...] = ()) -> None:
        self.name = name
        self.views = views
        self.strides = 0
        self.rest = 0

    @property
    def visits(self) -> int:
        """Finished visits."""
        return STRIDE * self.strides + self.rest


class Endpoints:
    """Names visits out of a bounded set and counts them.

    Nothing here takes a lock: a finalizer may end a visit while the same thread is in the middle
    of another one, and a lock would deadlock there. Single dict operations are atomic in CPython.

    Attributes:
        known: The tallies of all templates that have been seen, then by method: two strings are
            looked up in half the time that it takes to make a pair of them.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._known: dict[str | None, dict[str, Tally]] = {}
        self.known: Known = self._known
        self._by_name: dict[str, Tally] = {}

    def tally(self, route: Route) -> Tally:
        """Return the tally of *route*, a new one while there is room.

        Only names that were kept whole are known by route, so that table is as bounded.
        """
        known = self.known.get(route.template, UNSEEN).get(route.method)
        if known is not None:
            return known
        method = route.method if route.method in METHODS else OTHER_METHOD
        name = _name(method, route.template)
        tally = self.named(name, route.view)
        if tally.name == name and method == route.method:
            self._known.setdefault(route.template, {})[method] = tally
        return tally

    def named(self, name: str, view: object = None) -> Tally:
        """Return the tally called *name*, a new one while there is room."""
        name = name[:MAX_NAME]
        known = self._by_name.get(name)
        if known is not None:
            return known
        if len(self._by_name) >= self._cap and name not in {OTHER, UNMATCHED}:
            return self.named(OTHER)
        return self._by_name.setdefault(name, Tally(name, spans(view)))

    def count(self) -> Mapping[str, Endpoint]:
        """Return every endpoint with its visits so far, by name."""
        tallies = tuple(self._by_name.values())
        return {tally.name: Endpoint(tally.name, tally.visits, tally.views) for tally in tallies}

    def reset(self) -> None:
        """Start counting anew, as a forked worker does."""
        for tally in tuple(self._by_name.values()):
            tally.strides = tally.rest = 0


def _name(method: str, template: str | None) -> str:
    if template is None:
        return UNMATCHED
    if template.startswith("("):
        return template
    return f"{method} {template}"
