"""The name of an endpoint in the two parts that other engines know: its method and its route."""

from __future__ import annotations

from typing import NamedTuple

from leakmw.records import METHODS, OTHER_METHOD, WEBSOCKET


class Named(NamedTuple):
    """An endpoint's name, taken apart.

    Attributes:
        method: HTTP method, ``WS`` or ``_OTHER``; empty for a name that has none, such as
            ``(background)`` or one of the user's own.
        route: What is left: the route template, or the whole name.
    """

    method: str
    route: str


def named(endpoint: str) -> Named:
    """Take the name of an endpoint apart."""
    method, _, route = endpoint.partition(" ")
    if route and (method in METHODS or method == OTHER_METHOD):
        return Named(method, route)
    return Named("", endpoint)


def attributes(endpoint: str) -> dict[str, str]:
    """Return the attributes that OpenTelemetry's conventions have for an endpoint.

    A websocket begins as a GET, and is told from one by its protocol.
    """
    method, route = named(endpoint)
    known = {"http.route": route}
    if method == WEBSOCKET:
        return known | {"http.request.method": "GET", "network.protocol.name": "websocket"}
    return known | ({"http.request.method": method} if method else {})
