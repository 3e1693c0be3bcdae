"""Apps of every framework, built in the same way; their views are the framework's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from catalog import page

NUMBER: ContextVar[int] = ContextVar("zoo_number", default=0)
"""Number of the request being served: no two are alike."""

View = Callable[..., Any]


class AppError(Exception):
    """What a view raises where its request is to fail."""


class Shop:
    """Collects views, and makes an app of them.

    Attributes:
        framework: What the app is written with.
        speaks_asgi: Whether the app is an ASGI app.
        views: By path.
    """

    def __init__(self, framework: str) -> None:
        self.framework = framework
        self.speaks_asgi = framework in {"starlette", "fastapi", "asgi"}
        self.views: dict[str, View] = {}
        for path, body in (("/", page), ("/search", found)):
            self.add(path, _healthy(self, body))

    @staticmethod
    def number() -> int:
        """Return the number of the request being served."""
        return NUMBER.get()

    def text(self, body: str, after: Callable[[], Any] | None = None) -> Any:
        """Return an answer; Starlette and FastAPI call *after* when it is sent."""
        return _ANSWERS[self.framework](body, after)

    def add(self, path: str, view: View) -> None:
        """Serve *path* by *view*, a coroutine function or not."""
        self.views[path] = view

    def app(self) -> Any:
        """Return the app."""
        return _APPS[self.framework](self.views)


def found() -> str:
    """Return a text made of many small objects."""
    every = [{"id": number, "name": f"product {number}"} for number in range(100)]
    return ", ".join(str(one["name"]) for one in every)


def _healthy(shop: Shop, body: Callable[[], str]) -> View:
    def healthy(_request: Any = None) -> Any:
        return shop.text(body())

    async def healthy_async(_request: Any = None) -> Any:
        return shop.text(body())

    return healthy_async if shop.speaks_asgi else healthy


def _plain_text(body: str, _after: Callable[[], Any] | None) -> str:
    return body


def _django_text(body: str, _after: Callable[[], Any] | None) -> Any:
    from django.http import HttpResponse

    return HttpResponse(body)


def _starlette_text(body: str, after: Callable[[], Any] | None) -> Any:
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(body, background=BackgroundTask(after) if after else None)


def _flask(views: Mapping[str, View]) -> Any:
    from flask import Flask

    app = Flask("shop")
    app.logger.disabled = True
    for path, view in views.items():
        app.add_url_rule(path, path, view, methods=["GET"])
    return app


def _django(views: Mapping[str, View]) -> Any:
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.urls import path as route

    patterns = [route(path.removeprefix("/"), view) for path, view in views.items()]
    settings.configure(
        ROOT_URLCONF=type("urls", (), {"urlpatterns": patterns}),
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
    )
    import django

    django.setup()
    return WSGIHandler()


def _wsgi(views: Mapping[str, View]) -> Any:
    def app(environ: Mapping[str, Any], start_response: Any) -> list[bytes]:
        body = views[environ["PATH_INFO"]]()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body.encode()]

    return app


def _starlette(views: Mapping[str, View]) -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(routes=[Route(path, view) for path, view in views.items()])


def _fastapi(views: Mapping[str, View]) -> Any:
    from fastapi import FastAPI

    app = FastAPI()
    for path, view in views.items():
        app.add_api_route(path, view, response_model=None)
    return app


def _asgi(views: Mapping[str, View]) -> Any:
    async def app(scope: Mapping[str, Any], _receive: Any, send: Any) -> None:
        body = views[scope["path"]]()
        body = await body if inspect.isawaitable(body) else body
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})

    return app


_ANSWERS: Mapping[str, Callable[[str, Callable[[], Any] | None], Any]] = {
    "flask": _plain_text,
    "django": _django_text,
    "wsgi": _plain_text,
    "starlette": _starlette_text,
    "fastapi": _starlette_text,
    "asgi": _plain_text,
}
_APPS: Mapping[str, Callable[[Mapping[str, View]], Any]] = {
    "flask": _flask,
    "django": _django,
    "wsgi": _wsgi,
    "starlette": _starlette,
    "fastapi": _fastapi,
    "asgi": _asgi,
}
