"""The ASGI face: a visit lasts from the call of the app to its return, after background tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, overload

from leakmw.admin.messages import BODY_LIMIT, AdminRequest, AdminResponse
from leakmw.admin.service import Service
from leakmw.monitor import Monitor
from leakmw.settings import Settings
from leakmw.visits.asgi_routes import PATH_KEY, STATUS_KEY, AsgiRoutes
from leakmw.visits.columns import without_columns
from leakmw.visits.endpoints import UNSEEN
from leakmw.visits.scopes import mounted_path_of, path_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from starlette.requests import Request

    from leakmw.records import Visit
    from leakmw.visits.endpoints import Known

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_VISITED = frozenset({"http", "websocket"})
_ANSWERS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class LeakMiddleware:
    """Watches an ASGI app; with ``enabled=False`` the app itself comes back.

    Args:
        app: The app to watch.

        settings: A whole ``Settings``, or settings by name.

        overrides: Settings by name, winning over *settings*.

    Attributes:
        app: The app watched.

        monitor: What counts the visits and makes the reports.

    Raises:
        SettingsError: If a setting is unknown or wrong.
    """

    __slots__ = ("_admin", "_by_path", "_known", "_routes", "app", "monitor")

    app: ASGIApp
    monitor: Monitor
    _admin: _Admin | None
    _by_path: bool
    _known: Known
    _routes: AsgiRoutes

    # Starlette hands the app over by place, old ones by name; its types allow the former only

    @overload
    def __new__(
        cls,
        app: ASGIApp,
        /,
        settings: Settings | Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Self: ...

    @overload
    def __new__(
        cls,
        *,
        app: ASGIApp,
        settings: Settings | Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Self: ...

    def __new__(  # type: ignore[misc]  # no setting is called app
        cls,
        app: ASGIApp,
        settings: Settings | Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Self:
        """Return the watched app."""
        chosen = Settings.load(settings, **overrides)
        if not chosen.enabled:
            return app  # type: ignore[return-value]  # who switches leakmw off pays nothing
        self = super().__new__(cls)
        routes = AsgiRoutes(app)
        monitor = Monitor(chosen, routes.route)
        self.app = app
        self._admin = _Admin(chosen, monitor) if chosen.token else None
        self._by_path = routes.by_path
        self._known = monitor.known
        self._routes = routes
        self.monitor = monitor
        return self

    @without_columns
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one websocket, or whatever else *scope* is about."""
        # This frame is below all that the app allocates, and tracemalloc looks its line up each
        # time, in a time that grows with what stands before the call.
        visit = self._enter(scope)
        if visit is not None:
            try:
                await self.app(scope, receive, send)
            finally:
                if visit.endpoint is None:
                    visit.endpoint = self._routes.evident(scope, self._known)
                self.monitor.finish(visit, scope)
        else:
            await self._aside(scope, receive, send)

    def _enter(self, scope: Scope) -> Visit | None:
        """Return the visit that begins; ``None`` where there is more to it."""
        if scope["type"] != "http":
            return None
        if self._admin is not None and self._admin.path in scope["path"]:
            return None
        if not self._by_path:
            return self.monitor.begin(scope)
        path = path_of(scope) if scope.get("root_path") else scope["path"]
        tally = self._known.get(path, UNSEEN).get(scope["method"])
        return None if tally is None else self.monitor.begin(scope, tally)

    async def _aside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is no visit of this face, or not surely one."""
        if self._admin is not None and await self._admin.answers(scope, receive, send):
            return
        visit = self.monitor.begin(scope) if scope["type"] in _VISITED else None
        if visit is not None and self._by_path:
            send = _noticing(scope, send)
        try:
            await self.app(scope, receive, send)
        finally:
            if visit is not None:
                self.monitor.finish(visit, scope)


def _noticing(scope: Scope, send: Send) -> Send:
    """Return ``send`` for an app without routes: its path becomes a name unless it answers 404.

    It returns what *send* returns, so that nothing is awaited that would not have been.
    """
    scope.pop(STATUS_KEY, None)
    scope[PATH_KEY] = path_of(scope)

    def noticed(message: MutableMapping[str, Any]) -> Awaitable[None]:
        if message.get("type") in _ANSWERS:
            scope[STATUS_KEY] = message.get("status", 101)
        return send(message)

    return noticed


class _Admin:
    """Carries requests to the admin service and its answers back.

    Attributes:
        path: What the path of every request to it contains.
    """

    __slots__ = ("_failed", "_service", "path")

    def __init__(self, settings: Settings, monitor: Monitor) -> None:
        self.path = settings.path
        self._service = Service(settings, monitor)
        self._failed = monitor.failed

    async def answers(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer the request if it is the service's; else leave it as it was.

        Returns:
            Whether it was answered.
        """
        if scope["type"] != "http" or not self._service.owns(mounted_path_of(scope)):
            return False
        from starlette.requests import ClientDisconnect, Request
        from starlette.responses import Response

        request = Request(scope, receive)
        try:
            asked = _asked(request)
            if not self._service.admits(asked):
                return False
        except Exception as error:  # noqa: BLE001  # what anyone may send must not stop the app
            self._failed("admin", error)
            return False
        try:
            body = await _body(request)
        except ClientDisconnect:
            return True
        answer = await self._answer(replace(asked, body=body))
        response = Response(answer.body, answer.status)
        response.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in answer.headers
        ]
        await response(scope, receive, send)
        return True

    async def _answer(self, asked: AdminRequest) -> AdminResponse:
        """Ask the service in a thread of its own, as the app may have all others at work."""
        from anyio import CapacityLimiter, to_thread

        answer = None
        try:
            answer = await to_thread.run_sync(
                self._service.handle, asked, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        except Exception as error:  # noqa: BLE001  # said once, like all errors of our own
            self._failed("admin", error)
        return answer or AdminResponse(500, (("Content-Length", "0"),), b"")


def _asked(request: Request) -> AdminRequest:
    """Return *request* without its body, which is the app's if the service does not admit it."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        # HTTP/2 may split cookies (RFC 9113, section 8.2.3)
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return AdminRequest(
        method=request.method,
        path=mounted_path_of(request.scope),
        query=request.url.query,
        headers=headers,
        prefix=request.scope.get("root_path", ""),
        origin=f"{request.url.scheme}://{request.url.netloc}",
    )


async def _body(request: Request) -> bytes:
    """Return the body, or as much of it as shows that it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            break
    return body[: BODY_LIMIT + 1]
