"""Where events go: structlog as the app configured it, else logging, else one line on stderr.

Nothing is configured here, no handler is added, and nothing that fails here reaches the caller.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Literal

from leakmw.report.terminal import shorten

LOGGER = "leakmw"
LIMIT = 7 * 1024
"""Bytes of one event as JSON, its line for plain logging included; renderers add a little."""

Level = Literal["info", "warning", "error"]
Fields = dict[str, str | float]
Failed = Callable[[str, BaseException], None]
"""Told once for each way that does not work: its name and the error."""


class Log:
    """Says events, whatever state the app's own logging is in.

    Args:
        failed: Told once for each of ``structlog`` and ``logging`` that raises. Must not raise.
    """

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._broken: set[str] = set()

    def say(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        """Send *event* with those of its *fields* that are known.

        It is sent from an empty context: what is bound for the request under way is not its own.
        """
        Context().run(self._say, level, event, _fit(event, _known(fields)))

    def _say(self, level: Level, event: str, fields: Fields) -> None:
        for name, way in (("structlog", _to_structlog), ("logging", _to_logging)):
            try:
                if way(level, event, fields):
                    return
            except Exception as error:  # noqa: BLE001  # the app's own logging may raise anything
                self._tell(name, error)
        with contextlib.suppress(Exception):  # stderr was the last resort
            sys.stderr.write(f"{line(event, fields)}\n")

    def _tell(self, name: str, error: Exception) -> None:
        if name not in self._broken:
            self._broken.add(name)  # first: telling comes this way again
            self._failed(name, error)


def line(event: str, fields: Fields) -> str:
    """Return *event* for a log without fields: ``event key=value``, quoted where needed."""
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: str | float) -> str:
    shown = str(value)
    return (
        json.dumps(shown, ensure_ascii=False) if set(shown) & set(' "=\\') or not shown else shown
    )


def _to_structlog(level: Level, event: str, fields: Fields) -> bool:
    """Return whether the app configured structlog, after sending the event to it.

    An app that did has imported it: one that did not need not pay for the import.
    """
    if sys.modules.get("structlog") is None:
        return False
    import structlog

    if not structlog.is_configured():
        return False
    wrapper = structlog.get_config()["wrapper_class"]
    if isinstance(wrapper, type) and issubclass(wrapper, structlog.stdlib.AsyncBoundLogger):
        wrapper = structlog.stdlib.BoundLogger  # no event loop runs here to await in
    logger = structlog.wrap_logger(None, wrapper_class=wrapper, logger_factory_args=(LOGGER,))
    getattr(logger, level)(event, **fields)
    return True


def _to_logging(level: Level, event: str, fields: Fields) -> bool:
    say = getattr(logging.getLogger(LOGGER), level)
    say(line(event, fields), extra={"event": event, **fields})
    return True


def _known(fields: Mapping[str, object]) -> Fields:
    return {key: plain for key, value in fields.items() if (plain := _plain(value)) is not None}


def _plain(value: object) -> str | float | None:
    """Return a text in which nothing acts, or a figure of six digits; ``None`` for all else."""
    match value:
        case str():
            return shorten(value, LIMIT)
        case float() if math.isfinite(value):
            return float(f"{value:.6g}")
        case int():
            return value
    return None


def _fit(event: str, fields: Fields) -> Fields:
    """Return *fields* with the longest texts halved until the event is within its limit."""
    while len(json.dumps([line(event, fields), fields])) > LIMIT:
        longest = max(fields, key=lambda key: len(str(fields[key])))
        fields[longest] = shorten(str(fields[longest]), len(str(fields[longest])) // 2)
    return fields
