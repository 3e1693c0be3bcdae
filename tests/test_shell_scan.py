"""``leakmw scan`` visits an app without any server, and says what leaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.shell import routes
from leakmw.tracers import sampling

if TYPE_CHECKING:
    from pathlib import Path

FLASK = """
from flask import Flask, request
app = Flask(__name__)
KEPT = []
@app.get("/leak")
def leak():
    KEPT.append(bytearray(1000))
    return "kept"
@app.get("/healthy")
def healthy():
    return "x" * 1000
@app.get("/users/<int:number>")
def user(number):
    KEPT.append(bytearray(1000))
    return request.args["q"]
@app.get("/broken")
def broken():
    raise RuntimeError
"""

STARLETTE = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
import leakmw
KEPT = []
@asynccontextmanager
async def lifespan(app):
    yield {"ready": True}
async def leak(request):
    assert request.state.ready
    KEPT.append(bytearray(1000))
    return PlainTextResponse("kept")
async def healthy(request):
    return PlainTextResponse("x" * 1000)
shop = Starlette(routes=[Route("/healthy", healthy), Mount("/sub", routes=[Route("/leak", leak)])],
                 lifespan=lifespan)
app = leakmw.install(shop)
"""

DJANGO = """
import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path, re_path
KEPT = []
def leak(request):
    KEPT.append(bytearray(1000))
    return HttpResponse("kept")
def healthy(request):
    return HttpResponse("x" * 1000)
urlpatterns = [path("healthy", healthy), re_path("^old/.*", healthy),
               path("sub/", include([path("leak", leak), path("<int:number>", leak)]))]
app = get_wsgi_application()
"""

PLAIN = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]
"""


def scan(folder: Path, source: str, *arguments: str) -> tuple[int, str, str]:
    """Return the exit status of a scan, and what it wrote."""
    (folder / "shop.py").write_text(source)
    command = [sys.executable, "-m", "leakmw", "scan", *arguments]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("LEAKMW_")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


needs_samples = pytest.mark.skipif(
    bool(sampling.unavailable()), reason="the extension is not built"
)


@needs_samples
@pytest.mark.parametrize(
    ("source", "endpoint"),
    [(FLASK, "GET /leak"), (STARLETTE, "GET /sub/leak"), (DJANGO, "GET /sub/leak")],
    ids=["flask", "starlette", "django"],
)
def test_the_leaking_route_is_named(tmp_path: Path, source: str, endpoint: str) -> None:
    """With line and holder; its neighbors are not, and one that is watched is watched once."""
    status, said, _ = scan(tmp_path, source, "shop:app", "--json")
    findings = json.loads(said)["findings"]
    leaks = [one for one in findings if one["verdict"] in {"leak", "suspect"}]
    assert [(one["endpoint"], one["verdict"]) for one in leaks] == [(endpoint, "leak")]
    assert leaks[0]["site"]["function"] == "leak"
    assert leaks[0]["holder"]["path"].endswith("KEPT")
    assert status == 1


@needs_samples
def test_a_path_with_parameters_is_visited_when_it_is_given(tmp_path: Path) -> None:
    """With its query; what is not given is not visited."""
    path = ("--path", "/users/3?q=name")
    status, said, _ = scan(tmp_path, FLASK, "shop:app", *path, "--json")
    report = json.loads(said)
    assert status == 1
    assert {one["endpoint"] for one in report["endpoints"]} <= {
        "GET /users/<int:number>",
        "(background)",
    }
    assert report["findings"][0]["endpoint"] == "GET /users/<int:number>"


def test_a_healthy_app_is_said_to_be(tmp_path: Path) -> None:
    """As text, with exit status 0."""
    status, said, _ = scan(tmp_path, FLASK, "shop:app", "--path", "/healthy", "--requests", "600")
    assert "LEAK" not in said
    assert "GET /healthy" in said
    assert status == 0


def test_what_fails_is_said(tmp_path: Path) -> None:
    """And does not end the scan."""
    paths = ("--path", "/broken", "--path", "/nowhere", "--path", "/healthy")
    status, _, errors = scan(tmp_path, FLASK, "shop:app", *paths, "--requests", "24")
    assert "/broken was answered with 500" in errors
    assert "/nowhere was answered with 404" in errors
    assert "/healthy was" not in errors
    assert status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop"], "names no app: use MODULE:APP"),
        (["nowhere:app"], "nowhere:app cannot be imported: No module named 'nowhere'"),
        (["shop:nothing"], "has no attribute 'nothing'"),
        (["shop:app", "--requests", "3"], "'3' is no whole number from 12 on"),
    ],
)
def test_a_wrong_command_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    """With what to do."""
    status, said, errors = scan(tmp_path, PLAIN, *arguments)
    assert (status, said) == (2, "")
    assert message in errors


def test_an_app_without_routes_is_visited_at_its_root() -> None:
    """There is nothing else to know of it."""

    def app(*_: Any) -> None:
        """Answer nothing."""

    assert routes.without_parameters(app) == ["/"]
