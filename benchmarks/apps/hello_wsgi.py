"""Hello from plain WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from variants import WATCHED

from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "5")]


def hello(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer anything."""
    start_response("200 OK", list(HEADERS))
    return [b"hello"]


app = LeakMiddleware(hello) if WATCHED else hello
