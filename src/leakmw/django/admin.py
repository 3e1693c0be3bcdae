"""The admin endpoint, answered by the Django middleware."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.http import HttpResponse

from leakmw.admin.messages import BODY_LIMIT, AdminRequest
from leakmw.admin.service import Service

if TYPE_CHECKING:
    from django.http import HttpRequest

    from leakmw.monitor import Monitor
    from leakmw.settings import Settings


class Admin:
    """Carries requests to the admin service and its answers back."""

    def __init__(self, settings: Settings, monitor: Monitor) -> None:
        self._path = settings.path
        self._service = Service(settings, monitor)
        self._failed = monitor.failed

    def admits(self, request: HttpRequest) -> bool:
        """Return whether *request* is the service's to answer; its body is not touched."""
        if not request.path_info.startswith(self._path):
            return False
        try:
            return self._service.admits(_asked(request))
        except Exception as error:  # noqa: BLE001  # what anyone may send must not stop the app
            self._failed("admin", error)
            return False

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Return the service's answer; it may take as long as a snapshot does."""
        try:
            # Django refuses a host that it does not know: asked only of who has the token
            origin = f"{request.scheme}://{request.get_host()}"
            body = request.read(BODY_LIMIT + 1)
            answer = self._service.handle(replace(_asked(request), origin=origin, body=body))
        except Exception as error:  # noqa: BLE001  # said once, like all errors of our own
            self._failed("admin", error)
            answer = None
        if answer is None:
            return HttpResponse(status=500)
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


def _asked(request: HttpRequest) -> AdminRequest:
    return AdminRequest(
        method=request.method,
        path=request.path_info,
        query=request.META.get("QUERY_STRING", ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        prefix=request.path.removesuffix(request.path_info),
    )
