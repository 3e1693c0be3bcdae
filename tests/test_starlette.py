"""The ASGI face around Starlette: every visit under the name of its route."""

from __future__ import annotations

import gc
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from leakmw.monitor import Monitor

    Visited = tuple[str, str, int, str]
    Watch = Callable[..., LeakMiddleware]


async def _hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _again(request: Request) -> PlainTextResponse:
    return PlainTextResponse("again")


async def _shared(request: Request) -> PlainTextResponse:
    return PlainTextResponse("shared")


def _blocking(request: Request) -> PlainTextResponse:
    return PlainTextResponse("blocking")


class _Thing(HTTPEndpoint):
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("thing")


class _Methods:
    async def method(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("method")


async def _greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hi")
    await websocket.close()


async def _raw(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("raw")(scope, receive, send)


class _Echo(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        await websocket.send_text(data)


class _Opaque:
    """Middleware that shows nobody what it wraps."""

    def __init__(self, hidden: ASGIApp) -> None:
        self._hidden = hidden

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._hidden(scope, receive, send)


def _routes() -> list[Any]:
    """Return one of everything that Starlette routes by."""
    reused = Router([Route("/", _hello), Route("/page/{n}", _hello)])
    return [
        Route("/", _hello),
        Route("/users/{id:int}", _hello),
        Route("/users/{name}", _hello),
        Route("/files/{rest:path}", _hello, methods=["GET", "PUT"]),
        Route("/both", _hello),
        Route("/both", _again, methods=["POST"]),
        Route("/one", _shared),
        Route("/one", _shared, methods=["DELETE"]),
        Route("/other/{x}", _shared),
        Route("/blocking", _blocking),
        Route("/thing/{id}", _Thing),
        Route("/method", _Methods().method),
        WebSocketRoute("/greet/{who}", _greet),
        WebSocketRoute("/echo", _Echo),
        Mount(
            "/api",
            name="api",
            routes=[
                Route("/", _again),
                Route("/items/{item}", _again),
                Mount("/v1", routes=[Route("/deep/{z:uuid}", _again)]),
                WebSocketRoute("/live/{room}", _greet),
            ],
        ),
        Mount("/orgs/{org}", routes=[Route("/users/{id}", _again), Route("/path/{path}", _again)]),
        Mount("/left", reused),
        Mount("/right/{side}", reused),
        Mount("/wide", Starlette(routes=[Route("/x/{y}", _again)])),
        Mount("/cors", CORSMiddleware(Starlette(routes=[Route("/x/{y}", _again)]))),
        Mount("/opaque", _Opaque(Starlette(routes=[Route("/x/{y}", _again)]))),
        Mount("/with", routes=[Route("/x", _again)], middleware=[Middleware(GZipMiddleware)]),
        Mount("/raw", _raw),
        Host("api.example.org", Router([Route("/", _again), Route("/only/{x}", _again)])),
        Host("{tenant}.example.com", Router([Route("/tenant/{x}", _hello)])),
    ]


NAMES = [
    ("GET", "/", 200, "GET /"),
    ("HEAD", "/", 200, "HEAD /"),
    ("GET", "/?q=1", 200, "GET /"),
    ("GET", "/users/7", 200, "GET /users/{id:int}"),
    ("GET", "/users/ann", 200, "GET /users/{name}"),
    ("GET", "/files/a/b/c", 200, "GET /files/{rest:path}"),
    ("PUT", "/files/a", 200, "PUT /files/{rest:path}"),
    ("GET", "/both", 200, "GET /both"),
    ("POST", "/both", 200, "POST /both"),
    ("GET", "/one", 200, "GET /one"),
    ("DELETE", "/one", 200, "DELETE /one"),
    ("GET", "/other/1", 200, "GET /other/{x}"),
    ("GET", "/blocking", 200, "GET /blocking"),
    ("GET", "/thing/1", 200, "GET /thing/{id}"),
    ("PATCH", "/thing/1", 405, "PATCH /thing/{id}"),
    ("GET", "/method", 200, "GET /method"),
    ("GET", "/api/", 200, "GET /api/"),
    ("GET", "/api/items/3", 200, "GET /api/items/{item}"),
    (
        "GET",
        "/api/v1/deep/6a5f5e4c-0f6c-4f50-8d0c-9a4e4b2f2c11",
        200,
        "GET /api/v1/deep/{z:uuid}",
    ),
    ("GET", "/orgs/acme/users/3", 200, "GET /orgs/{org}/users/{id}"),
    ("GET", "/orgs/acme/path/3", 200, "GET /orgs/{org}/path/{path}"),
    ("GET", "/left/", 200, "GET /left/"),
    ("GET", "/left/page/1", 200, "GET /left/page/{n}"),
    ("GET", "/right/up/", 200, "GET /right/{side}/"),
    ("GET", "/right/up/page/1", 200, "GET /right/{side}/page/{n}"),
    ("GET", "/wide/x/1", 200, "GET /wide/x/{y}"),
    ("GET", "/cors/x/1", 200, "GET /cors/x/{y}"),
    ("GET", "/with/x", 200, "GET /with/x"),
    ("GET", "/raw/any/thing", 200, "GET /raw/*"),
]
"""Method, path, status and name of what is answered by a route."""

MISSES = [
    ("GET", "/nope", 404, "(unmatched)"),
    ("BREW", "/nope", 404, "(unmatched)"),
    ("GET", "/files", 307, "(unmatched)"),
    ("POST", "/", 405, "(unmatched)"),
    ("PUT", "/one", 405, "(unmatched)"),
    ("GET", "/api", 307, "(unmatched)"),
    ("GET", "/users/7/", 307, "(unmatched)"),
    ("GET", "/api/nope", 404, "GET /api/*"),
    ("GET", "/api/v1/nope", 404, "GET /api/v1/*"),
    ("GET", "/api/v1/deep/no-uuid", 404, "GET /api/v1/*"),
    ("GET", "/orgs/acme/nope", 404, "GET /orgs/{org}/*"),
    ("GET", "/wide/nope", 404, "GET /wide/*"),
    ("GET", "/opaque/x/1", 200, "GET /opaque/*"),
]
"""Method, path, status and name of what no route could be told for."""


def _visits(monitor: Monitor) -> dict[str, int]:
    return {name: one.visits for name, one in monitor.endpoints().items() if one.visits}


@pytest.fixture(name="client_of", params=["asyncio", "trio"])
def _client_of(request: pytest.FixtureRequest) -> Callable[..., TestClient]:
    """Make clients that run an app on asyncio, then on trio."""
    backend: Literal["asyncio", "trio"] = request.param

    def client_of(app: ASGIApp, **options: Any) -> TestClient:
        return TestClient(app, backend=backend, follow_redirects=False, **options)

    return client_of


def _visit(client: TestClient, monitor: Monitor, method: str, path: str) -> Visited:
    """Send one request, and see what it is answered by and counted under."""
    before = _visits(monitor)
    status = client.request(method, path).status_code
    (name,) = [name for name, count in _visits(monitor).items() if count != before.get(name, 0)]
    return method, path, status, name


def test_route_names(watch_asgi: Watch) -> None:
    """A visit has the name of its route, with the prefixes of all mounts."""
    app = watch_asgi(Starlette(routes=_routes()))
    client = TestClient(app)

    assert [_visit(client, app.monitor, method, path) for method, path, *_ in NAMES] == NAMES


def test_no_route(watch_asgi: Watch) -> None:
    """What no route served is unmatched, or named by the mount that it came to."""
    app = watch_asgi(Starlette(routes=_routes()))
    client = TestClient(app, follow_redirects=False)

    assert [_visit(client, app.monitor, method, path) for method, path, *_ in MISSES] == MISSES


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("api.example.org", "/", "GET api.example.org/"),
        ("api.example.org:8000", "/", "GET api.example.org/"),
        ("api.example.org", "/only/1", "GET /only/{x}"),
        ("acme.example.com", "/tenant/1", "GET /tenant/{x}"),
        ("elsewhere", "/", "GET /"),
    ],
)
def test_hosts(watch_asgi: Watch, host: str, path: str, name: str) -> None:
    """A host is named in front of a path that another host has too."""
    hosts = [route for route in _routes() if isinstance(route, Host)]
    app = watch_asgi(Starlette(routes=[*hosts, Route("/", _hello)]))

    assert TestClient(app).get(path, headers={"host": host}).status_code == 200
    assert _visits(app.monitor) == {name: 1}


def test_hosts_of_one_app(watch_asgi: Watch) -> None:
    """One app behind two hosts is two endpoints, whatever serves them."""
    both = Router([Route("/", _hello)])
    app = watch_asgi(Starlette(routes=[Host("a.test", both), Host("{any}.b.test", both)]))
    client = TestClient(app)

    for host in ("a.test", "x.b.test", "y.b.test"):
        assert client.get("/", headers={"host": host}).status_code == 200
    assert _visits(app.monitor) == {"GET a.test/": 1, "GET {any}.b.test/": 2}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/greet/ann", "WS /greet/{who}"),
        ("/api/live/3", "WS /api/live/{room}"),
    ],
)
def test_websocket_names(
    watch_asgi: Watch, client_of: Callable[..., TestClient], path: str, name: str
) -> None:
    """A websocket is a visit of its own kind, counted when it ends."""
    app = watch_asgi(Starlette(routes=_routes()))

    with client_of(app).websocket_connect(path) as websocket:
        assert websocket.receive_text() == "hi"
    assert _visits(app.monitor) == {name: 1}


