"""The Django middleware: a visit lasts until Django closes the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import MiddlewareNotUsed

from leakmw.django.admin import Admin
from leakmw.django.carrier import carrier, tell_route
from leakmw.django.configuration import configured
from leakmw.monitor import Monitor
from leakmw.visits.columns import without_columns
from leakmw.visits.django_routes import template_of, told_route
from leakmw.visits.ending import NamedEnding
from leakmw.visits.endpoints import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from leakmw.records import Visit

    GetResponse = Callable[[HttpRequest], Any]


class LeakMiddleware:
    """Watches a Django project; its settings are the dict ``LEAKMW`` in Django's own.

    There are no hooks for views or exceptions: under ASGI each would cost a change of thread.

    Args:
        get_response: What Django hands to a middleware.

    Attributes:
        monitor: What counts the visits and makes the reports.

    Raises:
        MiddlewareNotUsed: If ``enabled`` is ``False``.

        SettingsError: If a setting is unknown or wrong.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        settings = configured()
        if not settings.enabled:
            raise MiddlewareNotUsed("leakmw: the setting 'enabled' is False")
        self.monitor = Monitor(settings, told_route)
        self._admin = Admin(settings, self.monitor) if settings.token else None
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    @without_columns
    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        if self._is_async:
            return self._acall(request)
        if self._admin is not None and self._admin.admits(request):
            return self._admin.answer(request)
        visit, response = self.monitor.begin(carrier(request)), None
        try:
            response = self._get_response(request)
        finally:
            self._answered(request, visit, response)
        return response

    @without_columns
    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if self._admin is not None and self._admin.admits(request):
            return await sync_to_async(self._admin.answer, thread_sensitive=False)(request)
        visit, response = self.monitor.begin(carrier(request)), None
        try:
            response = await self._get_response(request)
        finally:
            self._answered(request, visit, response)
        return response

    def _answered(
        self, request: HttpRequest, visit: Visit | None, response: HttpResponseBase | None
    ) -> None:
        """Name the visit, and have the response end it."""
        if visit is None:
            tell_route(request)
            return
        template = template_of(request)
        visit.endpoint = self.monitor.known.get(template, UNSEEN).get(request.method or "")
        if visit.endpoint is None:
            tell_route(request)
            self.monitor.name(visit, carrier(request))
        # the list in which Django keeps what to call when the server closes the response
        closers = getattr(response, "_resource_closers", None)
        if closers is None:
            self.monitor.finish(visit)
            return
        ending = NamedEnding()
        ending.finish, ending.visit = self.monitor.finish, visit
        closers.append(ending)
