"""Records as JSON and back, by the annotations of their fields.

Tuples with names become arrays, which the C encoder writes by itself; dataclasses become objects.
Fields that a newer version adds at the end are ignored by an older one, and those that an older
one did not write have their defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def encoded(record: object) -> str:
    """Return *record* as JSON."""
    return json.dumps(record, default=_plain, separators=(",", ":"))


def decoded(kind: type[Record], text: str) -> Record:
    """Return the record of *kind* that was encoded as *text*.

    Raises:
        ValueError: If it is none.
    """
    try:
        record: Record = _read(kind, json.loads(text))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no {kind.__name__}") from error
    return record


def _plain(value: object) -> Any:
    kind: Any = type(value)
    names = _names(kind)
    if names:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not kept")


def _read(kind: Any, raw: Any) -> Any:
    """Return *raw* as a value of *kind*.

    Raises:
        ValueError: If it is none, or another exception that says so.
    """
    if kind is Any:
        return raw
    if get_origin(kind) is not None:
        return _generic(get_origin(kind), get_args(kind), raw)
    if is_dataclass(kind) or (issubclass(kind, tuple) and kind is not tuple):
        return _record(kind, raw)
    return _simple(kind, raw)


def _generic(origin: Any, arguments: tuple[Any, ...], raw: Any) -> Any:
    if origin in {Union, UnionType}:
        (kind,) = (one for one in arguments if one is not NoneType)
        return None if raw is None else _read(kind, raw)
    if origin is Mapping:
        return {_read(arguments[0], name): _read(arguments[1], one) for name, one in raw.items()}
    return _tuple(arguments, raw)


def _record(kind: Any, raw: Any) -> Any:
    known, make = _hints(kind), kind
    if is_dataclass(kind):
        names = raw.keys() & known.keys()
        return make(**{name: _read(known[name], raw[name]) for name in names})
    if not isinstance(raw, list):
        raise ValueError("no array")  # noqa: TRY004  # it comes from a file
    return make(*(_read(*pair) for pair in zip(known.values(), raw, strict=False)))


def _tuple(arguments: tuple[Any, ...], raw: Any) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise ValueError("no array")  # noqa: TRY004  # it comes from a file
    if arguments[-1:] == (...,):
        return tuple(_read(arguments[0], one) for one in raw)
    return tuple(_read(*pair) for pair in zip(arguments, raw, strict=True))


def _simple(kind: Any, raw: Any) -> Any:
    if kind is datetime:
        return datetime.fromisoformat(raw)
    if issubclass(kind, Enum):
        return kind(raw)
    if kind is float and type(raw) is int:
        return float(raw)
    if type(raw) is not kind:
        raise ValueError(f"no {kind.__name__}")
    return raw


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass; none of any other type."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
