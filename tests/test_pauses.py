"""Collections are counted by generation and endpoint, by one callback that leaves no trace."""

from __future__ import annotations

import contextvars
import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.records import BACKGROUND, OTHER, Collecting, Collections, Visit
from leakmw.visits.endpoints import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

_collector: Any = pytest.importorskip("leakmw.heap._collector", reason="it is not built")

from leakmw.heap.pauses import Pauses  # noqa: E402  # where it is built

VISIT: contextvars.ContextVar[Any] = contextvars.ContextVar("test_pauses", default=None)
OURS = Visit()


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """No collection but those that a test asks for; the app's list as it was."""
    before, enabled = gc.callbacks[:], gc.isenabled()
    gc.disable()
    VISIT.set(None)
    yield
    assert [one for one in gc.callbacks if one not in before] == []
    assert gc.callbacks == before
    if enabled:
        gc.enable()


@pytest.fixture
def pauses() -> Iterator[Pauses]:
    """Return what counts, with visits followed."""
    counting = Pauses(VISIT, OURS)
    counting.start()
    yield counting
    counting.stop()


def visit(endpoint: Tally | None = None) -> Visit:
    """Begin a visit."""
    begun = Visit()
    begun.endpoint, begun.outer, begun.finished = endpoint, None, False
    VISIT.set(begun)
    return begun


def read(pauses: Pauses) -> Collecting:
    """Return what was counted."""
    counted = pauses.read()
    assert counted is not None
    return counted


def times(pauses: Pauses) -> dict[str | None, list[int]]:
    """Return how many collections there were of each generation, by endpoint."""
    endpoints = read(pauses).endpoints
    assert endpoints is not None
    return {name: [one.times for one in sums] for name, sums in endpoints.items()}


def cycles(number: int) -> None:
    """Leave so many behind."""
    for _ in range(number):
        cycle: list[Any] = []
        cycle.append(cycle)


def test_collections_are_counted_by_generation(pauses: Pauses) -> None:
    """Their number, their time, and what they freed."""
    gc.collect()
    before = read(pauses).generations
    cycles(100)
    gc.collect(0)
    gc.collect(0)
    gc.collect(1)

    young, middle, old = map(_since, before, read(pauses).generations)

    assert (young.times, middle.times, old.times) == (2, 1, 0)
    assert 100 <= young.collected < 110
    assert young.seconds >= young.longest_seconds > 0
    assert (young.uncollectable, old.seconds) == (0, 0)


def _since(before: Collections, after: Collections) -> Collections:
    return after._replace(
        times=after.times - before.times,
        seconds=after.seconds - before.seconds,
        collected=after.collected - before.collected,
    )


def test_collections_are_counted_where_they_happen(pauses: Pauses) -> None:
    """By the endpoint of the visit, which has its name at its end only."""
    gc.collect(0)
    orders = visit()
    gc.collect(0)
    gc.collect(2)
    assert times(pauses) == {BACKGROUND: [1, 0, 0], None: [1, 0, 1]}
    orders.endpoint = Tally("GET /orders")
    VISIT.set(None)
    gc.collect(1)
    assert times(pauses) == {BACKGROUND: [1, 1, 0], "GET /orders": [1, 0, 1]}


def test_two_records_of_one_name_are_one_endpoint(pauses: Pauses) -> None:
    """Each monitor has its own."""
    for _ in range(2):
        visit(Tally("GET /orders"))
        gc.collect(0)
    assert times(pauses) == {"GET /orders": [2, 0, 0]}


def test_leakmws_own_thread_is_no_visit(pauses: Pauses) -> None:
    """What stands for a visit there is outside of all."""
    VISIT.set(OURS)
    gc.collect(0)
    assert times(pauses) == {BACKGROUND: [1, 0, 0]}


