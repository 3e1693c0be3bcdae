"""Log lines as aggregators hand them out, and the events of leakmw in them.

A line is an event as JSON, or has one in it: after a prefix (CRI, ``kubectl logs --prefix``, Loki,
CloudWatch), or wrapped into other JSON (Docker, Loki, Elasticsearch, Datadog, CloudWatch), as an
object or as text in a field. A line of plain ``logging`` has the fields as ``key=value``.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEPEST = 8
"""Wrappings that are taken off one after the other."""

STARTS = 32
"""Places of a line where JSON is tried."""

_NAME = r"leakmw\.(?:report|leak_suspected|leak_confirmed|leak_resolved|self_error)"
_NAMED = re.compile(rf"\b{_NAME}\b")
_WHOLE = re.compile(_NAME)
_FLAT = re.compile(
    rf"(?:^|(?<=[\s:|\]]))(?P<name>{_NAME})(?P<fields>(?:\s+\w+=(?:\"(?:[^\"\\]|\\.)*\"|\S*))+)"
)
_FIELD = re.compile(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\S*)")
_TIME = re.compile(r"\s*(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?)")

_NAMES = ("event", "event.action", "event_name", "message", "msg", "body")
_TIMES = ("timestamp", "@timestamp", "time", "ts", "asctime", "datetime")
_DECODER = json.JSONDecoder()


class BadLineError(ValueError):
    """A line that names an event of leakmw and cannot be read."""


class Event(NamedTuple):
    """An event of leakmw.

    Attributes:
        name: Such as ``leakmw.report``.
        fields: Its fields, as far as they can be told from the aggregator's.
        when: Seconds since the epoch; ``None`` where nothing says.
    """

    name: str
    fields: Mapping[str, Any]
    when: float | None


def events(line: str) -> list[Event]:
    """Return the events in *line*, of which most lines have none.

    Raises:
        BadLineError: If it names one and is broken.
    """
    return list(_events(line, None, 0))


def _events(line: str, when: float | None, depth: int) -> Iterator[Event]:
    if depth > DEEPEST or not _NAMED.search(line):
        return
    stamp = _TIME.match(line)
    when = _moment(stamp[1]) if stamp else when
    found = False
    for value in _values(line):
        for event in _unwrapped(value, when, depth):
            found = True
            yield event
        if found:
            return
    if flat := _FLAT.search(line):
        fields = {name: _text(value) for name, value in _FIELD.findall(flat["fields"])}
        yield Event(flat["name"], fields, when)
    elif "{" in line:
        raise BadLineError(line)


def _values(line: str) -> Iterator[Any]:
    """Yield what is JSON in *line*: the whole of it, or what follows a prefix."""
    index, tries = 0, 0
    while tries < STARTS and (start := _START.search(line, index)):
        tries += 1
        try:
            value, index = _DECODER.raw_decode(line, start.start())
        except (ValueError, RecursionError):
            index = start.end()
        else:
            yield value


_START = re.compile(r"[{\[]")


def _unwrapped(value: Any, when: float | None, depth: int) -> Iterator[Event]:
    """Yield the events in *value*: itself, or what is wrapped into it."""
    if depth > DEEPEST:
        return
    match value:
        case str():
            yield from _events(value, when, depth + 1)
        case list():
            for item in value:
                yield from _unwrapped(item, when, depth + 1)
        case dict():
            when = _first(map(_moment, map(value.get, _TIMES))) or when
            name = _first(map(_named, map(value.get, _NAMES)))
            if name is not None:
                yield Event(name, value, when)
                return
            # what is an object already comes before a text that says the same again
            for kind in (dict, list, str):
                for inner in value.values():
                    if isinstance(inner, kind) and (
                        found := list(_unwrapped(inner, when, depth + 1))
                    ):
                        yield from found
                        return


def _first(values: Iterator[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _named(value: Any) -> str | None:
    """Return the event that *value* names, as flat text or as ECS has it."""
    if isinstance(value, dict):
        value = value.get("action")
    return value if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def _text(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _moment(value: Any) -> float | None:
    """Return seconds since the epoch from ISO 8601, or from a number of s, ms, µs or ns."""
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value.strip().replace(",", "."))
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LATEST_NS:
        return None
    while value > _LATEST:
        value /= 1000
    return float(value)


_LATEST = 1e11  # seconds: in some thousand years; a number above it is one of smaller units
_LATEST_NS = 1e20


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
