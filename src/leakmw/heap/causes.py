"""Which mistake it is, from what holds the growth and what lies between the two.

Each rule looks at the way from the roots to the holder, and at the ways from there to the objects.
They are asked in the order in which they stand: what is said more precisely comes first.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.heap.containers import CACHED
from leakmw.heap.graph import OUTSIDE, THREADS
from leakmw.heap.naming import CALLABLES, SUSPENDED
from leakmw.heap.objects import is_a

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.heap.holders import Held

MOST = 0.5
"""Part of the ways that must show a trait for it to be the cause."""

PARTS = 3
"""Steps before the holder that it may be a part of."""

_REGISTRY = re.compile(
    r"listener|handler|callback|hook|observer|subscri|receiver|processor|finalize|registry\b"
)
_DEBUG_LOG = re.compile(r"\.(_?queries|queries_log|query_log|sql_log|debug_log)$")
_LOGGING = (logging.Manager, logging.Logger)
_REGISTRIES = ("logging.", "atexit", "weakref.finalize", "signal.", "gc.callbacks")
_CACHES = ("linecache.cache", "re._cache")


class Case(NamedTuple):
    """What a rule looks at.

    Attributes:
        held: What holds the objects.
        path: Its name.
    """

    held: Held
    path: str

    def mostly(self, trait: Callable[[tuple[Any, ...]], bool]) -> bool:
        """Return whether most of the ways behind the holder show *trait*."""
        tails = self.held.tails
        return sum(trait(tail) for tail in tails) > MOST * len(tails) if tails else False

    def passes(self, *kinds: type) -> bool:
        """Return whether most of the ways behind the holder lead through one of *kinds*."""
        return self.mostly(lambda tail: any(is_a(step, *kinds) for step in tail))

    def begins(self, *kinds: type) -> bool:
        """Return whether most of the holder's entries are of *kinds*."""
        return self.mostly(lambda tail: bool(tail) and is_a(tail[0], *kinds))

    def comes_by(self, *kinds: type) -> bool:
        """Return whether the holder, or what it is a part of, is one of *kinds*."""
        return any(is_a(step, *kinds) for step in self.held.chain[1:][-PARTS:])


def cause(case: Case) -> str:
    """Return the kind of mistake."""
    held = case.held
    if held.garbage > MOST * (held.garbage + held.reached):
        return "reference-cycle"
    if held.holder is None:
        return "unknown"
    return next((name for name, rule in _RULES if rule(case)), "unknown")


def _is_native(case: Case) -> bool:
    numpy = sys.modules.get("numpy")
    array = getattr(numpy, "ndarray", None)
    return type(array) is type and case.passes(array)


def _is_pending(case: Case) -> bool:
    return case.passes(asyncio.Future, asyncio.Handle) or case.comes_by(asyncio.Handle)


def _is_registry(case: Case) -> bool:
    if case.path.startswith(_REGISTRIES) or is_a(case.held.owner, *_LOGGING):
        return True
    if case.begins(*CALLABLES):
        return True
    return bool(_REGISTRY.search(case.path.lower().rpartition(".")[2]))


def _is_bound(case: Case) -> bool:
    return case.held.owner is None


_RULES: tuple[tuple[str, Callable[[Case], bool]], ...] = (
    ("reference-cycle", lambda case: case.path.startswith("gc.garbage")),
    ("pending-task", _is_pending),
    ("thread", lambda case: case.held.holder is THREADS or case.passes(threading.Thread)),
    ("held-traceback", lambda case: case.passes(TracebackType)),
    ("suspended-generator", lambda case: case.passes(*SUSPENDED)),
    ("unbounded-cache", lambda case: case.comes_by(CACHED) or case.path.startswith(_CACHES)),
    # a class that is reached by another way does not lie behind the holder
    ("growing-types", lambda case: case.passes(type)),
    ("native-memory", _is_native),
    ("callback-registry", _is_registry),
    ("debug-log", lambda case: bool(_DEBUG_LOG.search(case.path))),
    ("unknown", lambda case: case.held.holder is OUTSIDE),
    ("unbounded-collection", _is_bound),
    ("long-lived-holder", lambda _: True),
)
