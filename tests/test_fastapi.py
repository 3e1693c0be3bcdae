"""The ASGI face around FastAPI: routers with prefixes, nested, included twice and mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

    from leakmw.monitor import Monitor

    Visited = tuple[str, str, int, str]
    Watch = Callable[..., LeakMiddleware]


async def _plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


def _shop() -> FastAPI:
    """Return an app with routers of every shape."""
    deep = APIRouter(prefix="/deep")

    @deep.get("/{z}")
    async def read_deep(z: str) -> str:
        return z

    items = APIRouter(prefix="/items")
    items.include_router(deep, prefix="/inner")

    @items.get("/{item}")
    def read_item(item: int) -> int:
        return item

    @items.put("/{item}")
    @items.patch("/{item}")
    def write_item(item: int) -> int:
        return item

    @items.websocket("/{item}/live")
    async def live(websocket: WebSocket, item: int) -> None:
        await websocket.accept()
        await websocket.close()

    items.add_route("/raw/{x}", _plain)

    app = FastAPI()
    app.include_router(items, prefix="/v1")
    app.include_router(items, prefix="/v2/{tenant}")

    @app.get("/")
    async def root() -> str:
        return "root"

    @app.get("/users/{name}")
    @app.get("/people/{name}")
    async def read_user(name: str) -> str:
        return name

    app.mount("/api", _mounted())
    app.mount("/star", Starlette(routes=[Route("/x/{y}", _plain)]))
    return app


def _mounted() -> FastAPI:
    """Return an app to be mounted, with an included router and an app mounted in turn."""
    router = APIRouter()

    @router.get("/q/{z}")
    async def read_q(z: int) -> int:
        return z

    inner = FastAPI()
    inner.include_router(router, prefix="/p")

    app = FastAPI()
    app.mount("/mnt/{org}", inner)

    @app.get("/hello/{n}")
    async def hello(n: str) -> str:
        return n

    return app


NAMES = [
    ("GET", "/", 200, "GET /"),
    ("GET", "/users/ann", 200, "GET /users/{name}"),
    ("GET", "/people/ann", 200, "GET /people/{name}"),
    ("GET", "/v1/items/3", 200, "GET /v1/items/{item}"),
    ("PUT", "/v1/items/3", 200, "PUT /v1/items/{item}"),
    ("PATCH", "/v2/acme/items/3", 200, "PATCH /v2/{tenant}/items/{item}"),
    ("GET", "/v2/acme/items/3", 200, "GET /v2/{tenant}/items/{item}"),
    ("GET", "/v1/items/inner/deep/3", 200, "GET /v1/items/inner/deep/{z}"),
    ("GET", "/v2/acme/items/inner/deep/3", 200, "GET /v2/{tenant}/items/inner/deep/{z}"),
    ("GET", "/v1/raw/3", 200, "GET /v1/raw/{x}"),
    ("GET", "/api/hello/ann", 200, "GET /api/hello/{n}"),
    ("GET", "/api/mnt/acme/p/q/1", 200, "GET /api/mnt/{org}/p/q/{z}"),
    ("GET", "/star/x/1", 200, "GET /star/x/{y}"),
    ("GET", "/docs", 200, "GET /docs"),
    ("GET", "/openapi.json", 200, "GET /openapi.json"),
    ("GET", "/api/openapi.json", 200, "GET /api/openapi.json"),
]
"""Method, path, status and name of what is answered by a route."""

MISSES = [
    ("GET", "/nope", 404, "(unmatched)"),
    ("GET", "/v1/items", 404, "(unmatched)"),
    ("GET", "/v1/items/no-number", 422, "GET /v1/items/{item}"),
    ("DELETE", "/v1/items/3", 405, "(unmatched)"),
    ("POST", "/", 405, "(unmatched)"),
    ("GET", "/users/ann/", 307, "(unmatched)"),
    ("GET", "/api/nope", 404, "GET /api/*"),
    ("GET", "/api/mnt/acme/nope", 404, "GET /api/mnt/{org}/*"),
]
"""Method, path, status and name of what is not."""


def _visits(monitor: Monitor) -> dict[str, int]:
    return {name: one.visits for name, one in monitor.endpoints().items() if one.visits}


def _visit(client: TestClient, monitor: Monitor, method: str, path: str) -> Visited:
    """Send one request, and see what it is answered by and counted under."""
    before = _visits(monitor)
    status = client.request(method, path).status_code
    (name,) = [name for name, count in _visits(monitor).items() if count != before.get(name, 0)]
    return method, path, status, name


def test_route_names(watch_asgi: Watch) -> None:
    """A visit has the name of its route, with the prefixes of all routers and mounts."""
    app = watch_asgi(_shop())
    client = TestClient(app)

    assert [_visit(client, app.monitor, method, path) for method, path, *_ in NAMES] == NAMES


def test_no_route(watch_asgi: Watch) -> None:
    """What no route took is unmatched or its mount's; what a route refused is the route's."""
    app = watch_asgi(_shop())
    client = TestClient(app, follow_redirects=False)

    assert [_visit(client, app.monitor, method, path) for method, path, *_ in MISSES] == MISSES


@pytest.mark.parametrize("version", ["v1", "v2/acme"])
def test_websocket(watch_asgi: Watch, version: str) -> None:
    """A websocket of an included router has its prefix, too."""
    app = watch_asgi(_shop())

    with TestClient(app).websocket_connect(f"/{version}/items/3/live"):
        pass
    tenant = version.replace("acme", "{tenant}")
    assert _visits(app.monitor) == {f"WS /{tenant}/items/{{item}}/live": 1}


def test_add_middleware() -> None:
    """In the app's own stack it names as it does around the app."""
    app = _shop()
    app.add_middleware(LeakMiddleware, every=100)
    client = TestClient(app)

    for path in ("/v1/items/1", "/v2/acme/items/2", "/api/hello/ann", "/api/hello/bob"):
        assert client.get(path).status_code == 200
    layer: Any = app.middleware_stack
    while not isinstance(layer, LeakMiddleware):
        layer = layer.app
    layer.monitor.close()
    assert _visits(layer.monitor) == {
        "GET /v1/items/{item}": 1,
        "GET /v2/{tenant}/items/{item}": 1,
        "GET /api/hello/{n}": 2,
    }


