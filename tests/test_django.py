"""The Django face: every visit under the name of its route, behind both kinds of servers."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, Http404, HttpResponse, HttpResponseNotModified
from django.test import AsyncClient, Client
from django.urls import include, path, re_path
from django.views import View
from django.views.decorators.http import require_GET
from django.views.generic import RedirectView
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from leakmw import wsgi
from leakmw.django import LeakMiddleware
from leakmw.records import Span
from leakmw.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.monitor import Monitor

pytestmark = pytest.mark.usefixtures("only_new_garbage")

OURS = "leakmw.django.LeakMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
CACHING = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]


def answer(request: Any, **arguments: Any) -> HttpResponse:
    """Answer anything."""
    return HttpResponse("answer")


async def aanswer(request: Any, **arguments: Any) -> HttpResponse:
    """Answer anything, on the event loop, and say on which thread."""
    return HttpResponse(str(threading.get_ident()))


class Article(View):  # type: ignore[misc]  # Django has no types
    """A class-based view."""

    def get(self, request: Any, slug: str) -> HttpResponse:
        """Return the article's slug."""
        return HttpResponse(slug)


def failing(error: type[Exception]) -> Callable[..., HttpResponse]:
    """Return a view that raises."""

    def view(request: Any) -> HttpResponse:
        raise error

    return view


class Urls:
    """One of everything that Django routes by."""

    urlpatterns = (
        path("", answer),
        path("users/<int:pk>/", answer),
        path("async/<slug:name>", aanswer),
        path("articles/<slug:slug>", Article.as_view()),
        path("get-only", require_GET(answer)),
        path("gone", failing(Http404)),
        path("denied", failing(PermissionDenied)),
        path("failing", failing(ValueError)),
        path("away", RedirectView.as_view(url="/")),
        path("file", lambda request: FileResponse(io.BytesIO(b"file"))),
        re_path(r"^old/(?P<year>[0-9]{4})/$", answer),
        re_path(r"loose/(\d+)$", lambda request, number: answer(request)),
        path(
            "api/",
            include(
                [
                    path("", answer),
                    path("items/<uuid:item>", answer),
                    re_path(r"^v(?P<n>\d+)/x$", answer),
                    path("deep/", include([path("<str:leaf>", answer)])),
                ]
            ),
        ),
    )


NAMES = [
    ("GET", "/", "GET /"),
    ("HEAD", "/", "HEAD /"),
    ("POST", "/", "POST /"),
    ("GET", "/?q=1", "GET /"),
    ("GET", "/users/7/", "GET /users/<int:pk>/"),
    ("GET", "/async/ann", "GET /async/<slug:name>"),
    ("GET", "/articles/x", "GET /articles/<slug:slug>"),
    ("OPTIONS", "/articles/x", "OPTIONS /articles/<slug:slug>"),
    ("POST", "/articles/x", "POST /articles/<slug:slug>"),
    ("POST", "/get-only", "POST /get-only"),
    ("GET", "/gone", "GET /gone"),
    ("GET", "/denied", "GET /denied"),
    ("GET", "/failing", "GET /failing"),
    ("GET", "/away", "GET /away"),
    ("GET", "/file", "GET /file"),
    ("GET", "/old/1999/", r"GET /old/(?P<year>[0-9]{4})/$"),
    ("GET", "/loose/7", r"GET /loose/(\d+)$"),
    ("GET", "/api/", "GET /api/"),
    ("GET", "/api/items/12345678-1234-5678-1234-567812345678", "GET /api/items/<uuid:item>"),
    ("GET", "/api/v2/x", r"GET /api/v(?P<n>\d+)/x$"),
    ("GET", "/api/deep/leaf", "GET /api/deep/<str:leaf>"),
    ("GET", "/users/7", "(unmatched)"),
    ("GET", "/wp-login.php", "(unmatched)"),
    ("GET", "/api/items/none", "(unmatched)"),
]


