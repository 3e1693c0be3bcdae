"""One contract for all faces: what an app behind any of them can rely on."""

from __future__ import annotations

import asyncio
import gc
import io
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path as django_path
from fastapi import FastAPI
from fastapi import Request as AsgiRequest
from flask import Flask, Response
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from leakmw import asgi, wsgi
from leakmw.flask import LeakMW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from leakmw.monitor import Monitor

    Layers = Sequence[dict[str, Any]]
    Watched = tuple[Any, list[Monitor]]

pytestmark = [
    pytest.mark.usefixtures("only_new_garbage"),
    # Django's ASGI handler does not close the request's body when a view raises
    pytest.mark.filterwarnings("ignore:Unclosed file <tempfile:ResourceWarning"),
]

TOKEN = "correct-horse-battery"
BEARER = {"authorization": f"Bearer {TOKEN}"}
METHODS = ["GET", "HEAD", "POST"]
CHUNKS = [b"one ", b"two ", b"three"]
OWN_LEAKS = "/__leaks__/api/gc"


class BrokenError(Exception):
    """What the app raises."""


class Canary:
    """What must not outlive its request."""


@dataclass
class Shop:
    """What happens in an app, in the order in which it happens."""

    configure: Callable[..., None]
    events: list[str] = field(default_factory=list)
    canary: weakref.ref[Canary] | None = None

    def hold(self, carried: Any) -> None:
        """Hang a canary on what belongs to one request."""
        canary = Canary()
        self.canary = weakref.ref(canary)
        carried["test.canary"] = canary

    def stream(self, fail_after: int = len(CHUNKS)) -> Iterator[bytes]:
        """Make the chunks one by one."""
        try:
            for number, chunk in enumerate(CHUNKS):
                if number == fail_after:
                    raise BrokenError("late")
                self.events.append(f"made {number}")
                yield chunk
        finally:
            self.events.append("closed")

    async def astream(self, fail_after: int = len(CHUNKS)) -> AsyncIterator[bytes]:
        """Make the chunks one by one."""
        try:
            for number, chunk in enumerate(CHUNKS):
                if number == fail_after:
                    raise BrokenError("late")
                self.events.append(f"made {number}")
                yield chunk
                await asyncio.sleep(0)
        finally:
            self.events.append("closed")


class Answer(NamedTuple):
    """What a client has seen of one exchange."""

    status: int | None
    headers: list[tuple[str, str]]
    chunks: list[bytes]
    error: type[BaseException] | None


class Request(NamedTuple):
    """What a client does: it may leave after the headers, or after some chunks."""

    path: str
    method: str = "GET"
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  # nobody changes it
    leaves_after: int | None = None


