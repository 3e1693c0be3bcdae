"""How a request of Flask is named: by the rule that its URL map found."""

from __future__ import annotations

import sys
from typing import Any

from leakmw.records import Route


def flask_route(request: Any) -> Route:
    """Return the route of *request*, while Flask answers it: afterwards its app is forgotten."""
    rule = request.url_rule
    if rule is None:
        return Route(request.method, None)
    return Route(request.method, rule.rule, _view(rule.endpoint))


def _view(endpoint: str) -> object:
    try:
        # through the proxy itself every attribute costs four times as much
        app = sys.modules["flask"].current_app._get_current_object()  # noqa: SLF001
    except RuntimeError:  # no app is answering
        return None
    return app.view_functions.get(endpoint)
