"""``leakmw.install``: the right face for whatever the app is."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

import leakmw
from leakmw import asgi, wsgi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.monitor import Monitor


def plain_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Answer anything."""
    start_response("200 OK", [])
    return [b"answer"]


class WsgiClass:
    """An app whose instances are the responses, as PEP 3333 has it."""

    def __init__(self, environ: Any, start_response: Any) -> None:
        start_response("200 OK", [])

    def __iter__(self) -> Iterator[bytes]:
        yield b"answer"


class WsgiObject:
    """An app with a method, and an option that no server gives."""

    def __call__(self, environ: Any, start_response: Any, option: Any = None) -> list[bytes]:
        """Answer anything."""
        return plain_wsgi(environ, start_response)

    method = __call__


async def plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer anything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})


class AsgiObject:
    """An app with a method."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer anything."""
        await plain_asgi(scope, receive, send)

    async def optional(self, scope: Any, receive: Any = None, send: Any = None) -> None:
        """Answer as ASGI, though it could be called as WSGI."""
        await plain_asgi(scope, receive, send)


def asgi_by_promise(scope: Any, receive: Any, send: Any) -> Any:
    """Answer as ASGI without being a coroutine function."""
    return plain_asgi(scope, receive, send)


WSGI_APPS: dict[str, Any] = {
    "function": plain_wsgi,
    "class": WsgiClass,
    "object": WsgiObject(),
    "method": WsgiObject().method,
    "partial": functools.partial(plain_wsgi),
    "any arguments": lambda *given: list(plain_wsgi(*given)),
}
ASGI_APPS: dict[str, Any] = {
    "function": plain_asgi,
    "object": AsgiObject(),
    "method": AsgiObject().__call__,
    "optional": AsgiObject().optional,
    "promise": asgi_by_promise,
    "partial": functools.partial(plain_asgi),
}


@pytest.fixture(name="install")
def _install() -> Iterator[Callable[..., Any]]:
    """Install leakmw until the end of the test."""
    monitors: list[Monitor] = []

    def install(app: Any, **overrides: Any) -> Any:
        watched = leakmw.install(app, **overrides)
        monitors.extend(found(watched))
        return watched

    yield install
    for monitor in monitors:
        monitor.close()


def found(watched: Any) -> list[Monitor]:
    """Return the monitors of what was installed."""
    if isinstance(watched, Flask):
        return [watched.extensions["leakmw"]] if watched.extensions else []
    if isinstance(watched, Starlette):
        part: Any = watched.build_middleware_stack()
        watched.middleware_stack = part
        while part is not None and not isinstance(part, asgi.LeakMiddleware):
            part = getattr(part, "app", None)
        return [part.monitor] if part is not None else []
    return [watched.monitor] if hasattr(watched, "monitor") else []


def serve_wsgi(app: Any, where: str = "/users/7") -> bytes:
    """Serve one request as a WSGI server does."""
    environ: dict[str, Any] = {"PATH_INFO": where}
    setup_testing_defaults(environ)
    body = app(environ, lambda status, headers, exc_info=None: None)
    try:
        return b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()


