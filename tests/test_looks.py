"""A monitor asks the heap for whoever wants to know, on its own thread, each question once."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import forked
from leakmw.heap import pauses
from leakmw.monitor import Monitor
from leakmw.records import Failure, Route, SnapshotError
from leakmw.settings import Settings
from leakmw.tickets import Tickets
from leakmw.tracers import sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.records import Heap, Waiting

PATIENCE = 120.0


def watched(engine: str) -> Iterator[Monitor]:
    """Make a monitor that is closed when the test is over."""
    monitor = Monitor(
        Settings(engine=engine, frames=4, store="memory"),
        lambda request: Route("GET", request["path"]),
    )
    yield monitor
    monitor.close()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """Return a monitor that traces exactly."""
    yield from watched("tracemalloc")


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    while not condition():
        time.sleep(0.005)


def test_callers_that_ask_the_same_get_one_answer(monitor: Monitor) -> None:
    """Those that ask something else get theirs."""
    go_on = threading.Event()
    asked: list[str] = []

    def hold(_: Heap) -> str:
        go_on.wait()
        return "held"

    def same(heap: Heap) -> object:
        asked.append("same")
        assert heap is not None
        return object()

    answers: list[Any] = []
    callers = [
        threading.Thread(target=lambda one=one: answers.append(monitor.look(one, PATIENCE)))
        for one in (hold, same, same, same)
    ]
    callers[0].start()
    until(lambda: len(monitor._questions) == 1)
    for caller in callers[1:]:
        caller.start()
    until(lambda: len(monitor._questions) == 4)
    go_on.set()
    for caller in callers:
        caller.join()
    assert len(asked) == 1
    assert "held" in answers
    assert len(set(map(id, answers))) == 2
    assert len(monitor._questions) == 0


def test_a_question_that_fails_is_told_and_the_thread_goes_on(monitor: Monitor) -> None:
    """With its reason where that may be shown, else by its kind alone."""

    def refused(_: Heap) -> None:
        raise SnapshotError("the memory limit leaves 30 MiB")

    def wrong(_: Heap) -> None:
        raise ValueError("a value of the app")

    with pytest.raises(SnapshotError, match="leaves 30 MiB"):
        monitor.look(refused, PATIENCE)
    with pytest.raises(SnapshotError, match=r"^no answer: it failed with ValueError$"):
        monitor.look(wrong, PATIENCE)
    assert monitor.look(lambda _: 42, PATIENCE) == 42


def test_nobody_waits_longer_than_said(monitor: Monitor) -> None:
    """Nor for a thread that is not there."""
    with pytest.raises(SnapshotError, match="no answer within 0 s"):
        monitor.look(lambda _: 42, 0)
    monitor.close()
    with pytest.raises(SnapshotError, match="no answer within"):
        monitor.look(lambda _: 42, PATIENCE)


def test_who_gave_up_stands_in_nobodys_way() -> None:
    """The answer goes to those who still wait."""
    tickets = Tickets("answer")
    with pytest.raises(SnapshotError):
        tickets.wait("one", lambda: None, lambda: True, 0)
    assert tickets.questions() == []
    tickets.settle("one", 42)

    def settle() -> None:
        assert tickets.questions() == ["one"]
        tickets.settle("one", None, Failure("heap", "OSError", "no space", None))

    with pytest.raises(SnapshotError, match="no space"):
        tickets.wait("one", settle, lambda: True, PATIENCE)
    assert not tickets


@pytest.mark.skipif(not forked.AVAILABLE, reason="no fork here")
def test_the_heap_is_looked_at_in_a_child(monitor: Monitor) -> None:
    """What it takes counts as leakmw's own cost."""

    def waiting(heap: Heap) -> tuple[Waiting, ...]:
        return heap.waiting()

    assert len(monitor.look(waiting, PATIENCE)) == 3
    assert monitor._pipeline is not None
    assert monitor._pipeline._looking.cpu_seconds > 0


@pytest.mark.skipif(not pauses._built, reason="the extension is not built")
@pytest.mark.skipif(bool(sampling.unavailable()), reason="the sampling tracer is not built")
def test_collections_are_counted_by_endpoint() -> None:
    """From the first visit to the end; where visits are not followed, by generation alone."""
    before = gc.callbacks[:]
    for engine in ("sampling", "tracemalloc"):
        for monitor in watched(engine):
            assert monitor.collecting() is None
            monitor.take_snapshot(PATIENCE)
            visit = monitor.begin()
            gc.collect(1)
            monitor.finish(visit, {"path": "/orders"})
            counted = monitor.collecting()
            assert counted is not None
            assert counted.generations[1].times >= 1
            if engine == "tracemalloc":
                assert counted.endpoints is None
            else:
                assert counted.endpoints is not None
                assert counted.endpoints["GET /orders"][1].times == 1
    until(lambda: gc.callbacks == before)


def test_births_are_told_as_reports_have_them(monitor: Monitor) -> None:
    """Of those objects whose birth is known; of none before there is a tracer."""

    class Slotted:
        __slots__ = ()

    older = Slotted()
    assert monitor.births([older]) == [None]
    monitor.take_snapshot(PATIENCE)
    born, unknown = monitor.births([Slotted(), older])
    assert unknown is None
    assert born is not None
    assert born.file.endswith("test_looks.py")
    assert born.function == "test_births_are_told_as_reports_have_them"
