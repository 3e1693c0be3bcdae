"""A Flask app with one leak, for the tests of WSGI servers."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, send_file

from leakmw.flask import LeakMW

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

KEPT: list[bytearray] = []
MENDED = "SHOP_MENDED" in os.environ
logging.basicConfig(level=os.environ.get("SHOP_LOG_LEVEL", "WARNING"))

app = Flask(__name__)


@app.get("/")
def home() -> str:
    """Leak nothing."""
    return "home"


@app.post("/carts/<int:number>")
def keep(number: int) -> str:
    """Leak a kilobyte."""
    if not MENDED:
        KEPT.append(bytearray(1000))  # leak
    return f"cart {number}"


@app.get("/stream/<int:chunks>")
def stream(chunks: int) -> Response:
    """Send so many times 64 KiB."""
    return Response(bytes(1 << 16) for _ in range(chunks))


@app.get("/file")
def file() -> Response:
    """Send this file, the way that lets a server use sendfile."""
    return send_file(__file__, mimetype="text/x-python")


def telling(watched: WSGIApplication) -> WSGIApplication:
    """Add a header that says whether the server was handed its own file wrapper."""

    def tell(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started: list[Any] = []

        def start(*arguments: Any) -> Any:
            started[:] = arguments
            return None

        body = watched(environ, start)
        wrapper = environ.get("wsgi.file_wrapper")
        told = str(wrapper is not None and isinstance(body, wrapper))
        status, headers, *rest = started
        start_response(status, [*headers, ("X-File-Wrapper", told)], *rest)
        return body

    return tell


LeakMW(app)
app.wsgi_app = telling(app.wsgi_app)  # type: ignore[assignment, method-assign]  # Flask's way
