"""A pytest plugin: every app that Starlette's own tests run has the ASGI face around it.

An app of the class ``Starlette`` has a second one in its stack, for those that are called by hand.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from leakmw.asgi import LeakMiddleware

wrapped = 0
"""Apps that were wrapped."""


def watched(app: Any) -> LeakMiddleware:
    """Return *app* with a face around it."""
    global wrapped  # noqa: PLW0603  # a count of the whole run
    wrapped += 1
    return LeakMiddleware(app, frames=1)  # deep tracebacks would take minutes, and show nothing


def wrap_client() -> None:
    """Wrap every app that a test client runs."""
    make = TestClient.__init__

    def make_watched(self: Any, app: Any, *given: Any, **named: Any) -> None:
        make(self, app, *given, **named)
        self.app = self._transport.app = watched(self.app)

    setattr(TestClient, "__init__", make_watched)  # noqa: B010  # for mypy


def wrap_stack() -> None:
    """Wrap the middleware of every app."""
    build = Starlette.build_middleware_stack

    def build_watched(self: Any) -> Any:
        return watched(build(self))

    setattr(Starlette, "build_middleware_stack", build_watched)  # noqa: B010  # for mypy


def pytest_configure() -> None:
    """Wrap before the tests import what they run apps with."""
    wrap_client()
    wrap_stack()


def pytest_sessionfinish() -> None:
    """Tell who started the suite how many apps were wrapped."""
    Path(os.environ["UPSTREAM_WRAPPED"]).write_text(str(wrapped))
