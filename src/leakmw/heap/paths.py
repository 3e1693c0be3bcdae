"""How a developer would call the way to an object: ``shop.views.SESSIONS``.

Keys and values are never shown: what stands in a collection is ``[…]``.
"""

from __future__ import annotations

import asyncio
import threading
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    TracebackType,
)
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.containers import CACHED, LENGTHS
from leakmw.heap.graph import Root, is_namespace
from leakmw.heap.naming import SUSPENDED, UNTOLD, code_of
from leakmw.heap.objects import attributes_of, is_a, members_of, slots_of
from leakmw.heap.roots import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leakmw.heap.naming import Names

MOST_STEPS = 8
"""Steps of a path that are shown; what comes before is left out from a place that says where."""

ITEM = f"[{UNTOLD}]"
ARROW = " → "

TELLING = (CACHED, FunctionType, *SUSPENDED, asyncio.Task, FrameType)
"""What is named wherever a way leads to it."""

PASSED = (CACHED, CellType, MethodType, TracebackType, threading.local)
"""What says nothing of how it holds something."""

_FRAMES = {
    GeneratorType: GeneratorType.gi_frame.__get__,
    CoroutineType: CoroutineType.cr_frame.__get__,
    AsyncGeneratorType: AsyncGeneratorType.ag_frame.__get__,
}


class Step(NamedTuple):
    """One piece of a path.

    Attributes:
        text: As it is shown.
        starts: Whether a path may begin here: it says by itself where it is.
        whole: Whether it must: what comes before says nothing more.
    """

    text: str
    starts: bool = False
    whole: bool = False


def path(names: Names, way: Sequence[Any], owner: object = None) -> str:
    """Return the way from a root to the last object of *way*.

    Args:
        names: Says what may be shown.

        way: The root, and what lies on the way.

        owner: The instance on the way whose class is to be named in any case.
    """
    return _joined(list(_steps(names, way, owner)))


def _joined(steps: list[Step]) -> str:
    """Join the pieces of a path, of a long one the last from a place that says where it is."""
    first = max((index for index, one in enumerate(steps) if one.whole), default=0)
    if len(steps) - first > MOST_STEPS:
        starts = [i for i, one in enumerate(steps) if one.starts and first <= i < len(steps) - 1]
        near = [index for index in starts if len(steps) - index <= MOST_STEPS]
        first = min(near, default=max(starts, default=first))
    return "".join(step.text for step in steps[first:]).removeprefix(ARROW)


def _steps(names: Names, way: Sequence[Any], owner: object) -> Iterator[Step]:
    root, *things = way
    if root.kind == "module":
        yield Step(names.of_module(root.name), starts=True)
    elif root.kind == "outside":
        yield Step("held outside of Python", starts=True)
    for index, thing in enumerate(things):
        text = _edge(names, way[: index + 1], thing)
        if text:
            yield Step(text)
        if thing is owner:
            yield Step(f"{ARROW}{names.of_type(type(thing))}", starts=True)
        elif index < len(things) - 1 or is_a(thing, *TELLING):
            yield from _named(names, thing, wanted=text == ITEM)


def _named(names: Names, thing: Any, *, wanted: bool) -> Iterator[Step]:
    """Name what a way has come to, where its step does not."""
    if is_a(thing, CACHED):
        yield Step(f"{ARROW}{names.of_cache(thing)}", whole=True)
    elif is_a(thing, FunctionType):
        yield Step(f"{ARROW}{names.of_function(thing)}", starts=True)
    elif is_a(thing, *SUSPENDED):
        yield Step(f"{ARROW}{names.of_suspended(thing)}", starts=True)
    elif is_a(thing, asyncio.Task):
        yield Step(f"{ARROW}{names.of_task(thing)}", starts=True)
    elif is_a(thing, FrameType):
        yield Step(f"{ARROW}frame of {names.of_code(thing.f_code)}", starts=True)
    elif is_a(thing, TracebackType):
        yield Step(f"{ARROW}traceback")
    elif wanted and is_a(thing, type):
        yield Step(f"{ARROW}{names.of_class(thing)}", starts=True)
    elif wanted and attributes_of(thing) is not None:
        yield Step(f"{ARROW}{names.of_type(type(thing))}", starts=True)


def _edge(names: Names, way: Sequence[Any], child: Any) -> str:
    """Say by what the last step of *way* holds *child*; nothing where that says nothing."""
    *before, parent = way
    above = before[-1] if before else None
    if type(parent) is Root or is_a(parent, *PASSED) or is_a(above, threading.local):
        return ""
    if is_namespace(way):
        return _attribute(names, parent.items(), child) or ITEM
    if is_a(parent, type):
        return _attribute(names, members_of(parent).items(), child)
    if is_a(parent, FrameType, *SUSPENDED):
        return _variable(names, parent, child)
    if type(parent) is tuple and is_a(above, FunctionType):
        return _in_closure(names, above, parent, child)
    return _in_instance(names, parent, child)


def _in_instance(names: Names, parent: Any, child: Any) -> str:
    own = attributes_of(parent)
    if own is not None:
        if child is own:
            return ""
        if found := _attribute(names, own.items(), child):
            return found
    item = ITEM if is_a(parent, *LENGTHS) else ""
    slots = (slot for slot in slots_of(parent) if not slot[0].startswith("__"))
    return _attribute(names, slots, child) or item


def _attribute(names: Names, items: Iterable[tuple[object, object]], child: object) -> str:
    return next((f".{names.shown(name)}" for name, one in items if one is child), "")


def _variable(names: Names, holder: Any, child: object) -> str:
    frame = holder if is_a(holder, FrameType) else _FRAMES[type(holder)](holder)
    if frame is None:
        return ""
    held = (name for name, content in variables(frame) if content is child)
    return next((f"{ARROW}local {names.shown(name)}" for name in held), "")


def _in_closure(names: Names, function: Any, closure: tuple[Any, ...], child: object) -> str:
    if closure is not function.__closure__:
        return f"{ARROW}default value"
    cells = zip(code_of(function).co_freevars, closure, strict=False)
    return next((f"{ARROW}cell {names.shown(name)}" for name, cell in cells if cell is child), "")
