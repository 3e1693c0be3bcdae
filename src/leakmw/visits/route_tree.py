"""The route templates of one Starlette router and of all that is mounted below it.

Routes are read by their attributes, as Starlette and FastAPI have had them for years: neither is
imported, and routes of other kinds are passed over.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.visits.scopes import host_of, path_of

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Iterator, Mapping, Sequence

    RouteList = tuple[Sequence[object], int]
    """A list of routes, and how long it was."""

MAX_TEMPLATES = 10_000
"""Routes of one tree that are read."""

MAX_DEPTH = 32
"""Mounts within mounts, and middleware around one app, that are followed."""

FREE_READINGS = 8
"""How often a tree is read anew at once."""

PAUSE = 1.0
"""Seconds between two readings after those."""


class Template(NamedTuple):
    """One route, or one mount, as the app wrote it.

    Attributes:
        text: Whole path with the prefixes of all mounts, ``/orgs/{org}/users/{id:int}``; that of a
            mount itself ends in ``/*``.
        endpoint: What the router names as serving it. Held, so that its identity stays its own.
        view: The same, but ``None`` for a mount that has routes: its code serves them all.
        host: Host pattern that it stands under; empty where any host will do.
        methods: Methods that it serves; ``None`` for all.
        gates: What a request passes on its way to it, from the outermost mount to the route.
    """

    text: str
    endpoint: object
    view: object
    host: str
    methods: Collection[str] | None
    gates: tuple[Gate, ...]

    def serves(self, method: str) -> bool:
        """Return whether *method* gets more than a 405 here."""
        return self.methods is None or method in self.methods

    def claims(self, path: str, host: str) -> bool:
        """Return whether a request could have come this way."""
        for gate in self.gates:
            match = gate.pattern.match(host if gate.of_host else path)
            if match is None:
                return False
            if not gate.of_host:
                path = "/" + match.groupdict().get("path", "")  # what a mount leaves over
        return True


class Gate(NamedTuple):
    """A pattern that has to match.

    Attributes:
        pattern: As the framework compiled it.
        of_host: Whether it is about the host, not the path.
    """

    pattern: re.Pattern[str]
    of_host: bool = False


class RouteTree:
    """Finds the template of a request by what served it: nothing is routed a second time.

    Args:
        root: The outermost router, or the app around it.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._readings = 0
        self._read_at = 0.0
        self._by_endpoint: Mapping[int, Sequence[Template]] = {}
        self._mounts: Sequence[Template] = ()
        self._lists: Iterator[RouteList] = itertools.repeat(((), 0))

    def find(self, scope: Mapping[str, Any], method: str) -> Template | None:
        """Return the template that led to the endpoint in *scope*.

        Args:
            scope: The scope of a request that a router has handed to an endpoint.

            method: Its method, ``WS`` for a websocket.

        Returns:
            The route's template; where the route is in no list that can be read, the innermost
            mount's; ``None`` where there is neither, or where the answer was a 405.
        """
        routes, length = next(self._lists)
        if len(routes) != length:
            self._read_anew()
        templates = self._by_endpoint.get(id(scope["endpoint"]), ())
        if len(templates) == 1 and templates[0].serves(method):
            return templates[0]
        return self._search(scope, method)

    def _search(self, scope: Mapping[str, Any], method: str) -> Template | None:
        found = self._claimants(scope)
        if not found and self._read_anew():
            found = self._claimants(scope)
        if not found:
            found = _claiming(self._mounts, scope)
        return next((one for one in found if one.serves(method)), None)

    def _claimants(self, scope: Mapping[str, Any]) -> Sequence[Template]:
        """Return the templates of the endpoint; by path and host only where there are several."""
        templates = self._by_endpoint.get(id(scope["endpoint"]), ())
        return templates if len(templates) == 1 else _claiming(templates, scope)

    def _read_anew(self) -> bool:
        """Read the tree again unless that was done too often; say whether it was."""
        if self._readings > FREE_READINGS and time.monotonic() < self._read_at + PAUSE:
            return False
        self._read()
        return True

    def _read(self) -> None:
        self._readings += 1
        self._read_at = time.monotonic()
        lists: list[RouteList] = []
        read = _read(routes_of(self._root) or (), _Branch(lists))
        found = _told_apart(list(itertools.islice(read, MAX_TEMPLATES)))
        by_endpoint: dict[int, list[Template]] = defaultdict(list)
        for template in found:
            by_endpoint[id(template.endpoint)].append(template)
        self._by_endpoint = dict(by_endpoint)
        self._mounts = tuple(one for one in reversed(found) if one.text.endswith("/*"))
        # one list a visit is looked at: a route added anywhere is noticed within a few visits
        self._lists = itertools.cycle(lists)


def routes_of(app: object) -> Sequence[object] | None:
    """Return the routes of *app*, or of the app that middleware around it wraps."""
    for _ in range(MAX_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return routes
        app = getattr(app, "app", None)
        if app is None:
            break
    return None


def _claiming(templates: Sequence[Template], scope: Mapping[str, Any]) -> Sequence[Template]:
    path, host = path_of(scope), host_of(scope)
    return [one for one in templates if one.claims(path, host)]


class _Branch(NamedTuple):
    """Where in the tree a router hangs.

    Attributes:
        lists: Every list of routes that was read, with its length then.
        depth: Mounts above it.
        prefix: Their paths.
        host: Host pattern above it.
        gates: Their patterns.
    """

    lists: list[RouteList]
    depth: int = 0
    prefix: str = ""
    host: str = ""
    gates: tuple[Gate, ...] = ()

    def through(self, mount: Any) -> _Branch:
        """Return the branch below *mount*, a ``Mount`` or a ``Host``."""
        host = getattr(mount, "host", None)
        if host is None:
            gate = Gate(mount.path_regex)
            return self._replace(
                depth=self.depth + 1, prefix=self.prefix + mount.path, gates=(*self.gates, gate)
            )
        gate = Gate(mount.host_regex, of_host=True)
        return self._replace(depth=self.depth + 1, host=host, gates=(*self.gates, gate))

    def leaf(self, route: Any) -> Template:
        """Return the template of *route*."""
        methods = getattr(route, "methods", None) or None
        gates = (*self.gates, Gate(route.path_regex))
        endpoint = route.endpoint
        return Template(self.prefix + route.path, endpoint, endpoint, self.host, methods, gates)

    def trunk(self, mount: Any, *, view: object) -> Template:
        """Return the template of *mount*, which this branch is below."""
        return Template(self.prefix + "/*", mount.app, view, self.host, None, self.gates)


def _read(routes: Sequence[object], branch: _Branch) -> Iterator[Template]:
    branch.lists.append((routes, len(routes)))
    for route in tuple(routes):
        yield from _read_route(route, branch)


def _read_route(route: Any, branch: _Branch) -> Iterator[Template]:
    if hasattr(route, "effective_candidates"):
        yield from _read_included(route, branch)
    elif getattr(route, "endpoint", None) is not None:
        yield branch.leaf(route)
    elif hasattr(route, "app") and hasattr(route, "routes") and branch.depth < MAX_DEPTH:
        yield from _read_mount(route, branch.through(route))


def _read_mount(mount: Any, branch: _Branch) -> Iterator[Template]:
    routes = routes_of(mount.app) or mount.routes
    yield branch.trunk(mount, view=None if routes else mount.app)
    yield from _read(routes, branch)


def _read_included(router: Any, branch: _Branch) -> Iterator[Template]:
    """Read a router that FastAPI, from 0.137 on, includes without copying its routes.

    Its candidates are the routes as they are below the prefix, and the routers included in turn.
    """
    routes = router.original_router.routes
    branch.lists.append((routes, len(routes)))
    for candidate in router.effective_candidates():
        yield from _read_route(getattr(candidate, "starlette_route", None) or candidate, branch)


def _told_apart(templates: Sequence[Template]) -> Sequence[Template]:
    """Name the host in front of the path where two hosts have the same path."""
    hosts = defaultdict(set)
    for template in templates:
        hosts[template.text].add(template.host)
    return [
        template._replace(text=template.host + template.text)
        if len(hosts[template.text]) > 1
        else template
        for template in templates
    ]