def test_websocket_endpoint(watch_asgi: Watch) -> None:
    """A long websocket counts once, at its end."""
    app = watch_asgi(Starlette(routes=_routes()))

    with TestClient(app).websocket_connect("/echo") as websocket:
        websocket.send_text("one")
        assert websocket.receive_text() == "one"
        assert _visits(app.monitor) == {}
    assert _visits(app.monitor) == {"WS /echo": 1}


def test_websocket_without_route(watch_asgi: Watch) -> None:
    """A websocket that no route takes is unmatched."""
    app = watch_asgi(Starlette(routes=_routes()))

    with pytest.raises(WebSocketDisconnect), TestClient(app).websocket_connect("/nope"):
        pass
    assert _visits(app.monitor) == {"(unmatched)": 1}


def test_static_files(watch_asgi: Watch) -> None:
    """Files have their mount's name, found or not: nobody can make up names."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "a.css").write_text("a {}")
        app = watch_asgi(Starlette(routes=[Mount("/static", StaticFiles(directory=directory))]))
        client = TestClient(app)

        assert client.get("/static/a.css").status_code == 200
        assert client.get("/static/b.css").status_code == 404
    assert _visits(app.monitor) == {"GET /static/*": 2}


def test_background_task(watch_asgi: Watch, client_of: Callable[..., TestClient]) -> None:
    """A visit lasts until its background tasks have ended."""
    seen = []

    async def later() -> None:
        seen.append(_visits(app.monitor))

    async def view(request: Request) -> PlainTextResponse:
        return PlainTextResponse("done", background=BackgroundTask(later))

    app = watch_asgi(Starlette(routes=[Route("/", view)]))

    assert client_of(app).get("/").text == "done"
    assert seen == [{}]
    assert _visits(app.monitor) == {"GET /": 1}


def test_streaming(watch_asgi: Watch, client_of: Callable[..., TestClient]) -> None:
    """A visit lasts until the last chunk, and chunks stay as they are."""
    seen = []

    async def chunks() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        seen.append(_visits(app.monitor))

    async def view(request: Request) -> StreamingResponse:
        return StreamingResponse(chunks())

    app = watch_asgi(Starlette(routes=[Route("/", view)]))

    assert client_of(app).get("/").text == "ab"
    assert seen == [{}]
    assert _visits(app.monitor) == {"GET /": 1}


class _Marking(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response


def _monitor_within(app: Starlette) -> Monitor:
    """Return the monitor of the face that ``add_middleware`` made."""
    layer: Any = app.middleware_stack
    while not isinstance(layer, LeakMiddleware):
        layer = layer.app
    return layer.monitor


@pytest.mark.parametrize("place", ["outermost", "middle", "innermost"])
def test_in_the_stack(client_of: Callable[..., TestClient], place: str) -> None:
    """It names the same wherever it stands among the app's middleware."""
    stack = [Middleware(_Marking), Middleware(GZipMiddleware), Middleware(CORSMiddleware)]
    at = {"outermost": 0, "middle": 1, "innermost": 3}[place]
    stack.insert(at, Middleware(LeakMiddleware, every=100))
    app = Starlette(routes=_routes(), middleware=stack)
    client = client_of(app)

    response = client.get("/api/items/3")
    assert (response.text, response.headers["x-marked"]) == ("again", "yes")
    assert client.get("/nope").status_code == 404
    monitor = _monitor_within(app)
    monitor.close()
    assert _visits(monitor) == {"GET /api/items/{item}": 1, "(unmatched)": 1}