def plain_wsgi(shop: Shop) -> Any:
    """Return the shop as a function of PEP 3333."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        headers = [("Content-Type", "text/plain"), ("X-Twice", "1"), ("X-Twice", "2")]
        if path == "/broken":
            raise BrokenError
        if path in {"/hello", "/held"}:
            if path == "/held":
                shop.hold(environ)
            start_response("200 OK", headers)
            return [b"hello"]
        if path in {"/stream", "/late"}:
            start_response("200 OK", headers)
            return shop.stream(*([1] if path == "/late" else []))
        if path == "/echo" or path.startswith("/__leaks__"):
            length = int(environ["CONTENT_LENGTH"] or 0)
            start_response("200 OK", headers)
            return [b"echo ", environ["wsgi.input"].read(length)]
        start_response("404 Not Found", headers)
        return [b"missing"]

    return app


def flask_app(shop: Shop) -> Flask:
    """Return the shop in Flask."""
    app = Flask("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = True

    def held() -> str:
        shop.hold(flask_request.environ)
        return "hello"

    def broken() -> str:
        raise BrokenError

    def echo(rest: str = "") -> bytes:
        return b"echo " + flask_request.get_data()

    app.add_url_rule("/hello", view_func=lambda: "hello", endpoint="hello")
    app.add_url_rule("/held", view_func=held)
    app.add_url_rule("/broken", view_func=broken)
    app.add_url_rule("/stream", endpoint="s", view_func=lambda: Response(shop.stream()))
    app.add_url_rule("/late", endpoint="l", view_func=lambda: Response(shop.stream(1)))
    app.add_url_rule("/echo", view_func=echo, methods=["POST"])
    app.add_url_rule("/__leaks__/<path:rest>", view_func=echo, methods=["GET", "POST"])
    return app


def django_urls(shop: Shop, stream: Callable[..., Any]) -> type:
    """Return the shop as URLs of Django."""

    def held(request: Any) -> HttpResponse:
        shop.hold(request.META)
        return HttpResponse("hello")

    def broken(request: Any) -> HttpResponse:
        raise BrokenError

    def echo(request: Any, rest: str = "") -> HttpResponse:
        return HttpResponse(b"echo " + request.body)

    class Urls:
        urlpatterns = (
            django_path("hello", lambda request: HttpResponse("hello")),
            django_path("held", held),
            django_path("broken", broken),
            django_path("stream", lambda request: StreamingHttpResponse(stream())),
            django_path("late", lambda request: StreamingHttpResponse(stream(1))),
            django_path("echo", echo),
            django_path("__leaks__/<path:rest>", echo),
        )

    return Urls


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def plain_asgi(shop: Shop) -> Any:
    """Return the shop as a coroutine function."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        found = path in {"/hello", "/held", "/stream", "/late", "/echo"}
        found = found or path.startswith("/__leaks__")
        if path == "/broken":
            raise BrokenError
        if path == "/held":
            shop.hold(scope)
        body = await _body(receive)
        status, headers = 200 if found else 404, [(b"x-twice", b"1"), (b"x-twice", b"2")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if path in {"/stream", "/late"}:
            async for chunk in shop.astream(*([1] if path == "/late" else [])):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        elif path in {"/hello", "/held"}:
            body = b"hello"
        await send({"type": "http.response.body", "body": body})

    return app


def starlette_views(shop: Shop) -> dict[str, Any]:
    """Return the shop as views of Starlette and FastAPI."""

    async def hello(request: AsgiRequest) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def held(request: AsgiRequest) -> PlainTextResponse:
        shop.hold(request.scope)
        return PlainTextResponse("hello")

    async def broken(request: AsgiRequest) -> PlainTextResponse:
        raise BrokenError

    async def stream(request: AsgiRequest) -> StreamingResponse:
        return StreamingResponse(shop.astream())

    async def late(request: AsgiRequest) -> StreamingResponse:
        return StreamingResponse(shop.astream(1))

    async def echo(request: AsgiRequest) -> PlainTextResponse:
        return PlainTextResponse(b"echo " + await request.body())

    return {
        "/hello": hello,
        "/held": held,
        "/broken": broken,
        "/stream": stream,
        "/late": late,
        "/echo": echo,
        "/__leaks__/{rest:path}": echo,
    }


def watch_wsgi(shop: Shop, layers: Layers) -> Watched:
    """Watch the plain WSGI app."""
    return _wrapped(plain_wsgi(shop), wsgi.LeakMiddleware, layers)


def watch_asgi(shop: Shop, layers: Layers) -> Watched:
    """Watch the plain ASGI app."""
    return _wrapped(plain_asgi(shop), asgi.LeakMiddleware, layers)


def _wrapped(app: Any, middleware: Any, layers: Layers) -> Watched:
    monitors = []
    for layer in layers:
        app = middleware(app, **layer)
        if isinstance(app, middleware):
            monitors.append(app.monitor)
    return app, monitors


def watch_flask(shop: Shop, layers: Layers) -> Watched:
    """Watch the Flask app."""
    app, monitors = flask_app(shop), []
    for layer in layers:
        LeakMW(app, **layer)
        if "leakmw" in app.extensions:
            monitors.append(app.extensions["leakmw"])
    return app, monitors


def watch_starlette(shop: Shop, layers: Layers) -> Watched:
    """Watch the Starlette app."""
    views = starlette_views(shop).items()
    app = Starlette(routes=[Route(path, view, methods=METHODS) for path, view in views])
    return app, _add(app, layers)


def watch_fastapi(shop: Shop, layers: Layers) -> Watched:
    """Watch the FastAPI app."""
    app = FastAPI()
    for path, view in starlette_views(shop).items():
        app.add_api_route(path, view, methods=METHODS)
    return app, _add(app, layers)


def _add(app: Starlette, layers: Layers) -> list[Monitor]:
    """Add the face as often as there are layers, and return the monitors, innermost first."""
    for layer in layers:
        app.add_middleware(asgi.LeakMiddleware, **layer)
    part: Any = app.build_middleware_stack()
    app.middleware_stack = part
    monitors: list[Monitor] = []
    while part is not None:
        if isinstance(part, asgi.LeakMiddleware):
            monitors.insert(0, part.monitor)
        part = getattr(part, "app", None)
    return monitors


def watch_django_sync(shop: Shop, layers: Layers) -> Watched:
    """Watch Django behind WSGI."""
    return _watch_django(WSGIHandler, wsgi.LeakMiddleware, shop, shop.stream, layers)


def watch_django_async(shop: Shop, layers: Layers) -> Watched:
    """Watch Django behind ASGI."""
    return _watch_django(ASGIHandler, asgi.LeakMiddleware, shop, shop.astream, layers)


def _watch_django(handler: Any, outer: Any, shop: Shop, stream: Any, layers: Layers) -> Watched:
    """Put the innermost layer into MIDDLEWARE, and further ones around Django."""
    shop.configure(
        ROOT_URLCONF=django_urls(shop, stream),
        MIDDLEWARE=["leakmw.django.LeakMiddleware"] if layers else [],
        LEAKMW=layers[0] if layers else {},
    )
    app = handler()
    middleware = app._middleware_chain.__wrapped__
    monitors = [middleware.monitor] if hasattr(middleware, "monitor") else []
    app, around = _wrapped(app, outer, layers[1:])
    return app, monitors + around


def over_wsgi(app: Any, request: Request, events: list[str]) -> Answer:
    """Serve *request* as PEP 3333 tells a server to."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
        **{f"HTTP_{name.upper()}": value for name, value in request.headers.items()},
    }
    setup_testing_defaults(environ)
    started: list[tuple[str, list[tuple[str, str]]]] = []
    chunks: list[bytes] = []
    error = None
    body: Any = ()

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        started.append((status, headers))

    try:
        body = app(environ, start_response)
        for chunk in body if request.leaves_after != 0 else ():
            events.append("got")
            chunks.append(chunk)
            if len(chunks) == request.leaves_after:
                break
    except BrokenError as raised:
        error = type(raised)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = started[-1] if started else (None, [])
    return Answer(int(status[:3]) if status else None, headers, chunks, error)


def over_asgi(app: Any, request: Request, events: list[str]) -> Answer:
    """Serve *request* as an ASGI server does."""
    return asyncio.run(_over_asgi(app, request, events))


async def _over_asgi(app: Any, request: Request, events: list[str]) -> Answer:
    headers = {"host": "127.0.0.1", "content-length": str(len(request.body)), **request.headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 5000),
    }
    to_come = [{"type": "http.request", "body": request.body, "more_body": False}]
    started: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    error = None

    async def receive() -> dict[str, Any]:
        if not to_come:
            await asyncio.Event().wait()
        return to_come.pop()

    async def send(message: dict[str, Any]) -> None:
        if len(chunks) == request.leaves_after:
            raise OSError("the client has gone")
        if message["type"] == "http.response.start":
            started.append(message)
        elif message.get("body"):
            events.append("got")
            chunks.append(message["body"])

    try:
        await app(scope, receive, send)
    except Exception as raised:  # noqa: BLE001  # what a server has to do
        error = type(raised)
    if not started:
        return Answer(None, [], chunks, error)
    pairs = [(name.decode(), value.decode()) for name, value in started[-1]["headers"]]
    return Answer(started[-1]["status"], pairs, chunks, error)


@dataclass
class Face:
    """One kind of app, and what it takes to watch and to serve it."""

    watch: Callable[[Shop, Layers], Watched]
    serve: Callable[[Any, Request, list[str]], Answer]
    shop: Shop
    monitors: list[Monitor] = field(default_factory=list)

    def app(self, *layers: dict[str, Any]) -> Any:
        """Return a new app within as many faces as there are *layers* of settings."""
        self.shop.events.clear()
        app, self.monitors[:] = self.watch(self.shop, layers)
        return app

    def get(self, app: Any, path: str, **request: Any) -> Answer:
        """Send one request."""
        return self.serve(app, Request(path, **request), self.shop.events)

    def visits(self) -> list[dict[str, int]]:
        """Return the visits by name of each monitor, innermost first."""
        return [
            {name: known.visits for name, known in monitor.endpoints().items()}
            for monitor in self.monitors
        ]


FACES = {
    "plain WSGI": (watch_wsgi, over_wsgi),
    "plain ASGI": (watch_asgi, over_asgi),
    "Flask": (watch_flask, over_wsgi),
    "Django sync": (watch_django_sync, over_wsgi),
    "Django async": (watch_django_async, over_asgi),
    "Starlette": (watch_starlette, over_asgi),
    "FastAPI": (watch_fastapi, over_asgi),
}


@pytest.fixture(name="face", params=list(FACES.values()), ids=list(FACES))
def _face(
    request: pytest.FixtureRequest, django_configured: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Face]:
    def configure(**settings: Any) -> None:
        for name, value in settings.items():
            monkeypatch.setattr(django_settings, name, value, raising=False)

    started: list[Monitor] = []
    watch, serve = request.param

    def watch_until_the_end(shop: Shop, layers: Layers) -> Watched:
        app, monitors = watch(shop, layers)
        started.extend(monitors)
        return app, monitors

    yield Face(watch_until_the_end, serve, Shop(configure))
    for monitor in started:
        monitor.close()


REQUESTS = {
    "GET /hello": Request("/hello"),
    "HEAD /hello": Request("/hello", "HEAD"),
    "GET /stream": Request("/stream"),
    "GET /late": Request("/late"),
    "GET /broken": Request("/broken"),
    "POST /echo": Request("/echo", "POST", b"ping"),
    "(unmatched)": Request("/missing"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_answer_is_what_it_was_without_leakmw(face: Face, name: str) -> None:
    """Status, headers, chunks, exception and the order of events are the bare app's; it counts."""
    bare = face.serve(face.app(), REQUESTS[name], face.shop.events)
    events = list(face.shop.events)

    watched = face.serve(face.app({}), REQUESTS[name], face.shop.events)
    gc.collect()  # Django does not close a response that failed half-way

    assert watched == bare
    assert face.shop.events == events
    assert face.visits() == [{name: 1}]


@pytest.mark.parametrize("path", ["/hello", "/stream"])
@pytest.mark.parametrize("leaves_after", [0, 1])
def test_a_client_that_leaves_is_counted_once(face: Face, path: str, leaves_after: int) -> None:
    """The visit ends, and the app notices what it would have noticed without leakmw."""
    bare = face.get(face.app(), path, leaves_after=leaves_after)
    events = list(face.shop.events)

    watched = face.get(face.app({}), path, leaves_after=leaves_after)
    gc.collect()  # whoever should have closed the response may have dropped it

    assert watched == bare
    assert sum(face.visits()[0].values()) == 1
    assert face.shop.events == events


def test_a_visit_lasts_until_the_response_is_over(face: Face) -> None:
    """While a response streams, its visit is not counted yet."""
    app = face.app({})
    counted = []

    class Watching(list[str]):
        def append(self, event: str) -> None:
            counted.append(sum(sum(visits.values()) for visits in face.visits()))

    face.serve(app, Request("/stream"), Watching())

    assert counted == [0, 0, 0]
    assert face.visits() == [{"GET /stream": 1}]


@pytest.mark.parametrize("path", ["/hello", "/stream", "/broken"])
def test_wrapped_twice_counts_once(face: Face, path: str) -> None:
    """Of two faces around one app the outer one counts, by the name the app's router knows."""
    bare = face.get(face.app(), path)

    watched = face.get(face.app({}, {}), path)

    assert watched == bare
    assert face.visits() == [{}, {f"GET {path}": 1}]


def test_nothing_of_a_request_is_kept(face: Face) -> None:
    """What hangs on the environ or scope is gone after the visit."""
    app = face.app({})

    face.get(app, "/held")
    gc.collect()

    assert face.shop.canary is not None
    assert face.shop.canary() is None


def test_an_endpoint_callable_names_the_visit(face: Face) -> None:
    """The user's own naming wins over the router's, and None leaves it to the router."""
    app = face.app({"endpoint": lambda request: "mine" if "hello" in str(request) else None})

    face.get(app, "/hello")
    face.get(app, "/held")

    assert face.visits() == [{"mine": 1, "GET /held": 1}]


def test_an_endpoint_callable_that_raises_changes_no_response(face: Face) -> None:
    """The answer is the bare app's, and the visit is counted as unmatched."""
    bare = face.get(face.app(), "/hello")

    watched = face.get(face.app({"endpoint": lambda request: 1 / 0}), "/hello")

    assert watched == bare
    assert face.visits() == [{"(unmatched)": 1}]


def test_a_visit_is_counted_anew_when_the_next_request_comes(face: Face) -> None:
    """The second request is as good as the first."""
    app = face.app({})

    answers = [face.get(app, "/hello").chunks for _ in range(3)]

    assert answers == [[b"hello"]] * 3
    assert face.visits() == [{"GET /hello": 3}]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-horse-battery"}])
@pytest.mark.parametrize("settings", [{}, {"token": TOKEN}])
def test_without_the_token_the_admin_path_is_the_apps(
    face: Face, settings: dict[str, str], headers: dict[str, str]
) -> None:
    """Whoever brings no token, or where there is none, gets the app's answer to the whole body."""
    request = Request(OWN_LEAKS, "POST", b"ping", headers)
    bare = face.serve(face.app(), request, face.shop.events)

    watched = face.serve(face.app(settings), request, face.shop.events)

    assert watched == bare
    assert b"ping" in b"".join(watched.chunks)
    assert sum(face.visits()[0].values()) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_with_the_token_the_admin_path_is_ours(face: Face, method: str) -> None:
    """Who brings the token gets our answer, which is no visit of the app."""
    app = face.app({"token": TOKEN})

    answer = face.get(app, OWN_LEAKS, method=method, headers=BEARER)

    headers = {name.lower(): value for name, value in answer.headers}
    assert answer.status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert (b'"counts"' in b"".join(answer.chunks)) == (method == "GET")
    assert face.visits() == [{}]


def test_a_change_is_made_through_every_face(face: Face) -> None:
    """A POST with the token reaches the service with its body."""
    app = face.app({"token": TOKEN})
    path = "/__leaks__/api/snapshots"

    taken = face.get(app, path, method="POST", headers=BEARER)
    too_much = face.get(app, path, method="POST", headers=BEARER, body=b" " * 5000)

    assert taken.status == 201
    assert too_much.status == 413


def test_an_admin_service_that_fails_answers_500(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own mistake is not the app's: whoever has the token is told, all others go on."""
    app = face.app({"token": TOKEN})
    monkeypatch.setattr("leakmw.admin.service.Service.handle", lambda *_: 1 / 0)

    assert face.get(app, OWN_LEAKS, headers=BEARER).status == 500
    assert face.get(app, "/hello").chunks == [b"hello"]


@pytest.mark.parametrize("name", REQUESTS)
def test_disabled_is_as_if_it_were_not_there(face: Face, name: str) -> None:
    """With ``enabled=False`` the app answers as the bare one does, and nothing counts."""
    bare = face.serve(face.app(), REQUESTS[name], face.shop.events)

    watched = face.serve(face.app({"enabled": False}), REQUESTS[name], face.shop.events)

    assert watched == bare
    assert face.monitors == []
