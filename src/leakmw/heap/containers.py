"""Containers: how much they hold, and how much they may hold, without calling their methods."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.objects import attributes_of, is_a

if TYPE_CHECKING:
    from collections.abc import Callable

CACHED = functools._lru_cache_wrapper  # noqa: SLF001  # what lru_cache and cache make

LENGTHS: dict[type, Callable[[Any], int]] = {
    dict: dict.__len__,
    list: list.__len__,
    set: set.__len__,
    deque: deque.__len__,
    frozenset: frozenset.__len__,
    tuple: tuple.__len__,
    bytearray: bytearray.__len__,
}
"""The collections whose length can be read, and what reads it also for those derived from them."""

_CAPS = ("maxsize", "_maxsize", "max_size", "_max_size", "maxlen", "capacity", "_Cache__maxsize")
"""Attributes by which queues and caches say how much they will hold."""


_maxlen_of = vars(deque)["maxlen"].__get__


class Container(NamedTuple):
    """A container as it is.

    Attributes:
        kind: ``dict``, ``list``, ``set``, ``deque``, ``lru_cache`` …
        length: Entries; ``None`` where it cannot be read.
        cap: Entries that it will not exceed; ``None`` if it has no such limit.
    """

    kind: str
    length: int | None
    cap: int | None


def measured(thing: Any, owner: object = None) -> Container:
    """Return what kind of container an object is, and its length and cap.

    Args:
        thing: The container.

        owner: The instance whose attribute it is, which may have the cap.
    """
    if is_a(thing, CACHED):
        info = CACHED.cache_info(thing)
        return Container("lru_cache", info.currsize, info.maxsize)
    # by identity, as a metaclass of the app may have its own __hash__
    for kind, length in LENGTHS.items():
        if is_a(thing, kind):
            return Container(_name(thing, kind), length(thing), _cap(thing, kind, owner))
    return Container("object", None, None)


def _name(thing: object, kind: type) -> str:
    known = (OrderedDict, defaultdict)
    return next((one for one in known if is_a(thing, one)), kind).__name__


def _cap(thing: Any, kind: type, owner: object) -> int | None:
    """Return the cap that the container, or its owner, has as an attribute."""
    most: int | None = _maxlen_of(thing) if kind is deque else None
    if most is not None:
        return most
    for holder in (thing, owner):
        own = None if holder is None else attributes_of(holder)
        for name, cap in (own or {}).items():
            if type(name) is str and name in _CAPS and type(cap) is int and cap > 0:
                return cap
    return None