def test_add_middleware() -> None:
    """``add_middleware`` takes settings as keywords, and hands a disabled face's app back."""
    app = Starlette(routes=_routes())
    app.add_middleware(LeakMiddleware, enabled=False)
    app.add_middleware(LeakMiddleware, settings={"every": 10}, service="shop")

    assert TestClient(app).get("/").text == "hello"
    monitor = _monitor_within(app)
    monitor.close()
    assert _visits(monitor) == {"GET /": 1}


def test_answered_by_middleware(watch_asgi: Watch) -> None:
    """What a middleware answers itself, such as a CORS preflight, came to no route."""
    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    app = watch_asgi(Starlette(routes=_routes(), middleware=[cors]))
    headers = {"origin": "http://x.test", "access-control-request-method": "GET"}

    assert TestClient(app).options("/users/3", headers=headers).status_code == 200
    assert _visits(app.monitor) == {"(unmatched)": 1}


def test_error_in_a_view(watch_asgi: Watch) -> None:
    """A view that raises is visited like any other, and its error is left alone."""

    async def broken(request: Request) -> PlainTextResponse:
        raise ZeroDivisionError

    app = watch_asgi(Starlette(routes=[Route("/broken/{x}", broken)]))

    with pytest.raises(ZeroDivisionError):
        TestClient(app).get("/broken/1")
    assert _visits(app.monitor) == {"GET /broken/{x}": 1}


