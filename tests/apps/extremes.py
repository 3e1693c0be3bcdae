"""Heaps that go far in one way or another, each with a growth whose holder is to be found."""

from __future__ import annotations

import gc
import json
import mmap
import os
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

from tests.apps.compiled import loaded

from leakmw import meters
from leakmw.heap.child import Child
from leakmw.heap.inspector import Inspector
from leakmw.heap.search import Asked, Search
from leakmw.tracers.births import traced
from leakmw.tracers.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.heap.walk import Found
    from leakmw.records import CycleGroup

MANY = 40
DEEP, WIDE, REFERRERS, CLASSES = 1_000_000, 2_000_000, 100_000, 10_000

ASKED = mmap.mmap(-1, 1)
"""Set where any code of the objects here runs: children share it."""


def grow(keep: Callable[[Any], object]) -> None:
    """Have *keep* keep what is born here."""
    tracemalloc.start(1)
    for number in range(MANY):
        keep(bytearray(number + 99))  # no list: dead ones are handed out again


BORN = (__file__, grow.__code__.co_firstlineno + 4)

CHAIN: list[Any] = []
LIST: list[Any] = []
REFERRING: list[list[Any]] = []
MADE: list[type] = []
HELD: list[Any] = []


def deep() -> None:
    """Keep at the end of a chain of a million; another one is garbage."""
    for kept in (False, True):
        last: list[Any] = []
        first = last
        for _ in range(DEEP):
            first = [first]
        (CHAIN if kept else last).append(first)
    grow(last.append)


def wide() -> None:
    """Keep in a list of two million; another one is garbage."""
    LIST.extend(map(float, range(WIDE)))
    garbage: list[Any] = [*map(float, range(WIDE))]
    garbage.append(garbage)
    del garbage
    grow(LIST.append)


def referred() -> None:
    """Keep in what a hundred thousand others refer to; the same as garbage."""
    hub: list[Any] = []
    REFERRING.extend([hub] for _ in range(REFERRERS))
    garbage: list[Any] = []
    garbage.extend([garbage] for _ in range(REFERRERS))
    del garbage
    grow(hub.append)


def classes() -> None:
    """Keep in an attribute of the last of ten thousand classes; as many others are garbage."""
    for number in range(CLASSES):
        MADE.append(type(f"Kept{number}", (), {"method": lambda self: self}))
        type(f"Made{number}", (), {"method": lambda self: self})
    last: Any = MADE[-1]
    last.instances = []
    grow(last.instances.append)


def legacy(library: str) -> None:
    """Keep in objects with a finalizer of before PEP 442; some of them are garbage."""
    module = loaded(library)

    def keep(thing: object) -> None:
        one = module.Legacy()
        one.hold(thing)
        HELD.append(one)

    for _ in range(12):
        garbage = module.Legacy()
        garbage.hold([garbage])
        del garbage
    gc.collect()  # into gc.garbage
    grow(keep)


def _raises(*_: object, **__: object) -> Any:
    ASKED[0] = 1
    raise AssertionError("code of the app ran")


def _blocks(*_: object, **__: object) -> Any:
    ASKED[0] = 1
    while True:
        pass


def _lies(*_: object, **__: object) -> Any:
    ASKED[0] = 1
    return 7


OBJECTS = (
    *("__eq__", "__ne__", "__hash__", "__len__", "__getattr__", "__getattribute__", "__repr__"),
    *("__iter__", "__bool__", "__str__", "__sizeof__", "__dir__", "__contains__", "__getitem__"),
    *("__reduce_ex__", "__format__", "__del__"),
)
CLASSES_OF_THEM = (
    *("__instancecheck__", "__subclasscheck__", "__getattribute__", "__eq__", "__repr__"),
    *("__len__", "__iter__", "__bool__", "__call__", "__dir__", "mro_", "__subclasses__"),
)


def hostile(answer: Callable[..., Any]) -> None:
    """Keep in an attribute of what answers no question, and in a dictionary that does not."""

    class Meta(type):
        """Answers no question about its classes."""

        __hash__ = type.__hash__

    class Hostile(metaclass=Meta):
        """Answers no question about itself."""

        __class__ = property(answer)

    class Bag(dict[Any, Any], metaclass=Meta):
        """Answers no question about what it has."""

        __class__ = property(answer)

    one, bag = Hostile(), Bag()
    kept: list[Any] = []
    object.__setattr__(one, "kept", kept)
    kept.append(bag)
    HELD.append(one)
    for _ in range(25):
        garbage = Hostile()
        object.__setattr__(garbage, "itself", garbage)
        del garbage
    put, number = dict.__setitem__, iter(range(MANY))
    for kind in (Hostile, Bag):
        for name in OBJECTS:
            type.__setattr__(kind, name, answer)
    for name in CLASSES_OF_THEM:
        setattr(Meta, name, answer)
    grow(lambda thing: put(bag, next(number), thing))


HEAPS: dict[str, Callable[..., None]] = {
    "deep": deep,
    "wide": wide,
    "referred": referred,
    "classes": classes,
    "legacy": legacy,
    "raising": lambda: hostile(_raises),
    "blocking": lambda: hostile(_blocks),
    "lying": lambda: hostile(_lies),
}


def found() -> Found | None:
    """Return what holds what has grown, as a forked child saw it."""
    search = Search(meters.rss_bytes, lambda: 1 << 50, str)
    births = traced({BORN: {"": "grown"}}, Ownership())
    looked = search.look([Asked("grown", lambda: MANY)], births, lambda file: file == __file__)
    return dict(looked.seen.found).get("grown") if looked.pause_seconds is not None else None


def groups() -> tuple[CycleGroup, ...]:
    """Return what cycles there are in the garbage, as a forked child saw them."""
    child = Child(meters.rss_bytes, lambda: 1 << 50)
    inspector = Inspector(child, lambda _: None, tracemalloc.stop, tuple, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    return inspector.cycles().found.groups


def main(name: str, prepare: str, *given: str) -> dict[str, Any]:
    """Make a heap, and look at it in both ways."""
    gc.collect()  # what imports have left
    gc.disable()
    HEAPS[name](*given)
    if prepare == "frozen":
        gc.freeze()
    seen = found()
    listed = [one._asdict() for one in groups()]
    return {"found": seen and seen._asdict(), "groups": listed, "asked": ASKED[0]}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)
    os._exit(0)  # nobody is to finalize what was made here
