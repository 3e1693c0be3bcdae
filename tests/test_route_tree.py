"""Naming by the tree of routes stays bounded, whatever shape the tree has and takes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Route, Router

from leakmw.records import Route as Named
from leakmw.visits import asgi_routes, route_tree
from leakmw.visits.asgi_routes import AsgiRoutes
from leakmw.visits.endpoints import Endpoints
from leakmw.visits.scopes import host_of


async def _view(request: object) -> None:
    """Stand for a view."""


async def _other(request: object) -> None:
    """Stand for another one."""


def _scope(router: object, endpoint: object, path: str = "/", method: str = "GET") -> Any:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [],
        "router": router,
        "endpoint": endpoint,
    }


class _Counting(Router):
    """A router that counts how often its routes are read.

    Attributes:
        readings: How often.
    """

    readings = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "routes":
            _Counting.readings += 1
        return super().__getattribute__(name)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the clock: its one item is the time."""
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("leakmw.visits.route_tree.time", clock)
    return now


def test_endpoints_that_come_and_go(clock: list[float]) -> None:
    """An app with a new endpoint for every request has its routes read once a second at most."""
    router = _Counting([Route("/known", _view)])
    names = AsgiRoutes(router)
    _Counting.readings = 0

    for _ in range(1000):
        assert names.route(_scope(router, object())) == Named("GET", None)
    assert _Counting.readings <= route_tree.FREE_READINGS + 1

    clock[0] += route_tree.PAUSE
    for _ in range(1000):
        names.route(_scope(router, object()))
    assert _Counting.readings <= route_tree.FREE_READINGS + 2


def test_routes_that_come_and_go(clock: list[float]) -> None:
    """An app that adds a route for every request has its routes read once a second at most."""
    router = _Counting([Route("/known", _view)])
    names = AsgiRoutes(router)
    routes = router.routes
    _Counting.readings = 0

    for number in range(1000):
        routes.append(Route(f"/new/{number}", _view))
        named = names.route(_scope(router, _view, "/known"))
        assert named == Named("GET", "/known", _view)
    assert _Counting.readings <= route_tree.FREE_READINGS + 1


def test_known_endpoints_are_not_read_again() -> None:
    """Routes are read once when they stay as they are."""
    router = _Counting([Route("/a", _view), Mount("/in", Router([Route("/b", _other)]))])
    names = AsgiRoutes(router)
    _Counting.readings = 0

    for _ in range(100):
        assert names.route(_scope(router, _view)).template == "/a"
        assert names.route(_scope(router, _other)).template == "/in/b"
    assert _Counting.readings == 1


def test_a_router_within_itself() -> None:
    """A tree without an end is followed as deep as ever an app was mounted."""
    router = Router([Route("/a", _view)])
    router.routes.append(Mount("/left", router))
    router.routes.append(Mount("/right", router))
    names = AsgiRoutes(router)

    assert names.route(_scope(router, _view, "/a")).template == "/a"
    assert names.route(_scope(router, _view, "/left/left/a")).template == "/left/left/a"


def test_middleware_within_itself() -> None:
    """What claims to wrap itself has no routes to be found."""

    class Loop:
        @property
        def app(self) -> Any:
            return self

    assert AsgiRoutes(Loop()).by_path


def test_more_routes_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes past the limit are named by nothing, those before it as ever."""
    monkeypatch.setattr(route_tree, "MAX_TEMPLATES", 10)

    def views() -> Any:
        return (lambda request: None for _ in itertools.count())

    views_of = dict(zip(range(20), views(), strict=False))
    router = Router([Route(f"/{number}", view) for number, view in views_of.items()])
    names = AsgiRoutes(router)

    assert names.route(_scope(router, views_of[9])).template == "/9"
    assert names.route(_scope(router, views_of[10])).template is None


def test_many_routers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that makes routers as it goes is named all the same, and few are remembered."""
    names = AsgiRoutes(object())

    for _ in range(5 * asgi_routes.MAX_TREES):
        router = Router([Route("/a", _view)])
        assert names.route(_scope(router, _view)).template == "/a"
        assert len(names._trees) <= asgi_routes.MAX_TREES


def _evidently(names: AsgiRoutes, scope: Any) -> str | None:
    """Return the name that is plain to see, where whatever *names* might say has been visited."""
    endpoints = Endpoints(100)
    for template in ("/a", "/in/b", "/two", "/in/*", "/odd"):
        endpoints.tally(Named("GET", template))
    tally = names.evident(scope, endpoints.known)
    return None if tally is None else tally.name


