"""What a face hands to the admin service and what it gets back: plain values, no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_LIMIT = 4096
"""Bytes of a request's body that are accepted. A face need not read more than one byte past it."""

HTML = "text/html"
TEXT = "text/plain"
MARKDOWN = "text/markdown"
CSS = "text/css"
OPENMETRICS = "application/openmetrics-text"
BYTES = "application/octet-stream"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """One request, as far as the admin service looks at it.

    Attributes:
        method: HTTP method in upper case.
        path: Path below *prefix*, percent-decoded.
        query: Query string without its question mark, as it came.
        headers: Header values by lower-case name.
        body: The body, or its first ``BODY_LIMIT + 1`` bytes.
        prefix: The script name or root path that the app is mounted under.
        origin: ``https://host[:port]`` as the server sees it.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    prefix: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """One answer, complete with ``Content-Type`` and ``Content-Length``."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class AdminError(Exception):
    """A request that gets no better answer than an error; the message says what to do.

    Attributes:
        status: HTTP status.
        code: Stable word for programs.
        message: A sentence for people, which never quotes the request.
        headers: What the status asks for, such as ``Allow``.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def written(
    content: str,
    media_type: str,
    *,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
) -> AdminResponse:
    """Return a response with *content* in UTF-8; file names that are not text stay readable."""
    body = content.encode("utf-8", "backslashreplace")
    charset = "" if media_type == JSON else "; charset=utf-8"
    return AdminResponse(status, (("Content-Type", media_type + charset), *headers), body)


def document(
    content: Mapping[str, Any],
    *,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
) -> AdminResponse:
    """Return a response with *content* as JSON, indented for those who read it with curl."""
    return written(json.dumps(content, indent=2) + "\n", JSON, status=status, headers=headers)


def redirect(location: str, *, headers: tuple[tuple[str, str], ...] = ()) -> AdminResponse:
    """Return a ``303`` to *location*, a relative one, so that it holds behind any proxy."""
    return AdminResponse(303, (("Location", location), *headers), b"")
