"""Django's own WSGI and ASGI handlers, watched from outside."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIHandler

from leakmw import asgi, wsgi
from leakmw.django.carrier import tell_route
from leakmw.django.configuration import configured
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.handlers.base import BaseHandler
    from django.http import HttpRequest


def watch(handler: BaseHandler, **overrides: Any) -> Any:
    """Return *handler* within the face of its protocol.

    It needs no middleware in Django's settings: the handler itself tells the routes.

    Args:
        handler: What ``get_wsgi_application`` or ``get_asgi_application`` returned.

        overrides: Settings by name, winning over ``LEAKMW``.

    Raises:
        SettingsError: If a setting is unknown or wrong.
    """
    settings = Settings.load(configured(), **overrides)
    if not settings.enabled:
        return handler
    if isinstance(handler, ASGIHandler):
        handler.get_response_async = _telling(handler.get_response_async)
        return asgi.LeakMiddleware(handler, settings)
    handler.get_response = _telling(handler.get_response)
    return wsgi.LeakMiddleware(handler, settings)


def _telling(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Return *get_response*, leaving the route that it found."""
    if iscoroutinefunction(get_response):

        @functools.wraps(get_response)
        async def atelling(request: HttpRequest) -> Any:
            try:
                return await get_response(request)
            finally:
                tell_route(request)

        return atelling

    @functools.wraps(get_response)
    def telling(request: HttpRequest) -> Any:
        try:
            return get_response(request)
        finally:
            tell_route(request)

    return telling