def test_what_is_plain_to_see() -> None:
    """The view alone tells the name where it has one route, as its router has them now."""
    inner = Router([Route("/b", _other)])
    router = Router([Route("/a", _view), Mount("/in", inner)])
    names = AsgiRoutes(router)
    assert _evidently(names, _scope(router, _view)) is None  # nobody has read the routes

    names.route(_scope(router, _view))
    assert _evidently(names, _scope(router, _view)) == "GET /a"
    assert _evidently(names, _scope(router, _other)) == "GET /in/b"

    inner.routes.append(Route("/two", _other))
    for _ in range(2):  # each list of routes is looked at in turn
        assert _evidently(names, _scope(router, _view)) == "GET /a"
    assert _evidently(names, _scope(router, _other)) is None


def test_what_is_not_plain_to_see() -> None:
    """Another router or method, a mounted app, a websocket, a view that cannot be looked up."""

    class Odd:
        """A view that no table can have as a key."""

        __hash__ = None  # type: ignore[assignment]

    odd: Any = Odd()
    router, mounted = Router([Route("/a", _view), Route("/odd", odd)]), Mount("/in", Router([]))
    router.routes.append(mounted)
    names = AsgiRoutes(router)
    names.route(_scope(router, _view))

    assert _evidently(names, _scope(router, _view)) == "GET /a"
    assert _evidently(names, _scope(router, _view, method="POST")) is None
    assert _evidently(names, _scope(router, odd)) is None
    assert _evidently(names, _scope(router, mounted.app)) is None
    assert _evidently(names, _scope(Router([Route("/b", _view)]), _view)) is None
    assert _evidently(names, {"type": "websocket", "router": router, "endpoint": _view}) is None
    assert _evidently(names, {"type": "http", "method": "GET"}) is None


def test_a_tree_that_cannot_be_read(clock: list[float]) -> None:
    """Routes that raise when they are looked at make no name, and are left alone soon."""

    class Broken:
        looks = 0

        @property
        def endpoint(self) -> Any:
            Broken.looks += 1
            raise RuntimeError

    broken: Any = Broken()
    router = Router([broken, Route("/a", _view)])
    names = AsgiRoutes(router)
    unnamed = 0

    for _ in range(1000):
        try:
            names.route(_scope(router, _view))
        except RuntimeError:
            unnamed += 1
    assert 1 <= Broken.looks == unnamed <= route_tree.FREE_READINGS + 1


@pytest.mark.parametrize(
    ("told", "template"),
    [
        (Named("GET", "/users/<int:pk>/", _view), "/dj/{lang}/users/<int:pk>/"),
        (Named("GET", None), "/dj/{lang}/*"),
        (Named("GET", "(other)"), "(other)"),
    ],
)
def test_what_a_mounted_app_tells(told: Named, template: str) -> None:
    """The route that a face within a mounted app has told stands below the mount's path."""
    app = Starlette(routes=[Mount("/dj/{lang}", object())])  # type: ignore[arg-type]
    endpoint = app.routes[0].app  # type: ignore[attr-defined]
    scope = _scope(app.router, endpoint, "/dj/en/users/3/") | {"leakmw.route": told}

    assert AsgiRoutes(app).route(scope).template == template


@pytest.mark.parametrize(
    ("headers", "template"),
    [([(b"accept", b"*/*"), (b"host", b"A.test:80")], "a.test/x"), ([(b"accept", b"*/*")], "/x")],
)
def test_a_view_behind_a_host_and_without_one(headers: Any, template: str) -> None:
    """A request that names no host came through none."""
    both = Router([Route("/x", _view)])
    router = Router([Host("a.test", both), Mount("", both)])

    scope = _scope(router, _view, "/x") | {"headers": headers}
    assert AsgiRoutes(router).route(scope).template == template


@pytest.mark.parametrize("port", ["", ":8000"])
@pytest.mark.parametrize("host", ["shop.test", "127.0.0.1", "[::1]"])
def test_hosts_have_no_port(host: str, port: str) -> None:
    """The colons of an address are no port."""
    assert host_of({"headers": [(b"host", f"{host}{port}".encode())]}) == host


def test_what_an_unmounted_app_tells() -> None:
    """The route that a face within the app has told is taken as it is."""
    told = Named("GET", "/users/<int:pk>/", _view)
    scope = {"type": "http", "method": "GET", "path": "/users/3/", "leakmw.route": told}

    assert AsgiRoutes(object()).route(scope) is told
