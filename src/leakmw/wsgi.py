"""The WSGI face: a visit lasts from the call of the app to ``close()`` of what it returned."""

from __future__ import annotations

from dataclasses import replace
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

    __slots__ = ("_admin", "app", "monitor")

    app: WSGIApplication
    monitor: Monitor
    _admin: _Admin | None

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
        self.monitor = monitor
        return self

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        # This frame is below all that the app allocates, and tracemalloc looks its line up each
        # time, in a time that grows with what stands before the call.
        response = self._enter(environ, start_response)
        if not isinstance(response, _Response):
            return response(environ, start_response)
        try:
            iterable = self.app(environ, response.start)
        except BaseException:
            response.close()
            raise
        return _ending_at_close(iterable, response)

    def _enter(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> _Response | WSGIApplication:
        """Return the response of a visit that begins, or what serves a request that is none."""
        path = environ.get("PATH_INFO", "")
        if self._admin is not None and path.startswith(self._admin.path):
            answer = self._admin.answer(environ)
            if answer is not None:
                return answer
        if VISIT_KEY in environ and _is_within_another(environ):
            return self.app
        environ[PATH_KEY] = path
        environ[VISIT_KEY] = visit = self.monitor.begin()
        return _Response(self.monitor, visit, environ, path, start_response)


def _is_within_another(environ: WSGIEnvironment) -> bool:
    """Return whether a face around this one counts the visit, and sees what is to be seen here."""
    outer: Visit = environ[VISIT_KEY]
    if outer.finished:  # the environ of an earlier request is used again
        environ.pop(ROUTE_KEY, None)
        environ.pop(STATUS_KEY, None)
    return not outer.finished


class _Response(list[bytes]):
    """What one visit answers: itself the body where the app returns a list.

    The chunks of a list are made already, so it is iterated as it is.

    Args:
        monitor: What counts the visit.

        visit: The visit.

        environ: Of its request.

        path: PATH_INFO as it came in.

        start_response: The server's.

    Attributes:
        environ: As given.
    """

    __slots__ = ("_monitor", "_path", "_start_response", "_visit", "environ")

    def __init__(
        self,
        monitor: Monitor,
        visit: Visit,
        environ: WSGIEnvironment,
        path: str,
        start_response: StartResponse,
    ) -> None:
        self.environ = environ
        self._monitor = monitor
        self._path = path
        self._start_response = start_response
        self._visit = visit

    def start(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """Stand for ``start_response``."""
        visit = self._visit
        if visit.endpoint is None:  # named now, as Flask forgets the request before it returns
            known = self._monitor.known
            visit.endpoint = known(evident_route(self.environ, self._path, status))
            if visit.endpoint is None:
                self.environ[STATUS_KEY] = status
                self._monitor.name(visit, self.environ)
        if exc_info is None:
            return self._start_response(status, headers)
        return self._start_response(status, headers, exc_info)

    def close(self) -> None:
        """End the visit, however often this is called."""
        self._monitor.finish(self._visit, self.environ)

    def __del__(self) -> None:
        # some servers forget close(), and a visit must not stay in flight for ever
        if not self._visit.finished:
            self.close()


def _ending_at_close(iterable: Any, response: _Response) -> Iterable[bytes]:
    """Return *iterable*, or what stands for it, with the end of its visit behind ``close()``."""
    if type(iterable) is list:
        response.extend(iterable)
        return response
    wrapper = response.environ.get("wsgi.file_wrapper")
    if wrapper is not None and _is_file(iterable, wrapper):
        return _file_ending_at_close(iterable, response.close)
    body = _SizedBody if hasattr(iterable, "__len__") else _Body
    return body(iterable, response.close)


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
