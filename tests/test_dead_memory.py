"""Dead objects that the interpreter keeps for reuse are no memory of the app."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING

import pytest

from leakmw import forked
from leakmw.tracers.exact import ExactTracer

if TYPE_CHECKING:
    from collections.abc import Iterator

TUPLES = 1500
"""As many as the free list of their length takes."""

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="only a forked child may free them")


@pytest.fixture
def tracer() -> Iterator[ExactTracer]:
    """A running tracer with memory to spare."""
    gc.collect()  # it empties the free lists: reused blocks from before tracing are not seen
    tracer = ExactTracer(4, lambda: sys.maxsize, lambda _where, error: pytest.fail(str(error)))
    tracer.start()
    yield tracer
    tracer.stop()


def live_bytes(tracer: ExactTracer, line: int) -> int:
    """Return what the tracer sees alive of what was born at *line* of this file."""
    rows = tracer.trace(frozenset(), lambda: None).rows
    return sum(row.bytes for row in rows if row.path[-1][:2] == (__file__, line))


def tuples() -> list[tuple[int]]:
    """Return many tuples of one length, born at one line."""
    return [(number,) for number in range(TUPLES)]


BIRTH = tuples.__code__.co_firstlineno + 2


def test_kept_tuples_are_seen(tracer: ExactTracer) -> None:
    """What the app holds is counted where it was born."""
    kept = tuples()
    assert live_bytes(tracer, BIRTH) > sys.getsizeof(kept[0]) * TUPLES


def test_dropped_tuples_are_not_seen(tracer: ExactTracer) -> None:
    """What waits in a free list is not."""
    tuples()
    assert live_bytes(tracer, BIRTH) < sys.getsizeof((0,)) * TUPLES // 10


def test_garbage_of_the_app_stays_its_own(tracer: ExactTracer) -> None:
    """Nothing of the app is collected for it, and no callback of its collector is called."""
    phases: list[str] = []
    gc.disable()
    try:
        cycle = Node()
        cycle.itself = cycle
        alive = weakref.ref(cycle)
        del cycle
        gc.callbacks.append(lambda phase, _: phases.append(phase))
        tracer.trace(frozenset(), lambda: None)
        assert alive() is not None
        assert phases == []
    finally:
        gc.callbacks.pop()
        gc.enable()


class Node:
    """May refer to itself."""

    itself: Node
