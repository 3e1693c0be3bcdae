"""Where a request of Django carries what faces leave for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIRequest

from leakmw.records import ROUTE_KEY
from leakmw.visits.django_routes import django_route

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from django.http import HttpRequest


def carrier(request: HttpRequest) -> MutableMapping[str, Any]:
    """Return the scope or environ of *request*: the very dict that the server's face saw."""
    found: MutableMapping[str, Any]
    found = request.scope if isinstance(request, ASGIRequest) else request.META
    return found


def tell_route(request: HttpRequest) -> None:
    """Leave the route of *request*, once Django has answered it, for whoever counts the visit."""
    carrier(request)[ROUTE_KEY] = django_route(request)
