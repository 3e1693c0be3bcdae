"""The fields of log events under the names of OpenTelemetry and of the Elastic Common Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.report.routes import attributes, named

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "leakmw."
"""What every event's name begins with, and every field's that no convention has a name for."""

NUMBERS = frozenset(
    {
        *("bytes_per_request", "bytes_per_request_high", "bytes_per_request_low"),
        *("bytes_per_second", "confidence", "cost_ratio", "count", "endpoints", "findings"),
        *("free_bytes", "growth_blocks", "growth_bytes", "growth_visits", "leaks"),
        *("limit_bytes", "native_bytes", "own_bytes", "python_bytes", "rss_bytes"),
        *("schema_version", "seconds_to_limit", "site_line", "suspects", "visits", "workers"),
        *("window_seconds", "worker_pid"),
    }
)
"""Fields of the events that are numbers."""

TEXTS = frozenset(
    {
        *("advice", "cause", "endpoint", "engine", "error_at", "error_message", "error_type"),
        *("evidence", "fingerprint", "holder_kind", "holder_path", "report_id", "report_path"),
        *("service", "site_file", "site_function", "site_traceback", "sites", "verdict"),
        *("version", "where", "worker_host"),
    }
)
"""Fields of the events that are texts."""

_BOTH = {
    "service": "service.name",
    "version": "service.version",
    "worker_host": "host.name",
    "worker_pid": "process.pid",
}

_NAMES = {
    "otel": {
        **_BOTH,
        "site_file": "code.file.path",
        "site_line": "code.line.number",
        "site_function": "code.function.name",
        "error_type": "exception.type",
        "error_message": "exception.message",
    },
    "ecs": {**_BOTH, "error_type": "error.type", "error_message": "error.message"},
}

_KINDS = {
    "leakmw.report": "metric",
    "leakmw.leak_suspected": "alert",
    "leakmw.leak_confirmed": "alert",
}
"""What an event is to Elastic; all others are plain events."""


def own(field: str) -> bool:
    """Return whether *field* is one of leakmw's events."""
    return field in NUMBERS or field in TEXTS


def renamed(event: str, fields: Mapping[str, Any], preset: str) -> dict[str, Any]:
    """Return *fields* with the names of a preset; those that are not leakmw's keep theirs.

    Args:
        event: Name of the event.

        fields: Of the event, besides its name.

        preset: ``flat``, ``otel`` or ``ecs``.
    """
    if preset == "flat":
        return dict(fields)
    names = _NAMES[preset]
    said = {
        names.get(field, PREFIX + field) if own(field) else field: value
        for field, value in fields.items()
    }
    said |= _endpoint(fields.get("endpoint"), preset)
    if preset == "otel":
        return said | {"event.name": event}
    kind = _KINDS.get(event, "event")
    return said | {"event.action": event, "event.kind": kind, "event.dataset": "leakmw"}


def _endpoint(endpoint: object, preset: str) -> dict[str, str]:
    if not isinstance(endpoint, str):
        return {}
    if preset == "otel":
        return attributes(endpoint)
    method = attributes(endpoint).get("http.request.method")
    return {"leakmw.route": named(endpoint).route} | (
        {"http.request.method": method} if method else {}
    )
