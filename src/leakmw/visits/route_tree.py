"""The route templates of one Starlette router and of all that is mounted below it.

Routes are read by their attributes, as Starlette and FastAPI have had them for years: neither is
imported, and routes of other kinds are passed over.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.records import METHODS, Route
from leakmw.visits.scopes import host_of, path_of

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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

    def route(self, method: str) -> Route:
        """Return what a visit by *method* is named by."""
        return Route(method, self.text, self.view)

    def claims(self, scope: Mapping[str, Any], path: str) -> bool:
        """Return whether a request for *path* could have come this way."""
        for gate in self.gates:
            match = gate.pattern.match(host_of(scope) if gate.of == "host" else path)
            if match is None:
                return False
            if gate.of == "mount":
                path = "/" + match["path"]  # what the mount leaves over
        return True


class Gate(NamedTuple):
    """A pattern that has to match.

    Attributes:
        pattern: As the framework compiled it.
        of: ``host``, ``mount`` or ``route``.
    """

    pattern: re.Pattern[str]
    of: str


class RouteTree:
    """Finds the route of a request by what served it: nothing is routed a second time.

    Args:
        root: The outermost router, or the app around it.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._readings = 0
        self._read_at = 0.0
        self._by_endpoint: Mapping[int, Sequence[Template]] = {}
        self._known: dict[tuple[int, str], Route] = {}
        self._mounts: Sequence[Template] = ()
        self._lists: Iterator[RouteList] = itertools.repeat(((), 0))

    def find(self, scope: Mapping[str, Any], method: str) -> Route | None:
        """Return the route that led to the endpoint in *scope*.

        Args:
            scope: The scope of a request that a router has handed to an endpoint.

            method: Its method, ``WS`` for a websocket.

        Returns:
            The route, without a template where the answer was a 405; where it is in no list that
            can be read, the innermost mount; ``None`` where there is neither.
        """
        routes, length = next(self._lists)
        if len(routes) != length:
            self._read_anew()
        known = self._known.get((id(scope["endpoint"]), method))
        return known or self._search(scope, method)

    def _search(self, scope: Mapping[str, Any], method: str) -> Route | None:
        route = self._look_up(scope, method)
        if route is None and self._read_anew():
            route = self._look_up(scope, method)
        return route or _by_path(self._mounts, scope, method)

    def _look_up(self, scope: Mapping[str, Any], method: str) -> Route | None:
        known, endpoint = self._known, id(scope["endpoint"])
        templates = self._by_endpoint.get(endpoint, ())
        serving = [one for one in templates if one.methods is None or method in one.methods]
        if len(serving) > 1 or not templates:
            return _by_path(serving, scope, method)
        route = serving[0].route(method) if serving else Route(method, None)
        if method in METHODS:
            known[endpoint, method] = route
        return route

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
        self._known = {}
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


def _by_path(templates: Iterable[Template], scope: Mapping[str, Any], method: str) -> Route | None:
    path = path_of(scope)
    for template in templates:
        if template.claims(scope, path):
            return template.route(method)
    return None


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
            gate = Gate(mount.path_regex, "mount")
            return self._replace(
                depth=self.depth + 1, prefix=self.prefix + mount.path, gates=(*self.gates, gate)
            )
        gate = Gate(mount.host_regex, "host")
        return self._replace(depth=self.depth + 1, host=host, gates=(*self.gates, gate))

    def leaf(self, route: Any) -> Template:
        """Return the template of *route*."""
        methods = getattr(route, "methods", None) or None
        gates = (*self.gates, Gate(route.path_regex, "route"))
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
