"""Whose an object is, by where the block of memory that it lies in was born.

Called for each object of the app in a walk of the heap, in a forked child where it can.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from leakmw.records import Births
from leakmw.tracers.grouping import is_ours, origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.records import Frame, Wanted
    from leakmw.tracers.grouping import RawTraceback
    from leakmw.tracers.ownership import Ownership

    Find = Callable[[int], tuple[int, int, object] | None]
    """Returns node, window of birth and visit of the sample at an address."""

    PathOf = Callable[[int], tuple[Frame, ...] | None]
    """Returns the app's own frames of a node, outermost first."""


UNKNOWN = Births(lambda _thing, _block: None, by_block=False, told=False)
"""Where births are not known."""


def traced(wanted: Wanted, ownership: Ownership) -> Births:
    """Return what tells it by the tracebacks of tracemalloc, which know no endpoint."""
    first = {place: next(iter(endpoints.values())) for place, endpoints in wanted.items()}
    lookup: Callable[[int, int], RawTraceback | None]
    lookup = _BY_BLOCK(("_PyTraceMalloc_GetTraceback", ctypes.pythonapi))

    def born(_thing: object, block: int) -> str | None:
        traceback = lookup(_DEFAULT_DOMAIN, block)
        if traceback is None or first.keys().isdisjoint(traceback) or is_ours(traceback):
            return None
        own, _ = origin(traceback, len(traceback), ownership)
        return first.get(own[0])

    return Births(born, by_block=True, begin=untraced)


_BY_BLOCK = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_uint, ctypes.c_size_t)
"""Of CPython's ``pycore_tracemalloc.h``. What ``tracemalloc`` itself offers takes an object: it
knows no buffers, and in Python 3.11 no instance that has attributes."""

_DEFAULT_DOMAIN = 0

_DOMAINS = (1, 2)  # PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ

_NEAR_BYTES = 64 << 20
"""How far apart functions of one library may lie."""


class _Allocator(ctypes.Structure):
    """``PyMemAllocatorEx`` of CPython's ``Include/cpython/pymem.h``."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


def untraced() -> None:
    """Take tracemalloc off the allocators and leave it its traces; for a forked child alone.

    A traceback is made of some thirty tuples, and to trace each of them takes ten times as long as
    to make it. The context of tracemalloc's allocator is the one below it.
    """
    here = ctypes.cast(ctypes.pythonapi.PyMem_Malloc, ctypes.c_void_p).value or 0
    for domain in _DOMAINS:
        top = _Allocator()
        ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(top))
        if top.ctx and abs(top.malloc - here) < _NEAR_BYTES:  # Python's own, nobody else's hook
            below = _Allocator.from_address(top.ctx)
            ctypes.pythonapi.PyMem_SetAllocator(domain, ctypes.byref(below))


def sampled(wanted: Wanted, find: Find, path_of: PathOf, newest: int) -> Births:
    """Return what tells it by the samples that have outlived the window of their birth.

    Args:
        wanted: The findings that are asked for.

        find: Looks up a block.

        path_of: Resolves the node of its traceback.

        newest: The latest window that has ended: what was born before it has outlived its own.
    """

    def born(_thing: object, block: int) -> str | None:
        sample = find(block)
        if sample is None:
            return None
        node, birth, visit = sample
        path = path_of(node) if birth < newest else None
        if not path:
            return None
        by_endpoint = wanted.get((path[-1].file, path[-1].line))
        if by_endpoint is None:
            return None
        tally = getattr(visit, "endpoint", None)
        return by_endpoint.get(getattr(tally, "name", ""))

    return Births(born, by_block=True)
