"""Which paths of an app can be visited without knowing anything about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 100
"""Paths that are visited."""


def without_parameters(app: Any) -> list[str]:
    """Return the paths of the routes that answer GET and take no parameter.

    Of Flask, Starlette, FastAPI and Django; an app that none of these made has ``/``.
    """
    return list(dict.fromkeys(_known(app)))[:MOST]


def _known(app: Any) -> Iterator[str]:
    if hasattr(app, "url_map"):
        return _flask(app)
    if hasattr(app, "routes"):
        return _starlette(app)
    return _django() if _is_django(app) else iter("/")


def _flask(app: Any) -> Iterator[str]:
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.arguments:
            yield str(rule.rule)


def _starlette(app: Any, prefix: str = "") -> Iterator[str]:
    for route in app.routes:
        path = f"{prefix}{getattr(route, 'path', '')}"
        if "{" in path:
            continue
        if "GET" in (getattr(route, "methods", None) or ()):
            yield path
        elif hasattr(route, "app") and hasattr(route.app, "routes"):
            yield from _starlette(route.app, path)


def _is_django(app: Any) -> bool:
    handlers = sys.modules.get("django.core.handlers.base")
    return handlers is not None and isinstance(app, handlers.BaseHandler)


def _django() -> Iterator[str]:
    from importlib import import_module

    urls = import_module("django.urls")
    yield from _patterns(urls.get_resolver().url_patterns, "/")


def _patterns(patterns: Any, prefix: str) -> Iterator[str]:
    for one in patterns:
        path = f"{prefix}{one.pattern}"
        if hasattr(one, "url_patterns"):
            yield from _patterns(one.url_patterns, path)
        elif not set(path) & set("<(^$[*+?\\"):  # a parameter, or an expression
            yield path