def test_routes_added_later(watch_asgi: Watch) -> None:
    """A route added to a running app has its name from its first visit on."""
    inner = Router([Route("/old", _hello)])
    starlette = Starlette(routes=[Route("/", _hello), Mount("/in", inner)])
    app = watch_asgi(starlette)
    client = TestClient(app)
    client.get("/")

    starlette.router.routes.append(Route("/new/{x}", _again))
    assert client.get("/new/1").status_code == 200
    inner.routes.append(Route("/newer/{x}", _blocking))
    assert client.get("/in/newer/1").status_code == 200
    assert _visits(app.monitor) == {"GET /": 1, "GET /new/{x}": 1, "GET /in/newer/{x}": 1}


def test_known_view_on_a_later_route(watch_asgi: Watch) -> None:
    """A view that gets a second route later is told apart as soon as the list is looked at."""
    inner = Router([Route("/old/{x}", _shared)])
    starlette = Starlette(routes=[Route("/", _hello), Mount("/in", inner)])
    app = watch_asgi(starlette)
    client = TestClient(app)
    client.get("/in/old/1")

    inner.routes.append(Route("/new/{x}", _shared))
    client.get("/")
    client.get("/in/new/1")
    client.get("/in/old/1")
    assert _visits(app.monitor) == {"GET /in/old/{x}": 2, "GET /": 1, "GET /in/new/{x}": 1}


def test_routed_once(watch_asgi: Watch) -> None:
    """Naming a visit asks no route whether it matches."""
    matched = []

    class Counting(Route):
        def matches(self, scope: Scope) -> Any:
            matched.append(scope["path"])
            return super().matches(scope)

    app = watch_asgi(Starlette(routes=[Counting("/a", _hello), Counting("/b/{x}", _hello)]))

    assert TestClient(app).get("/b/1").status_code == 200
    assert matched == ["/b/1", "/b/1"]
    assert _visits(app.monitor) == {"GET /b/{x}": 1}


def test_routes_of_another_kind(watch_asgi: Watch) -> None:
    """A route that Starlette does not know does not hide the others."""

    class Odd:
        def matches(self, scope: Scope) -> Any:
            from starlette.routing import Match

            return Match.NONE, {}

    odd: Any = Odd()
    app = watch_asgi(Starlette(routes=[odd, Route("/a", _hello)]))

    assert TestClient(app).get("/a").status_code == 200
    assert _visits(app.monitor) == {"GET /a": 1}


