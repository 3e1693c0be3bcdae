"""System checks: whether the middleware is set up so that it says something true."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.utils.module_loading import import_string

from leakmw.django.configuration import configured
from leakmw.django.middleware import LeakMiddleware
from leakmw.settings import SettingsError


def check_settings(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings, and with the place in ``MIDDLEWARE``."""
    try:
        settings = configured()
    except SettingsError as error:
        return [Error(str(error), id="leakmw.E001")]
    return _check_middleware() if settings.enabled else []


def _check_middleware() -> list[CheckMessage]:
    places = [place for place, path in enumerate(django_settings.MIDDLEWARE) if _is_ours(path)]
    if not places:
        return [
            Caution(
                "leakmw is installed, but watches nothing: its middleware is not in MIDDLEWARE.",
                hint="Put 'leakmw.django.LeakMiddleware' first in MIDDLEWARE.",
                id="leakmw.W001",
            )
        ]
    found: list[CheckMessage] = []
    if len(places) > 1:
        found.append(
            Caution(
                "leakmw's middleware is in MIDDLEWARE more than once; the first one counts.",
                hint="Remove all but the first.",
                id="leakmw.W002",
            )
        )
    if places[0] > 0:
        before = django_settings.MIDDLEWARE[places[0] - 1]
        found.append(
            Caution(
                "leakmw's middleware does not see what the middleware before it does, "
                f"such as {before!r}.",
                hint="Put 'leakmw.django.LeakMiddleware' first in MIDDLEWARE.",
                id="leakmw.W003",
            )
        )
    return found


def _is_ours(path: str) -> bool:
    try:
        middleware = import_string(path)
    except ImportError:  # Django says that itself
        return False
    return isinstance(middleware, type) and issubclass(middleware, LeakMiddleware)
