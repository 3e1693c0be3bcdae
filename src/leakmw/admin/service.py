"""The admin endpoint without any I/O: requests in, responses out.

Without a token it does not exist: a request that does not carry it belongs to the app, whatever
its path is.
"""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import TYPE_CHECKING

from leakmw.admin.access import Access
from leakmw.admin.messages import (
    BODY_LIMIT,
    FORM,
    HTML,
    JSON,
    AdminError,
    AdminRequest,
    AdminResponse,
    document,
    written,
)
from leakmw.admin.negotiation import wants_page
from leakmw.admin.rate_limit import RateLimit
from leakmw.records import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from leakmw.admin.routes import Routes
    from leakmw.records import Monitored, Request
    from leakmw.settings import Settings

CHANGES = 6
"""How many requests that change something are let through in ``CHANGES_SECONDS``."""

CHANGES_SECONDS = 10.0

_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # "no-referrer" would make browsers send "Origin: null" with the page's own form
    ("Referrer-Policy", "same-origin"),
    ("Vary", "Accept, Authorization, Cookie"),
    ("X-Content-Type-Options", "nosniff"),
)


class Service:
    """Answers below the admin path, for those who have the token.

    Args:
        settings: Where it answers, and to whom.

        monitored: What it shows.

        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        monitored: Monitored,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._monitored = monitored
        self._path = settings.path
        self._access = Access(settings.token, settings.path) if settings.token else None
        self._changes = RateLimit(CHANGES, CHANGES_SECONDS, clock)
        monitored.serve(self.reply)

    @cached_property
    def _routes(self) -> Routes:
        # an app whose admin endpoint nobody opens need not import the pages
        from leakmw.admin.routes import Routes

        return Routes(self._settings, self._monitored)

    def owns(self, path: str) -> bool:
        """Return whether *path*, below the app's prefix, may be ours: the cheap first look."""
        return self._access is not None and f"{path}/".startswith(f"{self._path}/")

    def admits(self, request: AdminRequest) -> bool:
        """Return whether *request* is ours to answer, by its path, query and headers alone.

        A face asks this before it reads the body, which is the app's if the answer is no.
        """
        access = self._access
        return access is not None and self.owns(request.path) and access.admits(request)

    def handle(self, request: AdminRequest) -> AdminResponse | None:
        """Return the answer to *request*, or ``None`` when it belongs to the app.

        It may take as long as a snapshot does: on an event loop, call it in a thread.
        """
        access = self._access
        if access is None or not self.admits(request):
            return None
        try:
            response = self._answer(access, request)
        except AdminError as error:
            response = _failure(request, error)
        return _finished(request, response)

    def _answer(self, access: Access, request: AdminRequest) -> AdminResponse:
        if access.is_login(request):
            return access.login(request)
        methods = self._routes.methods(request.path.removeprefix(self._path))
        allow = ("Allow", _allowed(methods))
        if request.method == "OPTIONS":
            return AdminResponse(204, (allow,), b"")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            message = f"Use {allow[1]} here."
            raise AdminError(405, "method_not_allowed", message, (allow,))
        if request.method == "POST":
            access.check_origin(request)
            _check_body(request)
            self._check_pace()
        return self._elsewhere(request) or handler(request)

    def _elsewhere(self, request: AdminRequest) -> AdminResponse | None:
        """Return the answer of another worker, if *request* names one."""
        path = request.path.removeprefix(self._path)
        if "worker=" not in request.query or not path.startswith("/api/"):
            return None
        from leakmw.admin.forwarding import elsewhere

        return elsewhere(self._monitored, request, path)

    def reply(self, asked: Request) -> Reply:
        """Return the answer to what another process on this host has asked through the store.

        Whoever can write there is the same user: no token is needed.
        """
        request = AdminRequest(asked.method, f"{self._path}{asked.path}", asked.query, {})
        try:
            methods = self._routes.methods(asked.path)
            if asked.method == "POST":
                self._check_pace()
            response = methods.get(asked.method, _refuse)(request)
        except AdminError as error:
            return Reply.refusal(error.status, error.code, error.message)
        return Reply(response.status, response.body.decode())

    def _check_pace(self) -> None:
        """Count a change.

        Raises:
            AdminError: If there were too many of them lately.
        """
        seconds = math.ceil(self._changes.wait())
        if seconds:
            raise AdminError(
                429,
                "too_many_requests",
                f"This takes the app's time, so {CHANGES} such requests are answered in "
                f"{CHANGES_SECONDS:.0f} seconds. Try again in {seconds} s.",
                (("Retry-After", str(seconds)),),
            )


def _refuse(_request: AdminRequest) -> AdminResponse:
    raise AdminError(405, "method_not_allowed", "The API has no such method here.")


def _check_body(request: AdminRequest) -> None:
    """Refuse a body that is too large or that no client of ours sends; none is ever looked at.

    Raises:
        AdminError: With what is wrong.
    """
    length = request.headers.get("content-length", "")[:20]  # int() refuses thousands of digits
    announced = int(length) if length.isdecimal() else 0
    if max(announced, len(request.body)) > BODY_LIMIT:
        raise AdminError(
            413, "too_large", f"Send no body, or one of {BODY_LIMIT:,} bytes at most."
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"", JSON, FORM}:
        message = f"Send no body, or one of the type {JSON} or {FORM}."
        raise AdminError(415, "unsupported_media_type", message)


def _allowed(methods: Iterable[str]) -> str:
    head = ("HEAD",) if "GET" in methods else ()
    return ", ".join((*methods, *head, "OPTIONS"))


def _failure(request: AdminRequest, error: AdminError) -> AdminResponse:
    """Return *error* as JSON, or as a page where the page's own form met it."""
    if wants_page(request):
        from leakmw.admin.page import failure_page

        page = failure_page(error.message)
        return written(page, HTML, status=error.status, headers=error.headers)
    content = {"error": {"code": error.code, "message": error.message}}
    return document(content, status=error.status, headers=error.headers)


def _finished(request: AdminRequest, response: AdminResponse) -> AdminResponse:
    """Return *response* with the headers of every response, and without a body for HEAD."""
    headers = (*response.headers, *_HEADERS)
    if response.status != 204:  # noqa: PLR2004  # the status that may not have one
        headers = (*headers, ("Content-Length", str(len(response.body))))
    body = b"" if request.method == "HEAD" else response.body
    return AdminResponse(response.status, headers, body)
