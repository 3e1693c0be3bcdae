"""How a request of Django is named: by what its URL resolver found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.records import ROUTE_KEY, Route

if TYPE_CHECKING:
    from collections.abc import Mapping


def template_of(request: Any) -> str | None:
    """Return the template of the route of *request*, once Django has answered it."""
    route = getattr(getattr(request, "resolver_match", None), "route", None)
    # the root's route is empty, and a route all the same
    return None if route is None else f"/{route.removeprefix('^')}"


def django_route(request: Any) -> Route:
    """Return the route of *request*, once Django has answered it."""
    template = template_of(request)
    view = None if template is None else request.resolver_match.func
    return Route(request.method, template, view)


def told_route(carrier: Mapping[str, Any]) -> Route:
    """Return the route that was put into the environ or scope *carrier*."""
    route: Route = carrier[ROUTE_KEY]
    return route
