"""Where a walk of the heap begins: modules, then what threads have on their stacks."""

from __future__ import annotations

import sys
import threading
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from leakmw.heap.graph import THREADS, Root
from leakmw.heap.objects import is_a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from leakmw.heap.graph import Graph

namespace_of = vars(ModuleType)["__dict__"].__get__


def _locals_of_a_function() -> object:
    return sys._getframe().f_locals  # noqa: SLF001  # there is no other way


FrameLocals = type(_locals_of_a_function())
"""What functions show their variables by: from Python 3.13 on no dictionary."""


OURS = Root("leakmw", "", None)
"""What holds the variables of leakmw's own thread."""


def modules(own: Callable[[str], bool]) -> list[Root]:
    """Return the modules, those of the app first, then by the length of their names.

    Where two name the same thing, the first does.

    Args:
        own: Says whether a file is the app's.
    """
    roots = []
    for name, module in tuple(sys.modules.items()):
        if is_a(module, ModuleType):
            namespace = namespace_of(module)
            file = namespace.get("__file__")
            first = name == "__main__" or (type(file) is str and own(file))
            roots.append(((not first, len(name)), Root("module", name, namespace)))
        elif module is not None:
            roots.append(((True, len(name)), Root("module", name, module)))
    return [root for _, root in sorted(roots, key=lambda one: one[0])]


def frames() -> Mapping[int, FrameType]:
    """Return the innermost frame of each thread, by its identifier.

    It takes a lock of the interpreter's, so it is called before a fork and not in the child.
    """
    return sys._current_frames()  # noqa: SLF001  # there is no other way


def follow_threads(graph: Graph, innermost: Mapping[int, FrameType]) -> list[Any]:
    """Walk on from the variables of all running functions; those of leakmw's own thread last.

    Returns:
        The frames, and what their variables hold.
    """
    ours = threading.get_ident()
    stacks: list[Any] = []
    for thread, frame in sorted(innermost.items(), key=lambda one: one[0] == ours):
        root = OURS if thread == ours else THREADS
        for step in _outermost_first(frame):
            contents = [content for _, content in variables(step)]
            stacks += [step, *contents]
            graph.follow([step], root)
            graph.follow(contents, step)
    return stacks


def _outermost_first(innermost: FrameType) -> list[FrameType]:
    """Return the frames of a stack: those that last say best where a thing is."""
    frames = []
    step: FrameType | None = innermost
    while step is not None:
        frames.append(step)
        step = step.f_back
    return frames[::-1]


def variables(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Return names and contents of what a running function has; of a module, nothing."""
    names = frame.f_locals
    if frame.f_code.co_flags & _OPTIMIZED and type(names) in {dict, FrameLocals}:
        yield from names.items()


_OPTIMIZED = 1
"""``inspect.CO_OPTIMIZED``: of functions, whose variables are no namespace of the app's making."""
