"""The WSGI face: a visit lasts until ``close()`` of what the app returned, if that has one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from leakmw.admin.messages import BODY_LIMIT, AdminRequest
from leakmw.admin.service import Service
from leakmw.monitor import Monitor
from leakmw.records import Visit
from leakmw.settings import Settings
from leakmw.visits.columns import without_columns
from leakmw.visits.ending import Droppable, Ending
from leakmw.visits.endpoints import UNSEEN
from leakmw.visits.wsgi_routes import PATH_KEY, STATUS_KEY, WsgiRoutes, evident_route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from werkzeug.wrappers import Request

    from leakmw.visits.endpoints import Known


class LeakMiddleware:
    """Watches a WSGI app; with ``enabled=False`` the app itself comes back.

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

    __slots__ = ("_admin", "_finish", "_known", "_usual", "app", "monitor")

    app: WSGIApplication
    monitor: Monitor
    _admin: _Admin | None
    _finish: Callable[..., None]
    _known: Known
    _usual: type | None

    def __new__(
        cls,
        app: WSGIApplication,
        settings: Settings | Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Self:
        """Return the watched app."""
        chosen = Settings.load(settings, **overrides)
        if not chosen.enabled:
            return app  # type: ignore[return-value]  # who switches leakmw off pays nothing
        self = super().__new__(cls)
        monitor = Monitor(chosen, WsgiRoutes())
        self.app = app
        self._admin = _Admin(chosen, monitor) if chosen.token else None
        self._finish = monitor.finish
        self._known = monitor.known
        self._usual = None
        self.monitor = monitor
        return self

    @without_columns
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        # This frame is below all that the app allocates, and tracemalloc looks its line up each
        # time, in a time that grows with what stands before the call.
        visit = self._enter(environ)
        if not isinstance(visit, Visit):
            return visit(environ, start_response)
        if visit.endpoint is None:
            start_response = _naming(self.monitor, visit, environ, start_response)
        try:
            iterable = self.app(environ, start_response)
        except BaseException:
            self._finish(visit, environ)
            raise
        kind = type(iterable)
        if kind is list:  # it has no close(), and sending it runs none of the app's code
            self._finish(visit, environ)
            return iterable
        if kind is self._usual and visit.endpoint is not None:
            body = _Body()
            body.iterable, body.finish, body.visit = iterable, self._finish, visit
            return body
        return self._ending_at_close(iterable, visit, environ)

    def _enter(self, environ: WSGIEnvironment) -> Visit | WSGIApplication:
        """Return the visit that begins; where none does, what serves the request."""
        path = environ.get("PATH_INFO", "")
        if self._admin is not None and path.startswith(self._admin.path):
            answer = self._admin.answer(environ)
            if answer is not None:
                return answer
        known = self._known.get(path)
        tally = None if known is None else known.get(environ.get("REQUEST_METHOD", ""))
        visit = self.monitor.begin(environ, tally)
        if visit is None:
            return self.app
        if tally is None:  # else it is a path that is a name
            environ[PATH_KEY] = path
            environ.pop(STATUS_KEY, None)
        return visit

    def _ending_at_close(
        self, iterable: Any, visit: Visit, environ: WSGIEnvironment
    ) -> Iterable[bytes]:
        """Return *iterable*, or what stands for it, with the end of its visit at ``close()``."""
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and _is_file(iterable, wrapper):
            return _file_ending_at_close(iterable, self.monitor, visit, environ)
        if hasattr(iterable, "__len__"):
            body: _Body = _SizedBody()
        else:
            body = _Body()
            self._usual = type(iterable)  # an app mostly answers with the same
        body.iterable, body.visit = iterable, visit
        # it may get its name while it is iterated
        body.finish = partial(self._finish, request=environ)
        return body


def _naming(
    monitor: Monitor, visit: Visit, environ: WSGIEnvironment, start_response: StartResponse
) -> StartResponse:
    """Return ``start_response`` for a visit that has no name yet.

    It is named as soon as the app answers: Flask forgets the request before it returns.
    """
    path = environ[PATH_KEY]

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        if visit.endpoint is None:
            method, template = evident_route(environ, path, status)
            visit.endpoint = monitor.known.get(template, UNSEEN).get(method)
            if visit.endpoint is None:
                environ[STATUS_KEY] = status
                monitor.name(visit, environ)
        if exc_info is None:
            return start_response(status, headers)
        return start_response(status, headers, exc_info)

    return start


class _Body(Droppable):
    """Any other iterable of the app's.

    It is no generator itself: closing one that nobody has started runs none of its code.

    Attributes:
        iterable: The app's own.
    """

    __slots__ = ("finish", "iterable", "visit")

    iterable: Any

    def __iter__(self) -> Iterator[bytes]:
        # Each chunk is made below a frame of this file, by which a tracer tells that it was made
        # for a visit. "yield from" would close the app's iterator, which is up to the server.
        for chunk in self.iterable:  # noqa: UP028
            yield chunk

    def __next__(self) -> bytes:
        chunk: bytes = next(self.iterable)  # raises where it would have without us
        return chunk

    def close(self) -> None:
        """Close the app's iterable, then end the visit."""
        try:
            close = getattr(self.iterable, "close", None)
            if close is not None:
                close()
        finally:
            self.finish(self.visit)


class _SizedBody(_Body):
    """One that told its length: servers make Content-Length of it (PEP 3333)."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.iterable)


def _is_file(iterable: object, wrapper: Any) -> bool:
    """Return whether the server will look for *iterable* to be its own file wrapper.

    uWSGI's wrapper is a function that remembers the file and gives it back as it is.
    """
    if isinstance(wrapper, type):
        return isinstance(iterable, wrapper)
    return hasattr(iterable, "fileno")


def _file_ending_at_close(
    file: Any, monitor: Monitor, visit: Visit, environ: WSGIEnvironment
) -> Iterable[bytes]:
    """Return *file* itself, so that the server may send it with sendfile."""
    try:
        file.close = Ending(monitor.finish, visit, environ, getattr(file, "close", None))
    except (AttributeError, TypeError):  # made in C: nobody can tell when it is sent
        monitor.finish(visit, environ)
    wrapped: Iterable[bytes] = file
    return wrapped


class _Admin:
    """Carries requests to the admin service and its answers back.

    Attributes:
        path: What the path of every request to it begins with.
    """

    __slots__ = ("_failed", "_service", "path")

    def __init__(self, settings: Settings, monitor: Monitor) -> None:
        self.path = settings.path
        self._service = Service(settings, monitor)
        self._failed = monitor.failed

    def answer(self, environ: WSGIEnvironment) -> WSGIApplication | None:
        """Return what answers the request, or ``None`` when that is up to the app."""
        from werkzeug.wrappers import Request, Response

        request = Request(environ, populate_request=False)
        try:
            asked = _asked(request)
            if not self._service.admits(asked):
                return None
        except Exception as error:  # noqa: BLE001  # what anyone may send must not stop the app
            self._failed("admin", error)
            return None
        try:
            body = request.stream.read(BODY_LIMIT + 1)
            answer = self._service.handle(replace(asked, body=body))
        except Exception as error:  # noqa: BLE001  # said once, like all errors of our own
            self._failed("admin", error)
            answer = None
        if answer is None:
            return Response(status=500)
        return Response(answer.body, answer.status, answer.headers)


def _asked(request: Request) -> AdminRequest:
    """Return *request* without its body, which is the app's if the service does not admit it."""
    return AdminRequest(
        method=request.method,
        path=request.path,
        query=request.query_string.decode("latin-1"),
        headers={name.lower(): value for name, value in request.headers},
        prefix=request.root_path,
        origin=request.host_url.rstrip("/"),
    )
