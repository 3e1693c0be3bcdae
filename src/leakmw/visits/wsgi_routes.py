"""How a visit of a WSGI app is named: by what the app left in the environ when it answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.records import ROUTE_KEY, Route
from leakmw.visits.flask_routes import flask_route
from leakmw.visits.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_KEY = "leakmw.path"
"""Where the face puts PATH_INFO as it came in: a dispatcher changes it in the same environ."""

STATUS_KEY = "leakmw.status"
"""Where the face puts the status line, once the app has given one."""

_NOT_FOUND = ("404", "405")
_NOT_EVIDENT = ("", None)
_ABSENT = object()


class WsgiRoutes:
    """Names the visits of one WSGI app."""

    __slots__ = ("_paths",)

    def __init__(self) -> None:
        self._paths = Paths()

    def __call__(self, environ: Mapping[str, Any]) -> Route:
        """Return what is known of the endpoint that *environ* was answered by."""
        route = environ.get(ROUTE_KEY) or _werkzeug_route(environ)
        if route is None:
            return self._by_path(environ)
        if route.template is None or environ.get("PATH_INFO", "") == environ[PATH_KEY]:
            return route
        return route._replace(template=_mount(environ) + route.template)

    def _by_path(self, environ: Mapping[str, Any]) -> Route:
        path = environ[PATH_KEY] or "/"
        if not path.isascii():
            path = path.encode("latin-1").decode("utf-8", "replace")  # PEP 3333's way of bytes
        found = not environ.get(STATUS_KEY, "").startswith(_NOT_FOUND)
        return self._paths.route(environ["REQUEST_METHOD"], path, found=found)


def evident_route(environ: Mapping[str, Any], path: str, status: str) -> tuple[str, str | None]:
    """Return method and template where they are plain to see, as they mostly are.

    It may miss what :class:`WsgiRoutes` finds, but finds nothing else, and it does not raise.

    Args:
        environ: What the app answers.

        path: PATH_INFO as it came in.

        status: The status line that the app has given.
    """
    try:
        request = environ.get("werkzeug.request")
        if request is not None:
            if environ["PATH_INFO"] == path:
                return environ["REQUEST_METHOD"], request.url_rule.rule
        elif not status.startswith(_NOT_FOUND) and ROUTE_KEY not in environ:
            return environ["REQUEST_METHOD"], path
    except Exception:  # noqa: BLE001, S110  # whoever looks closer next will say it
        pass
    return _NOT_EVIDENT


def _werkzeug_route(environ: Mapping[str, Any]) -> Route | None:
    """Return what Flask's request in *environ* says; ``None`` if there is no Flask."""
    request = environ.get("werkzeug.request", _ABSENT)
    if request is None:  # Flask has put it there and taken it away
        return Route(environ["REQUEST_METHOD"], None)
    return flask_route(request) if hasattr(request, "url_rule") else None


def _mount(environ: Mapping[str, Any]) -> str:
    """Return what a dispatcher moved from PATH_INFO to SCRIPT_NAME on the way to the app.

    The rest of SCRIPT_NAME may come from a header, so that anyone could make up names.
    """
    entered, path = environ[PATH_KEY], environ.get("PATH_INFO", "")
    mount: str = entered.removesuffix(path) if path else entered
    return mount if environ.get("SCRIPT_NAME", "").endswith(mount) else ""