def test_wrapped_inside_and_outside(watch_asgi: Watch) -> None:
    """Faces around the app, in its stack and around a mounted app count a visit once."""
    mounted = watch_asgi(Starlette(routes=[Route("/x/{y}", _hello)]))
    starlette = Starlette(
        routes=[Route("/", _hello), Mount("/sub", mounted)],
        middleware=[Middleware(LeakMiddleware)],
    )
    app = watch_asgi(starlette)
    client = TestClient(app)

    assert client.get("/").text == "hello"
    assert client.get("/sub/x/1").text == "hello"
    assert _visits(app.monitor) == {"GET /": 1, "GET /sub/x/{y}": 1}
    assert _visits(_monitor_within(starlette)) == {}
    assert _visits(mounted.monitor) == {}


def test_only_a_mounted_app_wrapped(watch_asgi: Watch) -> None:
    """A face around a mounted app alone counts its visits, under their whole path."""
    mounted = watch_asgi(Starlette(routes=[Route("/x/{y}", _hello)]))
    client = TestClient(Starlette(routes=[Route("/", _hello), Mount("/sub", mounted)]))

    assert client.get("/").text == "hello"
    assert client.get("/sub/x/1").text == "hello"
    assert client.get("/sub/nope").status_code == 404
    assert _visits(mounted.monitor) == {"GET /sub/x/{y}": 1, "GET /sub/*": 1}


def test_a_dispatcher_of_apps(watch_asgi: Watch) -> None:
    """An app that hands over to several Starlette apps is named by the one that answered."""
    apps: Mapping[str, ASGIApp] = {
        "/a": Starlette(routes=[Route("/a/{x}", _hello)]),
        "/b": Starlette(routes=[Route("/b/{x}", _hello)]),
    }

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await apps.get(scope["path"][:2], _raw)(scope, receive, send)

    app = watch_asgi(dispatch)
    client = TestClient(app)

    for path in ("/a/1", "/b/1", "/b/2", "/c"):
        assert client.get(path).status_code == 200
    assert _visits(app.monitor) == {"GET /a/{x}": 1, "GET /b/{x}": 2, "GET /c": 1}


def test_root_path(watch_asgi: Watch) -> None:
    """The path that a proxy strips or leaves is no part of a name."""
    app = watch_asgi(Starlette(routes=_routes()))

    assert TestClient(app, root_path="/proxied").get("/other/1").status_code == 200
    assert TestClient(app, root_path="/proxied").get("/proxied/right/up/").status_code == 200
    assert _visits(app.monitor) == {"GET /other/{x}": 1, "GET /right/{side}/": 1}


def test_bounded_names(watch_asgi: Watch) -> None:
    """Whatever is asked for, there are no more names than routes and mounts, times methods."""
    app = watch_asgi(Starlette(routes=_routes()))

    with TestClient(app, follow_redirects=False) as client:
        for number in range(300):
            path = ("", "/api", "/raw", f"/right/{number}", "/users")[number % 5]
            client.request(f"M{number}", f"{path}/{number}/{'x' * number}")
    assert set(_visits(app.monitor)) <= {
        "(unmatched)",
        "_OTHER /api/*",
        "_OTHER /raw/*",
        "_OTHER /right/{side}/*",
    }


def test_nothing_is_kept(watch_asgi: Watch) -> None:
    """Once a visit is over, nothing of its request is held."""
    requests = []

    async def view(request: Request) -> PlainTextResponse:
        requests.append(weakref.ref(request))
        return PlainTextResponse("seen")

    app = watch_asgi(Starlette(routes=[Route("/", view)]))

    assert TestClient(app).get("/").text == "seen"
    gc.collect()
    assert [request() for request in requests] == [None]


def test_views(watch_asgi: Watch) -> None:
    """An endpoint knows where its view's code stands; a mount of routes has no code of its own."""
    app = watch_asgi(Starlette(routes=_routes()))
    client = TestClient(app)
    client.get("/blocking")
    client.get("/api/nope")

    endpoints = app.monitor.endpoints()
    line = _blocking.__code__.co_firstlineno
    assert [span[:2] for span in endpoints["GET /blocking"].views] == [(__file__, line)]
    assert endpoints["GET /api/*"].views == ()
