"""How much only waits for the collector is found without collecting anything."""

from __future__ import annotations

import abc
import gc
import itertools
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import forked, meters
from leakmw.heap.garbage import Garbage, bytes_of, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GENEROUS = 1 << 40

FORKS = pytest.mark.skipif(not forked.AVAILABLE, reason="no fork here")


class Told:
    """Says when its finalizer runs."""

    calls = 0

    def __init__(self, body: bytes = b"") -> None:
        self.itself = self
        self.body = body

    def __del__(self) -> None:
        type(self).calls += 1

    def __sizeof__(self) -> int:
        raise AssertionError("code of the app ran")

    def __eq__(self, _other: object) -> bool:
        raise AssertionError("code of the app ran")

    __hash__ = None  # type: ignore[assignment]  # it would raise, too


def _plain_cycles() -> None:
    for _ in range(100):
        cycle: list[Any] = [{}]
        cycle.append(cycle)


def _chains() -> None:
    """Things that hang on a cycle, and are none themselves."""
    for _ in range(100):
        cycle: list[Any] = [[[[]]], {"a": ({},)}]
        cycle.append(cycle)


def _instances() -> None:
    for _ in range(100):
        Told()


def _classes() -> None:
    for number in range(20):
        type(f"Made{number}", (), {"method": lambda self: self})


MAKERS = {make.__name__: make for make in (_plain_cycles, _chains, _instances, _classes)}

