"""How a request of Django is named: by what its URL resolver found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.records import ROUTE_KEY, Route

if TYPE_CHECKING:
    from collections.abc import Mapping


def django_route(request: Any) -> Route:
    """Return the route of *request*, once Django has answered it."""
    match: Any = getattr(request, "resolver_match", None)
    route = getattr(match, "route", None)
    if route is None:  # the root's route is empty, and a route all the same
        return Route(request.method, None)
    return Route(request.method, f"/{route.removeprefix('^')}", match.func)


def told_route(carrier: Mapping[str, Any]) -> Route:
    """Return the route that was put into the environ or scope *carrier*."""
    route: Route = carrier[ROUTE_KEY]
    return route
