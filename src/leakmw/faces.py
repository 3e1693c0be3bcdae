"""Which face an app gets, by what the app is."""

from __future__ import annotations

import inspect
import sys
from typing import Any, TypeVar

from leakmw.settings import Settings

App = TypeVar("App")


def install(app: App, **overrides: Any) -> App:
    """Watch *app*, whichever of the known kinds it is.

    Args:
        app: An app of Flask, Starlette or FastAPI, a handler of Django, or any WSGI or ASGI
            callable.

        overrides: Settings by name.

    Returns:
        What is to be served: the same object for Flask, Starlette and FastAPI; for all others a
        new one around it.

    Raises:
        SettingsError: If a setting is unknown or wrong.

        TypeError: If *app* is none of these.
    """
    known: Any = app
    if _is(app, "flask", "Flask"):
        from leakmw.flask import LeakMW

        LeakMW(known, **overrides)
    elif _is(app, "starlette.applications", "Starlette"):
        _add_to_starlette(known, Settings.load(**overrides))
    elif _is(app, "django.core.handlers.base", "BaseHandler"):
        from leakmw.django.handlers import watch

        known = watch(known, **overrides)
    else:
        known = _wrapped(known, **overrides)
    watched: App = known
    return watched


def _is(app: object, module: str, name: str) -> bool:
    """Return whether *app* is an instance of a class whose module, then, is loaded already."""
    return module in sys.modules and isinstance(app, getattr(sys.modules[module], name))


def _add_to_starlette(app: Any, settings: Settings) -> None:
    from leakmw.asgi import LeakMiddleware

    if settings.enabled:
        app.add_middleware(LeakMiddleware, settings=settings)


def _wrapped(app: Any, **overrides: Any) -> Any:
    if speaks_asgi(app):
        from leakmw import asgi

        return asgi.LeakMiddleware(app, **overrides)
    if _takes(app, 2):
        from leakmw import wsgi

        return wsgi.LeakMiddleware(app, **overrides)
    raise TypeError(
        f"leakmw.install() cannot tell what {type(app).__name__!r} is: give it an app of Flask, "
        "Starlette, FastAPI or Django, or a WSGI or ASGI callable; or wrap it in "
        "leakmw.wsgi.LeakMiddleware or leakmw.asgi.LeakMiddleware yourself"
    )


def speaks_asgi(app: Any) -> bool:
    """Return whether *app* is called as ASGI's apps are, and not as WSGI's."""
    if not _takes(app, 3):
        return False
    calls = (app, type(app).__call__)
    return any(map(inspect.iscoroutinefunction, calls)) or not _takes(app, 2)


def _takes(app: Any, count: int) -> bool:
    """Return whether *app* can be called with *count* positional arguments."""
    try:
        inspect.signature(app).bind(*range(count))
    except (TypeError, ValueError):  # not callable, not so, or not to be known
        return False
    return True