def serve_asgi(app: Any, where: str = "/users/7") -> bytes:
    """Serve one request as an ASGI server does."""
    body = []
    to_come = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return to_come.pop() if to_come else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        body.append(message.get("body", b""))

    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1"}
    scope |= {"method": "GET", "path": where, "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send))
    return b"".join(body)


def visits(watched: Any) -> dict[str, int]:
    """Return the visits by name."""
    (monitor,) = found(watched)
    return {name: known.visits for name, known in monitor.endpoints().items()}


@pytest.mark.parametrize("app", list(WSGI_APPS.values()), ids=list(WSGI_APPS))
def test_a_wsgi_callable_gets_the_wsgi_face(install: Callable[..., Any], app: Any) -> None:
    """Whatever can be called with environ and start_response is wrapped, and serves on."""
    watched = install(app)

    assert isinstance(watched, wsgi.LeakMiddleware)
    assert serve_wsgi(watched) == b"answer"
    assert visits(watched) == {"GET /users/7": 1}


@pytest.mark.parametrize("app", list(ASGI_APPS.values()), ids=list(ASGI_APPS))
def test_an_asgi_callable_gets_the_asgi_face(install: Callable[..., Any], app: Any) -> None:
    """Whatever can be called with scope, receive and send is wrapped, and serves on."""
    watched = install(app)

    assert isinstance(watched, asgi.LeakMiddleware)
    assert serve_asgi(watched) == b"answer"
    assert visits(watched) == {"GET /users/7": 1}


def test_a_flask_app_is_watched_in_place(install: Callable[..., Any]) -> None:
    """It is the same app, so that its test client and its commands go on working."""
    app = Flask("shop")
    app.add_url_rule("/users/<int:uid>", "user", lambda uid: "answer")

    assert install(app, every=10) is app
    assert serve_wsgi(app) == b"answer"
    assert visits(app) == {"GET /users/<int:uid>": 1}


@pytest.mark.parametrize("make", [Starlette, FastAPI])
def test_a_starlette_app_is_watched_in_place(install: Callable[..., Any], make: Any) -> None:
    """It is the same app, with one middleware more."""

    async def user(request: Any) -> Any:
        return starlette_answer()

    app = make()
    app.router.add_route("/users/{uid:int}", user)

    assert install(app, every=10) is app
    (monitor,) = found(app)
    body = serve_asgi(app)
    names = list(monitor.endpoints())
    monitor.close()

    assert body == b"answer"
    assert names == ["GET /users/{uid:int}"]


def starlette_answer() -> Any:
    """Return a response of Starlette's."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("answer")


@pytest.mark.parametrize(
    "side", [(WSGIHandler, serve_wsgi), (ASGIHandler, serve_asgi)], ids=["WSGI", "ASGI"]
)
@pytest.mark.parametrize("middleware", [[], ["leakmw.django.LeakMiddleware"]])
@pytest.mark.usefixtures("django_configured")
def test_a_handler_of_django_is_named_by_its_routes(
    monkeypatch: pytest.MonkeyPatch, install: Callable[..., Any], side: Any, middleware: list[str]
) -> None:
    """It takes no line in the settings, and with our middleware in them it counts once."""
    handler, serve = side
    urls = (path("users/<int:uid>", lambda request, uid: HttpResponse("answer")),)
    monkeypatch.setattr(django_settings, "ROOT_URLCONF", urls, raising=False)
    monkeypatch.setattr(django_settings, "MIDDLEWARE", middleware)
    watched = install(handler())

    bodies = [serve(watched, where) for where in ("/users/7", "/users/8", "/none")]

    assert bodies[:2] == [b"answer", b"answer"]
    assert visits(watched) == {"GET /users/<int:uid>": 2, "(unmatched)": 1}


@pytest.mark.usefixtures("django_configured")
def test_a_handler_of_django_reads_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """``LEAKMW`` holds, and what is given in code wins over it."""
    monkeypatch.setattr(django_settings, "LEAKMW", {"every": 0}, raising=False)
    handler = WSGIHandler()

    with pytest.raises(leakmw.SettingsError, match="'every'"):
        leakmw.install(handler)
    monkeypatch.setattr(django_settings, "LEAKMW", {"enabled": False}, raising=False)
    assert leakmw.install(handler) is handler
    assert leakmw.install(handler, enabled=True) is not handler


@pytest.mark.parametrize(
    "make", [lambda: Flask("shop"), Starlette, FastAPI, lambda: plain_wsgi, lambda: plain_asgi]
)
def test_disabled_changes_nothing(make: Any) -> None:
    """The app comes back as it was."""
    app = make()

    assert leakmw.install(app, enabled=False) is app
    assert found(app) == []


@pytest.mark.parametrize("make", [lambda: Flask("shop"), Starlette, FastAPI, lambda: plain_wsgi])
def test_a_wrong_setting_is_an_error_at_once(make: Any) -> None:
    """Not at the first request."""
    with pytest.raises(leakmw.SettingsError, match="'evry'"):
        leakmw.install(make(), evry=1)


@pytest.mark.parametrize(
    "thing", [None, 7, "shop:app", object(), lambda: None, lambda scope: None, dict]
)
def test_what_is_no_app_is_refused(thing: object) -> None:
    """The message says what it is and what would do."""
    with pytest.raises(TypeError, match=type(thing).__name__) as refused:
        leakmw.install(thing)
    assert "leakmw.wsgi.LeakMiddleware" in str(refused.value)


def test_installing_imports_no_framework_that_is_not_there() -> None:
    """A plain WSGI app pays for no framework, nor does a plain ASGI app."""
    script = (
        "import sys, leakmw\n"
        "leakmw.install(lambda environ, start_response: [])\n"
        "async def app(scope, receive, send): ...\n"
        "leakmw.install(app)\n"
        "print({'flask', 'werkzeug', 'django', 'starlette', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