def test_until_everything_is_done(watch_asgi: Watch) -> None:
    """A visit lasts until dependencies are torn down and background tasks have ended."""
    seen = []

    def connection() -> Iterator[str]:
        yield "open"
        seen.append(("teardown", _visits(app.monitor)))

    def later() -> None:
        seen.append(("task", _visits(app.monitor)))

    fastapi = FastAPI()

    @fastapi.get("/", dependencies=[Depends(connection)])
    def root(tasks: BackgroundTasks) -> str:
        tasks.add_task(later)
        return "root"

    app = watch_asgi(fastapi)

    assert TestClient(app).get("/").json() == "root"
    assert sorted(seen) == [("task", {}), ("teardown", {})]
    assert _visits(app.monitor) == {"GET /": 1}


def test_routes_added_later(watch_asgi: Watch) -> None:
    """Routes and routers that come after the first visit have their names at once."""
    fastapi = FastAPI()
    router = APIRouter(prefix="/router")

    @router.get("/old")
    def old() -> str:
        return "old"

    fastapi.include_router(router, prefix="/a")
    app = watch_asgi(fastapi)
    client = TestClient(app)
    assert client.get("/a/router/old").status_code == 200

    @fastapi.get("/new/{x}")
    def new(x: str) -> str:
        return x

    fastapi.include_router(router, prefix="/b/{x}")
    assert client.get("/new/1").status_code == 200
    assert client.get("/b/1/router/old").status_code == 200
    assert _visits(app.monitor) == {
        "GET /a/router/old": 1,
        "GET /new/{x}": 1,
        "GET /b/{x}/router/old": 1,
    }


def test_root_path(watch_asgi: Watch) -> None:
    """A root path given to the app is no part of a name, whether the proxy strips it or not."""
    fastapi = FastAPI()
    fastapi.root_path = "/proxied"

    @fastapi.get("/same/{x}")
    @fastapi.get("/other/{x}")
    def view(x: str) -> str:
        return x

    app = watch_asgi(fastapi)
    client = TestClient(app)

    assert client.get("/same/1").status_code == 200
    assert client.get("/proxied/other/1").status_code == 200
    assert _visits(app.monitor) == {"GET /same/{x}": 1, "GET /other/{x}": 1}


def test_mounted_in_starlette(watch_asgi: Watch) -> None:
    """A FastAPI app below a Starlette one has the mount's path in front."""
    app = watch_asgi(Starlette(routes=[Mount("/shop", _shop())]))
    client = TestClient(app)

    assert client.get("/shop/v2/acme/items/1").status_code == 200
    assert client.get("/shop/docs").status_code == 200
    assert _visits(app.monitor) == {
        "GET /shop/v2/{tenant}/items/{item}": 1,
        "GET /shop/docs": 1,
    }
