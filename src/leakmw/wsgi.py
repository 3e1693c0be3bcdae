"""The WSGI face: a visit lasts from the call of the app to ``close()`` of what it returned."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from leakmw.admin.messages import BODY_LIMIT, AdminRequest
from leakmw.admin.service import Service
from leakmw.monitor import Monitor
from leakmw.records import ROUTE_KEY, VISIT_KEY
from leakmw.settings import Settings
from leakmw.visits.ending import Ending
from leakmw.visits.wsgi_routes import PATH_KEY, STATUS_KEY, WsgiRoutes, evident_route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from werkzeug.wrappers import Request

    from leakmw.records import Visit
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

    __slots__ = ("_admin", "_begin", "_finish", "_known", "_name", "app", "monitor")

    app: WSGIApplication
    monitor: Monitor
    _admin: _Admin | None
    _begin: Callable[[], Visit]
    _finish: Callable[[Visit, Mapping[str, Any]], None]
    _known: Known
    _name: Callable[[Visit, Mapping[str, Any]], None]

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
        self._begin, self._finish = monitor.begin, monitor.finish
        self._known, self._name = monitor.known, monitor.name
        self.monitor = monitor
        return self

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        # This frame is below all that the app allocates, and tracemalloc looks its line up each
        # time, in a time that grows with what stands before the call.
        app, start, end = self._enter(environ, start_response)
        if end is None:
            return app(environ, start)
        try:
            iterable = app(environ, start)
        except BaseException:
            end()
            raise
        return _ending_at_close(iterable, end, environ)

    def _enter(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> tuple[WSGIApplication, StartResponse, partial[None] | None]:
        """Return what serves the request, how it starts, and what ends its visit if it is one."""
        path = environ.get("PATH_INFO", "")
        if self._admin is not None and path.startswith(self._admin.path):
            answer = self._admin.answer(environ)
            if answer is not None:
                return answer, start_response, None
        if VISIT_KEY in environ and _is_within_another(environ):
            return self.app, start_response, None
        environ[PATH_KEY] = path
        environ[VISIT_KEY] = visit = self._begin()

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if visit.endpoint is None:  # named now, as Flask forgets the request before it returns
                visit.endpoint = self._known(evident_route(environ, path, status))
                if visit.endpoint is None:
                    environ[STATUS_KEY] = status
                    self._name(visit, environ)
            if exc_info is None:
                return start_response(status, headers)
            return start_response(status, headers, exc_info)

        return self.app, start, partial(self._finish, visit, environ)


def _is_within_another(environ: WSGIEnvironment) -> bool:
    """Return whether a face around this one counts the visit, and sees what is to be seen here."""
    outer: Visit = environ[VISIT_KEY]
    if outer.finished:  # the environ of an earlier request is used again
        environ.pop(ROUTE_KEY, None)
        environ.pop(STATUS_KEY, None)
    return not outer.finished


class _Chunks(list[bytes]):
    """A list that the app returned: its chunks are made already, so it is iterated as it is.

    Attributes:
        close: Ends the visit.

        visit: The visit.
    """

    __slots__ = ("close", "visit")

    close: Callable[[], None]
    visit: Visit

    def __del__(self) -> None:
        # some servers forget close(), and a visit must not stay in flight for ever
        if not self.visit.finished:
            self.close()


def _ending_at_close(
    iterable: Any, end: partial[None], environ: WSGIEnvironment
) -> Iterable[bytes]:
    """Return *iterable*, or what stands for it, with *end* behind its ``close()``.

    Args:
        iterable: What the app returned.

        end: Ends its first argument, the visit, however often it is called.

        environ: May hold the server's file wrapper.
    """
    if type(iterable) is list:
        body = _Chunks(iterable)
        body.close, body.visit = end, end.args[0]
        return body
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is not None and _is_file(iterable, wrapper):
        return _file_ending_at_close(iterable, end)
    return _SizedBody(iterable, end) if hasattr(iterable, "__len__") else _Body(iterable, end)


class _Body:
    """Any other iterable of the app's.

    It is no generator itself: closing one that nobody has started runs none of its code.
    """

    __slots__ = ("_end", "_iterable")

    def __init__(self, iterable: Any, end: Callable[[], None]) -> None:
        self._iterable = iterable
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        # Each chunk is made below a frame of this file, by which a tracer tells that it was made
        # for a visit. "yield from" would close the app's iterator, which is up to the server.
        for chunk in self._iterable:  # noqa: UP028
            yield chunk

    def __next__(self) -> bytes:
        chunk: bytes = next(self._iterable)  # raises where it would have without us
        return chunk

    def close(self) -> None:
        """Close the app's iterable, then end the visit."""
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        finally:
            self._end()

    def __del__(self) -> None:
        self._end()


class _SizedBody(_Body):
    """One that told its length: servers make Content-Length of it (PEP 3333)."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._iterable)


def _is_file(iterable: object, wrapper: Any) -> bool:
    """Return whether the server will look for *iterable* to be its own file wrapper.

    uWSGI's wrapper is a function that remembers the file and gives it back as it is.
    """
    if isinstance(wrapper, type):
        return isinstance(iterable, wrapper)
    return hasattr(iterable, "fileno")


def _file_ending_at_close(file: Any, end: Callable[[], None]) -> Iterable[bytes]:
    """Return *file* itself, so that the server may send it with sendfile."""
    try:
        file.close = Ending(end, getattr(file, "close", None))
    except (AttributeError, TypeError):  # made in C: nobody can tell when it is sent
        end()
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
