"""Records as JSON and back, by the annotations of their fields.

Tuples with names become arrays, which the C encoder writes by itself; dataclasses become objects.
Fields that a newer version adds at the end are ignored by an older one, and those that an older
one did not write have their defaults.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
Reader = Callable[[Any], Any]


def encoded(record: object) -> str:
    """Return *record* as JSON."""
    return json.dumps(record, default=_plain, separators=(",", ":"))


def decoded(kind: type[Record], text: str) -> Record:
    """Return the record of *kind* that was encoded as *text*.

    Raises:
        ValueError: If it is none.
    """
    try:
        wanted: Any = kind
        record: Record = _reader(wanted)(json.loads(text))
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


@cache
def _reader(kind: Any) -> Reader:
    """Return what makes a value of *kind* of JSON, or raises what says that it is none.

    It is made once for each kind: to look at annotations takes longer than all the rest.
    """
    if get_origin(kind) is not None:
        return _generic(get_origin(kind), get_args(kind))
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if is_dataclass(kind):
        return partial(_dataclass, kind)
    if issubclass(kind, tuple) and kind is not tuple:
        return partial(_named_tuple, kind)
    read: Reader = kind if issubclass(kind, Enum) else partial(_exactly, kind)
    return read


def _generic(origin: Any, arguments: tuple[Any, ...]) -> Reader:
    if origin in {Union, UnionType}:
        (kind,) = (one for one in arguments if one is not NoneType)
        return partial(_optional, _reader(kind))
    readers = tuple(_reader(one) for one in arguments if one is not ...)
    if origin is Mapping:
        return partial(_mapping, *readers)
    if arguments[-1:] == (...,):
        return partial(_array, *readers)
    return partial(_tuple, readers)


def _optional(read: Reader, raw: Any) -> Any:
    return None if raw is None else read(raw)


def _mapping(read_name: Reader, read: Reader, raw: Any) -> dict[Any, Any]:
    return {read_name(name): read(one) for name, one in raw.items()}


def _array(read: Reader, raw: Any) -> tuple[Any, ...]:
    return tuple(map(read, _exactly(list, raw)))


def _tuple(readers: tuple[Reader, ...], raw: Any) -> tuple[Any, ...]:
    return tuple(read(one) for read, one in zip(readers, _exactly(list, raw), strict=True))


def _dataclass(kind: Any, raw: Any) -> Any:
    readers = _readers(kind)
    return kind(**{name: readers[name](one) for name, one in raw.items() if name in readers})


def _named_tuple(kind: Any, raw: Any) -> Any:
    pairs = zip(_readers(kind).values(), _exactly(list, raw), strict=False)
    return kind(*(read(one) for read, one in pairs))


def _float(raw: Any) -> Any:
    return float(raw) if type(raw) is int else _exactly(float, raw)


def _exactly(kind: type, raw: Any) -> Any:
    if type(raw) is not kind:
        raise ValueError(f"no {kind.__name__}")
    return raw


def _as_it_is(raw: Any) -> Any:
    return raw


_SIMPLE: Mapping[Any, Reader] = {
    Any: _as_it_is,
    datetime: datetime.fromisoformat,
    float: _float,
}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass; none of any other type."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


@cache
def _readers(kind: Any) -> dict[str, Reader]:
    """Return what reads each field of a record; asked for late, as it may hold its like."""
    return {name: _reader(one) for name, one in get_type_hints(kind).items()}