ALONE = """
import gc, sys
from leakmw.heap.garbage import unreachable
from tests.test_garbage import MAKERS
gc.collect()
gc.disable()
before = len(unreachable())
MAKERS[sys.argv[1]]()
found = len(unreachable())
print(before, found, gc.collect(), len(unreachable()))
"""


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_found_is_what_a_collection_frees(name: str) -> None:
    """To the object; in a process of its own, where nobody else makes garbage."""
    command = [sys.executable, "-c", ALONE, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, found, freed, after = map(int, done.stdout.split())
    assert found == freed > before
    assert after == 0


def found_of(*things: object) -> bool:
    """Return whether any of *things* is found; nothing that is found is ever compared or shown."""
    names = set(map(id, unreachable()))
    return any(id(thing) in names for thing in things)


def what_is_held_is_no_garbage() -> None:
    """By a variable, a running generator, a closure or a frozen object."""

    def running() -> Iterator[Any]:
        held: list[Any] = []
        held.append(held)
        yield held
        yield held

    kept = running()
    held = id(next(kept))
    cycle: list[Any] = []
    cycle.append(cycle)

    def closure() -> list[Any]:
        return cycle

    holder: list[Any] = [[]]
    holder[0].append(holder[0])
    gc.freeze()
    try:
        holder.append([{}])
        holder[1].append(holder[1])
        assert not found_of(holder, holder[1], cycle)
        assert held not in set(map(id, unreachable()))
    finally:
        gc.unfreeze()
    assert closure()[0] is cycle


def no_code_of_the_app_runs() -> None:
    """No finalizer, no comparison, no method that tells a size."""
    calls = Told.calls
    for _ in range(100):
        Told(bytes(10_000))
    found = unreachable()
    assert bytes_of(found) > 100 * 10_000
    del found
    assert Told.calls == calls
    gc.collect()
    assert Told.calls == calls + 100


def what_garbage_alone_refers_to_counts_with_it() -> None:
    """What something else refers to, too, does not."""
    shared = bytes(1_000_000)
    for number in range(10):
        Told(shared)
        Told(bytes(50_000 + number))
    assert 500_000 < bytes_of(unreachable()) < 600_000
    assert len(shared) == 1_000_000


def what_hangs_on_it_counts_however_far_away() -> None:
    """Through dictionaries and tuples that the collector does not look at."""
    for _ in range(10):
        Told(bytes(10)).__dict__["far"] = {"a": {"b": (bytes(60_000),)}}
    assert 600_000 < bytes_of(unreachable()) < 700_000


def no_metaclass_of_the_app_is_asked() -> None:
    """As a counter would do that is filled from something it has not met."""
    asked: list[bool] = []

    class Asking(abc.ABCMeta):
        def __subclasscheck__(cls, kind: type) -> bool:
            asked.append(True)
            return super().__subclasscheck__(kind)

    class Rates(Mapping[str, int], metaclass=Asking):
        """A mapping of the app's own: who asks whether something is one asks its metaclass."""

    Told()
    asked.clear()
    found = bytes_of(unreachable())
    assert (found > 0, asked) == (True, [])
    assert not issubclass(type(iter(())), Mapping)
    assert asked == [True]
    assert Rates.__mro__[1] is Mapping


def _garbage(**known: Any) -> tuple[Garbage, list[tuple[str, BaseException]]]:
    failures: list[tuple[str, BaseException]] = []
    garbage = Garbage(
        known.get("rss", meters.rss_bytes),
        known.get("room", lambda: GENEROUS),
        lambda where, error: failures.append((where, error)),
    )
    return garbage, failures


def a_child_looks_and_the_app_keeps_its_garbage() -> None:
    """Its size comes back, and what it took."""
    calls = Told.calls
    garbage, failures = _garbage()
    before = garbage.waiting_at(1)
    for _ in range(100):
        Told(bytes(20_000))
    after = _garbage()[0].waiting_at(1)
    assert before is not None
    assert after is not None
    assert 2_000_000 < after - before < 2_200_000
    assert garbage.cpu_seconds > 0
    assert Told.calls == calls
    assert failures == []


def it_is_looked_at_the_more_seldom_the_more_often_it_was() -> None:
    """One look serves all that is asked for one snapshot."""
    garbage, _ = _garbage()
    answered = [number for number in range(1, 20) if garbage.waiting_at(number) is not None]
    assert answered == [1, 2, 4, 8, 16]
    spent = garbage.cpu_seconds
    assert [garbage.waiting_at(19), garbage.cpu_seconds] == [None, spent]
    first = garbage.waiting_at(40)
    assert (garbage.waiting_at(40), first is None) == (first, False)


ONE = """
import gc, sys
from tests import test_garbage
gc.collect()
gc.disable()
getattr(test_garbage, sys.argv[1])()
"""


@pytest.mark.parametrize(
    "check",
    [
        what_is_held_is_no_garbage,
        no_code_of_the_app_runs,
        what_garbage_alone_refers_to_counts_with_it,
        what_hangs_on_it_counts_however_far_away,
        no_metaclass_of_the_app_is_asked,
        pytest.param(a_child_looks_and_the_app_keeps_its_garbage, marks=FORKS),
        pytest.param(it_is_looked_at_the_more_seldom_the_more_often_it_was, marks=FORKS),
    ],
    ids=lambda check: check.__name__,
)
def test_in_a_process_of_its_own(check: Callable[[], None]) -> None:
    """Where nobody else makes garbage: each check says what it is about."""
    command = [sys.executable, "-c", ONE, check.__name__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_room_for_a_child_nobody_looks() -> None:
    """And says what it would take."""
    garbage, failures = _garbage(rss=lambda: 200 << 20, room=lambda: 300 << 20)
    assert garbage.waiting_at(1) is None
    ((where, error),) = failures
    assert where == "heap"
    assert str(error) == (
        "the heap is not looked at: it takes up to 456 MiB for a moment and the memory limit "
        "leaves 300 MiB"
    )


def test_a_child_that_fails_leaves_the_question_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said."""
    calls = itertools.count()

    def fails(*_: object, **__: object) -> None:
        next(calls)
        raise forked.ChildError("the child died")

    monkeypatch.setattr(forked, "run", fails)
    garbage, failures = _garbage()
    assert garbage.waiting_at(1) is None
    assert [str(error) for _, error in failures] == ["the child died"]
    assert next(calls) == 1
