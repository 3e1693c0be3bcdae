"""A pytest plugin: every app that Werkzeug's own tests run has the WSGI face around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import werkzeug.serving
import werkzeug.test

import leakmw
from leakmw.wsgi import LeakMiddleware

IN_A_SERVER = """
import sys
sys.path[:0] = {path!r}
import wrap_werkzeug
wrap_werkzeug.wrap_servers()
"""
"""What a development server, a process of its own, runs at its start."""

wrapped = 0
"""Apps that were wrapped in this process."""


def watched(app: Any) -> LeakMiddleware:
    """Return *app* with a face around it."""
    global wrapped  # noqa: PLW0603  # a count of the whole run
    wrapped += 1
    return LeakMiddleware(app)


def wrap_client() -> None:
    """Wrap every app that goes through the test client or the function below it."""
    run = werkzeug.test.run_wsgi_app

    def run_watched(app: Any, *given: Any, **named: Any) -> Any:
        return run(watched(app), *given, **named)

    werkzeug.test.run_wsgi_app = run_watched


def wrap_servers() -> None:
    """Wrap every app that a development server is made for."""
    make = werkzeug.serving.BaseWSGIServer.__init__

    def make_watched(self: Any, host: Any, port: Any, app: Any, *given: Any, **named: Any) -> None:
        make(self, host, port, watched(app), *given, **named)

    setattr(werkzeug.serving.BaseWSGIServer, "__init__", make_watched)  # noqa: B010  # for mypy


def pytest_configure() -> None:
    """Wrap before the tests import what they run apps with."""
    wrap_client()
    wrap_servers()


@pytest.fixture(autouse=True)
def _wrap_in_servers(request: pytest.FixtureRequest) -> None:
    if "dev_server" in request.fixturenames:
        path = [str(Path(__file__).parent), str(Path(leakmw.__file__).parent.parent)]
        folder = request.getfixturevalue("tmp_path")
        (folder / "sitecustomize.py").write_text(IN_A_SERVER.format(path=path))


def pytest_sessionfinish() -> None:
    """Tell who started the suite how many apps were wrapped."""
    Path(os.environ["UPSTREAM_WRAPPED"]).write_text(str(wrapped))
