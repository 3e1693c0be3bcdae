"""Hello from Django."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from variants import WATCHED

if TYPE_CHECKING:
    from django.http import HttpRequest


def hello(_: HttpRequest) -> HttpResponse:
    """Answer."""
    return HttpResponse("hello", headers={"Content-Length": "5"})


urlpatterns = [path("", hello)]

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["leakmw.django.LeakMiddleware"] if WATCHED else [],
    ROOT_URLCONF=__name__,
)
django.setup()
app = get_wsgi_application()
