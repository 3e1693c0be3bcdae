"""Names, sizes and attributes of the app's objects, by methods of CPython alone.

A class of the app may have its own ``__sizeof__``, and its metaclass its own ``__getattribute__``.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from types import GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Thing = TypeVar("Thing")

NAME_LIMIT = 200
"""Characters of the name of a class that are shown."""

# The getters of ``type`` itself, which no metaclass can override.
_name_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__
_bases_of = type.__dict__["__mro__"].__get__
_members_of = type.__dict__["__dict__"].__get__
_flags_of = type.__dict__["__flags__"].__get__

_IMMUTABLE, _HEAP, _HAVE_GC = 1 << 8, 1 << 9, 1 << 14
_MANAGED_WEAKREF, _MANAGED_DICT = 1 << 3, 1 << 4
_POINTER = 8


def full_name(kind: type) -> str:
    """Return module and qualified name of a type, without the module where it is a builtin."""
    module = module_of(kind)
    where = f"{module}." if module and module != "builtins" else ""
    return f"{where}{_name_of(kind)}"[:NAME_LIMIT]


def qualified_name(kind: type) -> str:
    """Return the name of a type with what it is defined in, without its module."""
    name: str = _name_of(kind)
    return name


def module_of(kind: type) -> str:
    """Return the module that a type says it is of; nothing where it says nothing of use."""
    try:
        module = _module_of(kind)
    except AttributeError:  # made by type() where no __name__ was in sight
        return ""
    # A class may call its module anything, a property included.
    return module if type(module) is str else ""


def finalizer_of(kind: type) -> object:
    """Return what stands under ``__del__`` in the type or those it inherits from, or ``None``.

    Looked for key by key: a look-up in a dictionary may compare with a key made by the app.
    """
    for base in _bases_of(kind):
        for name, member in _members_of(base).items():
            if type(name) is str and name == "__del__":
                found: object = member
                return found
    return None


def ranked(things: Iterable[Thing]) -> list[tuple[Thing, int]]:
    """Return how often each of *things* comes, most often first.

    A ``Counter`` would ask whether it was given a mapping, and with that run code of the app.
    """
    counts: dict[Thing, int] = {}
    for thing in things:
        counts[thing] = counts.get(thing, 0) + 1
    return sorted(counts.items(), key=lambda item: -item[1])


def perilous() -> object:
    """Return the object that must not be walked through; ``None`` where there is none.

    ``_asyncio`` of Python 3.12 shows dead futures' iterators that it keeps for reuse. To refer to
    them brings them to life, when that ends they are put aside a second time, and from then on the
    list of them has no end: the next walk takes all memory, and an app would be broken.
    """
    module = sys.modules.get("_asyncio") if sys.version_info[:2] == (3, 12) else None
    return module if type(module) is ModuleType else None


def tracked(generation: int | None = None) -> list[Any]:
    """Return what the collector looks at, of all generations or one, but for what is perilous."""
    danger = perilous()
    objects = gc.get_objects(generation)
    if danger is None:
        return objects
    # no closure here: its cell would be one of the objects, and dead at the end
    for place, one in enumerate(objects):
        if one is danger:
            del objects[place]
            break
    return objects


def referents_of(thing: object, danger: object) -> list[Any]:
    """Return what *thing* refers to.

    Args:
        thing: Any object.

        danger: As :func:`perilous` returned it: its dictionary alone is told.
    """
    if thing is danger and danger is not None:
        return [vars(thing)]
    return gc.get_referents(thing)


def size_of(thing: object) -> int:
    """Return the object's own bytes as the nearest ``__sizeof__`` written in C counts them."""
    candidates = ((base, _members_of(base).get("__sizeof__")) for base in _bases_of(type(thing)))
    sizeof = next(
        method
        for base, method in candidates
        if type(method) is MethodDescriptorType and method.__objclass__ is base
    )
    size: int = sizeof(thing)
    return size


def is_a(thing: object, *kinds: type) -> bool:
    """Return whether the object is an instance of one of *kinds*, whatever it says of itself."""
    return is_derived(type(thing), *kinds)


def is_derived(kind: type, *kinds: type) -> bool:
    """Return whether a class is one of *kinds* or inherits from one."""
    return any(base is one for base in _bases_of(kind) for one in kinds)


def is_immutable(kind: type) -> bool:
    """Return whether a type was made in C for good: its name stands in somebody's source."""
    return not _flags_of(kind) & _HEAP or bool(_flags_of(kind) & _IMMUTABLE)


def is_collected(kind: type) -> bool:
    """Return whether the collector walks through instances of a type: others hold nothing."""
    return bool(_flags_of(kind) & _HAVE_GC)


def header_bytes(kind: type) -> int:
    """Return how far into its block of memory an instance of a type begins.

    As ``_PyType_PreHeaderSize`` in CPython's ``Include/internal/pycore_object.h`` has it.
    """
    flags = _flags_of(kind)
    before = _MANAGED_DICT | (_MANAGED_WEAKREF if sys.version_info >= (3, 12) else 0)
    collected = 2 * _POINTER if flags & _HAVE_GC else 0
    return collected + (2 * _POINTER if flags & before else 0)


_BUFFERS: dict[object, int] = {list: 24, bytearray: 32, dict: 32, set: 40}
"""Where a collection has the address of the block in which its entries stand: ``ob_item``,
``ob_bytes``, ``ma_keys`` and ``table`` of the structures in CPython's ``Include/cpython``."""


def buffer_of(thing: object) -> int:
    """Return the address of the block in which a collection has its entries; 0 for others."""
    offset = _BUFFERS.get(type(thing)) if type(type(thing)) is type else None
    if offset is None:
        return 0
    return ctypes.c_size_t.from_address(id(thing) + offset).value


def attributes_of(thing: object) -> dict[str, Any] | None:
    """Return the attribute dictionary of an instance, if it has one."""
    for base in _bases_of(type(thing)):
        getter = _members_of(base).get("__dict__")
        if type(getter) is GetSetDescriptorType:
            try:
                found = getter.__get__(thing)
            except AttributeError:
                return None
            return found if type(found) is dict else None
    return None


def slots_of(thing: object) -> Iterator[tuple[str, Any]]:
    """Return the names and contents of the slots of an instance that are filled."""
    for base in _bases_of(type(thing)):
        for name, member in tuple(_members_of(base).items()):
            if type(member) is MemberDescriptorType:
                try:
                    yield name, member.__get__(thing)
                except AttributeError:  # empty
                    continue


def members_of(kind: type) -> dict[str, Any]:
    """Return what stands in the body of a class, by name."""
    return dict(_members_of(kind))