def test_visits_that_overlap_are_told_apart(pauses: Pauses) -> None:
    """Each thread has its own context."""

    def serve(name: str, collections: int) -> None:
        visit(Tally(name))
        for _ in range(collections):
            gc.collect(0)

    threads = [threading.Thread(target=serve, args=(f"GET /{n}", n)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = times(pauses)
    # a collection is skipped while another thread is at one
    assert all(1 <= found[f"GET /{number}"][0] <= number for number in range(1, 6))


@pytest.mark.parametrize("named", [True, False])
def test_what_is_kept_is_bounded(pauses: Pauses, named: bool) -> None:  # noqa: FBT001
    """Past its cap on names and on visits without one, only the sum is known."""
    most = _collector.MOST_ENDPOINTS
    for number in range(most + 50):
        visit(Tally(f"GET /{number}") if named else None)
        gc.collect(0)

    found = times(pauses)

    assert sum(one[0] for one in found.values()) == most + 50
    if named:
        assert (len(found), found[OTHER]) == (most + 1, [50, 0, 0])
    else:
        assert found == {None: [most + 50, 0, 0]}


def test_a_visit_is_let_go(pauses: Pauses) -> None:
    """Once it has a name and was counted, and at the latest when nobody counts any more."""
    begun = visit(Tally("GET /orders"))
    VISIT.set(None)
    gc.collect(0)
    before = sys.getrefcount(begun)
    VISIT.set(begun)
    gc.collect(0)
    VISIT.set(None)
    assert sys.getrefcount(begun) == before + 1
    pauses.read()
    assert sys.getrefcount(begun) == before


def test_without_visits_generations_are_counted_alone() -> None:
    """No endpoint is made up."""
    counting = Pauses(None, OURS)
    counting.start()
    visit(Tally("GET /orders"))
    gc.collect(1)
    counted = read(counting)
    counting.stop()
    assert counted.endpoints is None
    assert [one.times for one in counted.generations] == [0, 1, 0]
    assert counting.read() is None


def test_the_apps_callbacks_stay_where_they_are() -> None:
    """Before, between and after; none of them is asked whether it equals ours."""

    class Jealous:
        def __call__(self, *_: object) -> None:
            pass

        def __eq__(self, _other: object) -> bool:
            raise AssertionError("code of the app ran")

        __hash__ = object.__hash__

    before = gc.callbacks[:]
    theirs = [Jealous() for _ in range(3)]
    gc.callbacks.append(theirs[0])
    one, other = Pauses(VISIT, OURS), Pauses(VISIT, OURS)
    one.start()
    gc.callbacks.append(theirs[1])
    other.start()
    one.start()
    gc.callbacks.append(theirs[2])
    names = list(map(id, gc.callbacks[len(before) :]))
    assert names == list(map(id, [theirs[0], _collector.collected, *theirs[1:]]))
    one.stop()
    assert len(gc.callbacks) == len(before) + 4
    other.stop()
    other.stop()
    assert list(map(id, gc.callbacks[len(before) :])) == list(map(id, theirs))
    del gc.callbacks[len(before) :]


def test_a_list_that_the_app_has_emptied_is_joined_again(pauses: Pauses) -> None:
    """At the next start, once."""
    gc.callbacks.remove(_collector.collected)
    gc.collect(0)
    assert read(pauses).generations[0].times == 0
    pauses.start()
    pauses.start()
    gc.collect(0)
    assert read(pauses).generations[0].times == 1


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("stop",),
        ("stop", {}),
        ("start", None),
        (b"start", {}),
        ("stop", {"generation": 7, "collected": 1}),
        ("stop", {"generation": "0"}),
        ("stop", {"generation": -1, "collected": 1 << 100}),
        ("start", {}, 1),
    ],
)
def test_whoever_calls_it_gets_no_exception(pauses: Pauses, given: tuple[Any, ...]) -> None:
    """The list is open to all: what makes no sense counts nothing for long."""
    _collector.collected("start", {})
    _collector.collected(*given)
    gc.collect(1)
    assert [one.times for one in read(pauses).generations[1:]] == [1, 0]


SIGNALLED = """
import gc, signal, sys
from collections import deque
from itertools import repeat
from leakmw.heap import _collector
fired, lost, caught = [], [], []
def handle(*_):
    fired.append(True)
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handle)
sys.unraisablehook = lambda unraisable: lost.append(True)
gc.callbacks.append({callback})
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    while not fired:
        deque(map(gc.collect, repeat(0, 100_000)), maxlen=0)
except KeyboardInterrupt:
    caught.append(True)
print(len(lost), len(caught))
"""


@pytest.mark.parametrize(
    ("callback", "outcome"),
    [("_collector.collected", "0 1"), ("lambda phase, info: None", "1 0")],
    ids=["ours", "in Python"],
)
def test_it_looks_for_no_signal(callback: str, outcome: str) -> None:
    """What a handler raises reaches the app; in a callback in Python it would be lost."""
    command = [sys.executable, "-c", SIGNALLED.format(callback=callback)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == outcome


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_begins_anew() -> None:
    """What its parent has counted is not its own, and one callback is enough."""
    code = """
import gc, os
from leakmw.heap.pauses import Pauses
from leakmw.heap import _collector
gc.disable()
parent = Pauses(None, None)
parent.start()
for _ in range(5): gc.collect(0)
reader, writer = os.pipe()
if os.fork() == 0:
    child = Pauses(None, None)
    child.start()
    gc.collect(0)
    times = child.read().generations[0].times
    ours = sum(one is _collector.collected for one in gc.callbacks)
    child.stop()
    os.write(writer, f"{times} {ours} {len(gc.callbacks)}".encode())
    os._exit(0)
os.wait()
print(os.read(reader, 100).decode(), parent.read().generations[0].times)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 1 0 5"


def test_another_interpreter_is_refused() -> None:
    """Its collections are its own, and the tables are not."""
    interpreters = pytest.importorskip("_interpreters", reason="no public way before Python 3.13")
    made = interpreters.create("legacy")
    code = """
from leakmw.heap.pauses import Pauses
counting = Pauses(None, None)
counting.start()
assert counting.read() is None
"""
    try:
        assert interpreters.run_string(made, code) is None
    finally:
        interpreters.destroy(made)


def test_figures_are_read_while_others_collect(pauses: Pauses) -> None:
    """Whatever is built for the reader may start a collection itself."""
    gc.enable()
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(100):
            visit(Tally(f"GET /{number % 40}"))
            pauses.read()
    finally:
        gc.set_threshold(*threshold)
        gc.disable()
    found = read(pauses)
    assert found.endpoints is not None
    for generation, total in enumerate(found.generations):
        of_endpoints = [sums[generation].times for sums in found.endpoints.values()]
        assert sum(of_endpoints) == total.times