@pytest.fixture(name="configure")
def _configure(django_configured: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change settings of Django until the end of the test."""

    def configure(**settings: Any) -> None:
        for name, value in settings.items():
            monkeypatch.setattr(django_settings, name, value, raising=False)

    configure(ROOT_URLCONF=Urls, MIDDLEWARE=[OURS, COMMON], LEAKMW={}, APPEND_SLASH=True)
    return configure


@pytest.fixture(name="started")
def _started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Monitor]]:
    """Return the monitors that the middleware has made in this test."""
    monitors: list[Monitor] = []
    make = LeakMiddleware.__init__

    def noted(self: LeakMiddleware, get_response: Any) -> None:
        make(self, get_response)
        monitors.append(self.monitor)

    monkeypatch.setattr(LeakMiddleware, "__init__", noted)
    yield monitors
    for monitor in monitors:
        monitor.close()


def visits(monitor: Monitor) -> dict[str, int]:
    """Return the visits by name."""
    gc.collect()  # Django's test client keeps some responses open
    return {name: known.visits for name, known in monitor.endpoints().items()}


def fetch_sync(method: str, where: str) -> Any:
    """Send one request through Django's WSGI side."""
    return Client(raise_request_exception=False).generic(method, where)


def fetch_async(method: str, where: str) -> Any:
    """Send one request through Django's ASGI side."""
    client = AsyncClient(raise_request_exception=False)
    return asyncio.run(client.generic(method, where))


@pytest.mark.parametrize("fetch", [fetch_sync, fetch_async])
@pytest.mark.parametrize("case", NAMES, ids=" ".join)
def test_a_visit_is_named_by_its_route(
    configure: Any, started: list[Monitor], fetch: Any, case: tuple[str, str, str]
) -> None:
    """Routes with the prefixes of what includes them; what none claims has one name in all."""
    method, where, name = case

    fetch(method, where).close()

    assert visits(started[0]) == {name: 1}


@pytest.mark.parametrize(
    ("where", "code"),
    [("/get-only", answer.__code__), ("/articles/x", Article.get.__code__)],
    ids=["decorated", "class"],
)
def test_an_endpoint_knows_where_its_view_stands(
    configure: Any, started: list[Monitor], where: str, code: Any
) -> None:
    """Tracebacks are told apart by the lines of the view, behind its decorators or its class."""
    fetch_sync("GET", where).close()

    (known,) = started[0].endpoints().values()
    last = max(line for _, _, line in code.co_lines() if line)
    assert Span(code.co_filename, code.co_firstlineno, last) in known.views


def test_a_mounted_project_is_named_with_its_mount(configure: Any, started: list[Monitor]) -> None:
    """Around a dispatcher, the outer face adds the mount to what the middleware tells it."""
    app: Any = DispatcherMiddleware(WSGIHandler(), {"/dj": WSGIHandler()})
    face = wsgi.LeakMiddleware(app)
    for where in ("/users/7/", "/dj/users/7/", "/dj/none"):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": where, "wsgi.input": io.BytesIO()}
        environ |= {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
        body: Any = face(environ, lambda *_: bytes)
        body.close()
    face.monitor.close()

    assert visits(face.monitor) == {
        "GET /users/<int:pk>/": 1,
        "GET /dj/users/<int:pk>/": 1,
        "(unmatched)": 1,
    }
    assert [visits(monitor) for monitor in started] == [{}, {}]


def test_under_asgi_no_request_changes_its_thread_for_us(
    configure: Any, started: list[Monitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the middleware there are as many changes of thread as without it."""
    hops: list[Any] = []
    hop = SyncToAsync.__call__

    def noted(self: Any, *arguments: Any, **named: Any) -> Any:
        hops.append(self.func)
        return hop(self, *arguments, **named)

    monkeypatch.setattr(SyncToAsync, "__call__", noted)
    counts = []
    for middleware in ([], [OURS]):
        configure(MIDDLEWARE=middleware)
        hops.clear()
        response = fetch_async("GET", "/async/x")
        counts.append(len(hops))

    assert counts[0] == counts[1]
    assert response.content.decode() == str(threading.get_ident())
    assert visits(started[0]) == {"GET /async/<slug:name>": 1}


def test_the_middleware_has_no_hooks_that_cost_a_thread() -> None:
    """Django would adapt each of them to the event loop with a change of thread."""
    hooks = {"process_view", "process_exception", "process_template_response"}

    assert [hook for hook in hooks if hasattr(LeakMiddleware, hook)] == []
    assert LeakMiddleware.sync_capable
    assert LeakMiddleware.async_capable


@pytest.mark.parametrize("fetch", [fetch_sync, fetch_async])
def test_a_response_that_a_cache_keeps(configure: Any, started: list[Monitor], fetch: Any) -> None:
    """Below a caching middleware, a response is stored and comes back as without leakmw."""
    configure(
        MIDDLEWARE=[CACHING[0], OURS, COMMON, CACHING[1]],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    )

    answers = []
    for _ in range(3):
        response = fetch("GET", "/get-only")
        answers.append((response.status_code, response.content))
        response.close()

    assert answers == [(200, b"answer")] * 3
    assert sum(sum(visits(monitor).values()) for monitor in started) == 3


def replacing(get_response: Any) -> Any:
    """Answer 304 whatever was answered, as conditional requests make Django do."""

    def middleware(request: Any) -> HttpResponse:
        get_response(request)
        return HttpResponseNotModified()

    return middleware


def test_a_response_that_another_middleware_replaces(
    configure: Any, started: list[Monitor]
) -> None:
    """Django never closes it; its visit ends all the same."""
    configure(MIDDLEWARE=[f"{__name__}.replacing", OURS])
    sys.modules.setdefault(__name__, sys.modules[replacing.__module__])

    assert fetch_sync("GET", "/").status_code == 304
    assert visits(started[0]) == {"GET /": 1}


def test_what_django_does_not_catch_ends_the_visit(configure: Any, started: list[Monitor]) -> None:
    """A SystemExit in a view reaches the server, under the name of the view."""

    def leave(request: Any) -> HttpResponse:
        raise SystemExit

    configure(ROOT_URLCONF=(path("leave", leave),))

    with pytest.raises(SystemExit):
        fetch_sync("GET", "/leave")
    assert visits(started[0]) == {"GET /leave": 1}


def test_disabled_is_not_used(configure: Any, started: list[Monitor]) -> None:
    """Django leaves the middleware out."""
    configure(LEAKMW={"enabled": False})

    with pytest.raises(MiddlewareNotUsed):
        LeakMiddleware(answer)
    assert fetch_sync("GET", "/").content == b"answer"
    assert started == []


@pytest.mark.parametrize("handler", [WSGIHandler, ASGIHandler])
@pytest.mark.parametrize("wrong", [{"evry": 1}, {"every": 0}, ["every", 10]])
def test_a_wrong_setting_is_an_error_at_start(configure: Any, handler: Any, wrong: object) -> None:
    """The server does not come up with it."""
    configure(LEAKMW=wrong)

    with pytest.raises(SettingsError, match=r"evry|every|LEAKMW"):
        handler()


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, []),
        ({"LEAKMW": {"every": 500}}, []),
        ({"LEAKMW": {"evry": 500}}, ["leakmw.E001"]),
        ({"LEAKMW": {"every": 0}}, ["leakmw.E001"]),
        ({"LEAKMW": 500}, ["leakmw.E001"]),
        ({"MIDDLEWARE": [COMMON]}, ["leakmw.W001"]),
        ({"MIDDLEWARE": [COMMON], "LEAKMW": {"enabled": False}}, []),
        ({"MIDDLEWARE": [OURS, COMMON, OURS]}, ["leakmw.W002"]),
        ({"MIDDLEWARE": [COMMON, OURS]}, ["leakmw.W003"]),
        ({"MIDDLEWARE": [COMMON, OURS, OURS]}, ["leakmw.W002", "leakmw.W003"]),
        ({"MIDDLEWARE": ["leakmw.django.middleware.LeakMiddleware", COMMON]}, []),
        ({"MIDDLEWARE": [OURS, "no.such.Middleware"]}, []),
    ],
)
def test_the_checks_find_what_is_wrong(
    configure: Any, settings: dict[str, Any], ids: list[str]
) -> None:
    """``manage.py check`` names each mistake by a stable id, and is silent where there is none."""
    configure(**settings)

    assert [message.id for message in run_checks(tags=["leakmw"])] == ids
