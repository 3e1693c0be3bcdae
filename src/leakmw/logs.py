"""Other names for the fields of leakmw's log events: those that a log platform expects."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

from leakmw.report.presets import PREFIX, own, renamed

if TYPE_CHECKING:
    from collections.abc import MutableMapping

LOGGER = "leakmw"
"""The logger of all events."""

Preset = Literal["flat", "otel", "ecs"]


class Fields(logging.Filter):
    """Renames the fields of leakmw's events, and leaves all other events alone.

    It is a processor of structlog, to stand before what renders the event, and a filter of
    ``logging``, to be added to the handler whose formatter shows the fields.

    Args:
        preset: ``flat`` leaves them as they are; ``otel`` gives them the names of OpenTelemetry's
            semantic conventions, ``ecs`` those of the Elastic Common Schema.

    Raises:
        ValueError: If there is no such preset.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        if preset not in get_args(Preset):
            known = ", ".join(get_args(Preset))
            raise ValueError(f"leakmw: no fields are called {preset!r}: use one of {known}")
        self._preset = preset

    def __call__(
        self, _logger: object, _method: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return an event of structlog with its fields renamed."""
        name = event_dict.get("event")
        if self._preset == "flat" or not _is_event(name):
            return event_dict
        rest = {key: value for key, value in event_dict.items() if key != "event"}
        return {"event": name, **renamed(name, rest, self._preset)}

    def filter(self, record: logging.LogRecord) -> bool:
        """Rename the fields of a record, once; it is let through in any case."""
        known = record.__dict__
        name = known.get("event")
        if self._preset != "flat" and record.name == LOGGER and _is_event(name):
            told = {key: known.pop(key) for key in tuple(known) if own(key)}
            del known["event"]
            said = renamed(name, told, self._preset)
            if self._preset == "ecs":
                # each record has its process: Elastic's formatter refuses to be told twice
                said.pop("process.pid", None)
            known.update(said)
        return True


def fields(preset: Preset) -> Fields:
    """Return what renames the fields of leakmw's events.

    Args:
        preset: ``flat``, ``otel`` or ``ecs``.

    Raises:
        ValueError: If there is no such preset.
    """
    return Fields(preset)


def _is_event(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name.startswith(PREFIX)
