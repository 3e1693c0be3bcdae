"""A running admin endpoint, asked by HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from leakmw.shell.asking import Answered
from leakmw.shell.ending import UNREACHABLE, USAGE, EndingError

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = "LEAKMW_TOKEN"  # noqa: S105  # the name of one

DEFAULT_PATH = "/__leaks__"

TIMEOUT = 40.0
"""Seconds: more than the 25 for which the endpoint itself waits for a look at the heap."""

LARGEST = 64 * 1024 * 1024
"""Bytes of an answer that are read."""

_NOT_FOUND = 404


class HttpSource:
    """Asks a running endpoint; a redirection is said, not followed: the token goes nowhere else.

    Args:
        url: Of the admin page; without a path ``/__leaks__`` is meant.

        token: The endpoint's.

        timeout: Seconds of silence.

    Raises:
        EndingError: If the address or the token cannot be one.
    """

    def __init__(self, url: str, token: str | None, timeout: float = TIMEOUT) -> None:
        self.url = _address(url)
        self._token = _checked(token)
        self._timeout = timeout
        self._opener = build_opener(_Stay)

    def ask(self, method: str, path: str, query: Mapping[str, str] = {}) -> Answered:
        """Return the answer of the admin API.

        Raises:
            EndingError: If nobody answers, or not leakmw.
        """
        address = f"{self.url}/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self._token}"}
        body = b"" if method == "POST" else None
        request = Request(address, body, headers, method=method)  # noqa: S310  # checked above
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return Answered(response.status, self._parsed(_whole(response)))
        except HTTPError as error:
            with error:
                return self._failed(error)
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(_reason(error, self._timeout)) from error

    def _parsed(self, body: bytes) -> Any:
        if len(body) > LARGEST:
            raise self._silent(f"the answer is longer than {LARGEST:,} bytes")
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._silent(
                "the answer is no JSON: another program, or a page of a proxy"
            ) from error

    def _failed(self, error: HTTPError) -> Answered:
        """Return an error of the admin API, which is JSON; all else comes from somebody else."""
        if 300 <= error.code < 400:  # noqa: PLR2004  # redirections
            raise self._silent(
                f"it redirects to {_elsewhere(error)}, where the token does not go: if that is "
                "right, give that address"
            )
        try:
            document = json.loads(error.read(LARGEST))
        except (OSError, ValueError, http.client.HTTPException):
            document = None
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            return Answered(error.code, document)
        if error.code == _NOT_FOUND:
            raise self._silent(
                "the app answered 404 instead of leakmw: the path or the token is wrong, or the "
                "app has no token set"
            )
        raise self._silent(f"not leakmw answered but something before it, with {error.code}")

    def _silent(self, reason: str) -> EndingError:
        return EndingError(f"{self.url}: {reason}", UNREACHABLE)


class _Stay(HTTPRedirectHandler):
    """Follows no redirection: the token is for one server."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Return no request to make instead."""


def _address(url: str) -> str:
    """Return *url* without a slash at its end, and with a path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EndingError(f"--url {url!r} is no address: {error}", USAGE) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise EndingError(
            f"--url {url!r} is no address: use one such as http://127.0.0.1:8000{DEFAULT_PATH}",
            USAGE,
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise EndingError(
            f"--url takes scheme, host, port and path only; the token goes into {TOKEN}", USAGE
        )
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise EndingError("--url has signs in it that an address has not", USAGE)
    path = parts.path.rstrip("/") or DEFAULT_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _checked(token: str | None) -> str:
    if not token:
        raise EndingError(f"no token: set {TOKEN}, or give --token", USAGE)
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise EndingError("the token has signs in it that no token has", USAGE)
    return token


def _whole(response: Any) -> bytes:
    """Return the body, up to one byte past what is read at most."""
    body: bytes = response.read(LARGEST + 1)
    if response.length and len(body) <= LARGEST:
        raise http.client.IncompleteRead(body, response.length)
    return body


def _elsewhere(error: HTTPError) -> str:
    """Return the address of a redirection without its query."""
    parts = urlsplit(error.headers.get("Location", ""))
    shown = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return shown if shown.isprintable() and shown else "somewhere else"


def _reason(error: Exception, timeout: float) -> str:
    """Return in words why nobody answered."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(cause, ssl.SSLError):
        return _untrusted(cause)
    for kind, words in _SILENCES.items():
        if isinstance(cause, kind):
            return words
    return str(getattr(cause, "strerror", None) or cause)


def _untrusted(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not trusted ({error.verify_message}); SSL_CERT_FILE names "
            "the certificates that are"
        )
    return f"no TLS is spoken there ({error.reason}): is it http:// ?"


_SILENCES: dict[type[Exception], str] = {
    ConnectionRefusedError: "connection refused: nothing listens there",
    ConnectionError: "the connection was closed before the answer: is it https:// ?",
    socket.gaierror: "no host of that name is known",
    http.client.HTTPException: "what came is no HTTP, or ended too soon: is it https:// ?",
}
