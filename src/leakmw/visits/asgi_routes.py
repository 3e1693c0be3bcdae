"""How a visit of an ASGI app is named: by what the app left in the scope when it returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.records import ROUTE_KEY, Route
from leakmw.visits.paths import Paths
from leakmw.visits.route_tree import RouteTree, routes_of
from leakmw.visits.scopes import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_KEY = "leakmw.path"
"""Where the face puts the path of a request to an app without routes, as it came in."""

STATUS_KEY = "leakmw.status"
"""Where the face puts the status that such an app has sent, 101 for an accepted websocket."""

MAX_TREES = 16
"""Routers of one app that are remembered: it may be a dispatcher to several."""

_NOT_FOUND = (404, 405)


class AsgiRoutes:
    """Names the visits of one ASGI app.

    Attributes:
        by_path: Whether the app shows no routes, so that path and status are needed.
        evident: The :meth:`RouteTree.evident` of the router that has answered last.
    """

    __slots__ = ("_paths", "_trees", "by_path", "evident")

    def __init__(self, app: object) -> None:
        self.by_path = routes_of(app) is None
        self._paths = Paths()
        self._trees: dict[int, RouteTree] = {}
        self.evident = RouteTree(None).evident

    def route(self, scope: Mapping[str, Any]) -> Route:
        """Return what is known of the endpoint that served *scope*."""
        method = "WS" if scope["type"] == "websocket" else scope["method"]
        found = None
        if "endpoint" in scope and "router" in scope:
            root = scope["router"]
            tree = self._trees.get(id(root)) or self._plant(root)
            self.evident = tree.evident
            found = tree.find(scope, method)
        if ROUTE_KEY in scope or "path_template" in scope:
            return _below(found, _told(scope, method))
        if found is not None:
            return found
        if self.by_path and "router" not in scope:
            return self._by_path(method, scope)
        return Route(method, None)

    def _plant(self, root: object) -> RouteTree:
        if len(self._trees) >= MAX_TREES:
            self._trees.clear()
        tree = self._trees[id(root)] = RouteTree(root)
        return tree

    def _by_path(self, method: str, scope: Mapping[str, Any]) -> Route:
        status = scope.get(STATUS_KEY)
        rejected = status is None and scope["type"] == "websocket"
        found = not rejected and status not in _NOT_FOUND
        path = scope.get(PATH_KEY) or path_of(scope) or "/"
        return self._paths.route(method, path, found=found)


def _told(scope: Mapping[str, Any], method: str) -> Route:
    """Return the route that Litestar, or a face within the app, has put into *scope*."""
    if ROUTE_KEY in scope:
        told: Route = scope[ROUTE_KEY]
        return told
    handler = scope.get("route_handler")
    return Route(method, scope["path_template"], getattr(handler, "fn", None))


def _below(mount: Route | None, told: Route) -> Route:
    """Prefix what an app says of its own route with the path that it is mounted under."""
    if mount is None or mount.template is None:
        return told
    if told.template is None:
        return mount
    if not told.template.startswith("/"):
        return told
    return told._replace(template=mount.template.removesuffix("/*") + told.template)
