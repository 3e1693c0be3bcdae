"""The Flask face: an extension that puts the WSGI face around ``app.wsgi_app``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import got_request_exception, request

from leakmw.records import ROUTE_KEY
from leakmw.settings import PREFIX
from leakmw.visits.flask_routes import flask_route
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from flask import Flask


class LeakMW:
    """Watches Flask apps.

    The settings of an app are its ``LEAKMW_*`` configuration; its monitor is then found under
    ``app.extensions["leakmw"]``.

    Args:
        app: The app to watch, unless :meth:`init_app` is called later.

        overrides: Settings by name, winning over the configuration.

    Raises:
        SettingsError: If a setting is unknown or wrong.
    """

    def __init__(self, app: Flask | None = None, **overrides: Any) -> None:
        self._overrides = overrides
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Watch *app*.

        Raises:
            SettingsError: If a setting is unknown or wrong.
        """
        bare = app.wsgi_app
        face = LeakMiddleware(bare, app.config.get_namespace(PREFIX), **self._overrides)
        if face is bare:
            return
        app.wsgi_app = face  # type: ignore[method-assign]  # as Flask's manual says to
        app.extensions["leakmw"] = face.monitor
        got_request_exception.connect(_tell_route, app)


def _tell_route(_app: Flask, **_: object) -> None:
    """Keep the route of a request that failed: what propagates never calls ``start_response``."""
    request.environ[ROUTE_KEY] = flask_route(request)
