"""The hook on Python's allocators: what it samples is true, and whose it is."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import itertools
import math
import os
import statistics
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.apps.compiled import built
from tests.busy import busy_with

from leakmw.tracers import sampling
from leakmw.tracers.samples import RECORD, weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if sampling.unavailable():
    pytest.skip("the extension is not built", allow_module_level=True)

from leakmw.tracers import _sampler

VISIT: contextvars.ContextVar[Any] = contextvars.ContextVar("test_visit", default=None)
OURS = object()


class Visit:
    """Stands for a visit, and tells when it is gone."""

    def __init__(self, endpoint: str = "") -> None:
        self.endpoint = endpoint


@pytest.fixture(scope="module", autouse=True)
def _no_garbage() -> None:
    """Collect what other tests have left: what its finalizers do is not to be sampled."""
    gc.collect()


@contextmanager
def sampled(interval: float = 1024, seed: int = 1, frames: int = 32) -> Iterator[None]:
    """Sample for the time of a block."""
    _sampler.start(VISIT, OURS, frames, 0.0, float(interval), seed)
    try:
        yield
    finally:
        _sampler.stop()


@contextmanager
def visiting(visit: object) -> Iterator[None]:
    """Make *visit* the current one for the time of a block."""
    before = VISIT.get()
    VISIT.set(visit)
    try:
        yield
    finally:
        VISIT.set(before)


def live(visit: object, of: int | None = None) -> tuple[float, float]:
    """Return the bytes alive from *visit* as estimated, and the variance of that.

    Args:
        visit: The visit.

        of: Size of the blocks that count; all of them unless given.
    """
    records, visits = _sampler.read()
    try:
        weights = [
            weigh(size, interval)
            for (_, _, size, interval, _), whose in zip(
                RECORD.iter_unpack(records), visits, strict=True
            )
            if whose is visit and of in {None, size}
        ]
    finally:
        _sampler.release(records)
    return sum(weight.bytes for weight in weights), sum(weight.variance for weight in weights)


def blocks(*sizes: int) -> list[bytes]:
    """Return bytes objects that take exactly so many bytes each."""
    return [bytes(size - sys.getsizeof(b"")) for size in sizes]


def of_all_sizes() -> list[bytes]:
    """Return blocks from 40 bytes to a megabyte."""
    return blocks(*[40, 64, 100, 513, 4000] * 50, *[100_000] * 5, 1_000_000)


def grown_by_realloc() -> bytearray:
    """Return one block that has moved many times."""
    grown = bytearray()
    for _ in range(3000):
        grown += b"x" * 100
    return grown


def half_freed() -> list[bytes]:
    """Return what is left of twice as many."""
    made = blocks(*range(40, 1040))
    return made[::2]


def after_churn() -> list[bytes]:
    """Return a little, made among much that is gone."""
    kept = []
    for size in range(40, 540):
        kept.extend(blocks(size))
        blocks(size, 2 * size, 3 * size)
    return kept


PATTERNS = [of_all_sizes, grown_by_realloc, half_freed, after_churn]


def size_of(kept: Any) -> int:
    """Return what *kept* takes from Python's allocators."""
    whole = sys.getsizeof(kept)
    if isinstance(kept, list):
        # the header of the collector stands in front of a list
        whole += sum(map(sys.getsizeof, kept))
    return whole


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("interval", [512, 8192])
def test_the_estimate_is_unbiased_and_its_interval_true(
    pattern: Callable[[], Any], interval: int
) -> None:
    """Over many runs its mean is the truth, and the stated variance the one seen."""
    estimates, variances = [], []
    visit = Visit()
    runs = 300
    with sampled(interval):
        pass
    for seed in range(runs):
        with sampled(interval, seed):
            with visiting(visit):
                kept = pattern()
            estimate, variance = live(visit)
        estimates.append(estimate)
        variances.append(variance)
        truth = size_of(kept)
        del kept
    spread = statistics.stdev(estimates)
    besides = 256  # the visit itself takes a little
    assert abs(statistics.fmean(estimates) - truth) < 4 * spread / math.sqrt(runs) + besides
    assert statistics.fmean(variances) == pytest.approx(spread**2, rel=0.35, abs=64**2)


def test_what_is_freed_is_forgotten() -> None:
    """Sample by sample, with its traceback."""
    visit = Visit()
    with sampled(64):
        with visiting(visit):
            kept = blocks(*[1000] * 500)
        assert live(visit, of=1000)[0] > 400_000
        nodes, alive = _sampler.figures()["nodes"], _sampler.figures()["live"]
        del kept
        assert live(visit, of=1000)[0] == 0
        figures = _sampler.figures()
        assert figures["live"] <= alive - 450
        assert figures["nodes"] <= nodes + 50


@pytest.mark.parametrize("size", [40, 512, 513, 5000])
def test_what_is_freed_or_moved_is_seen_whatever_its_size(size: int) -> None:
    """Small blocks lie in Python's own allocator, those of more than 512 bytes in that of C."""
    visit = Visit()
    with sampled(64):
        with visiting(visit):
            kept = [bytearray(size) for _ in range(500)]
        assert live(visit, of=size + 1)[0] == pytest.approx(500 * (size + 1), rel=0.25)
        for one in kept:
            one.extend(one)
        assert live(visit, of=size + 1)[0] == 0
        alive = _sampler.figures()["live"]
        kept.clear()
        assert _sampler.figures()["live"] <= alive - 450


def test_names_that_c_code_makes_for_one_look_up_do_not_pile_up() -> None:
    """Python's cache of attributes keeps each by its address, so samples must lie as others do."""
    moment = datetime.now(UTC)
    visit = Visit()
    with sampled(64):
        for _ in range(3):
            with visiting(visit):
                for _ in range(1000):
                    moment.timetuple()  # asks for "dst", and for time's "struct_time"
        assert live(visit)[0] < 100_000  # of 288,000


FREED_LATER = """
from contextvars import ContextVar
from leakmw.tracers import _sampler

def begin():
    _sampler.start(ContextVar("v", default=None), object(), 32, 0.0, 16.0, 1)

begin()
kept = [bytearray(50) for _ in range(10_000)]
_sampler.stop()
for one in kept[::2]:
    one.extend(one)
del kept[::3]
begin()
kept += [bytearray(50) for _ in range(10_000)]
records, _ = _sampler.read()
_sampler.release(records)
kept.clear()
print(len(records) > 32 * 5_000, _sampler.figures()["live"] < 100, _sampler.figures()["reached"])
"""


@pytest.mark.parametrize("allocator", ["default", "debug", "malloc", "pymalloc_debug"])
def test_whatever_allocates_gets_back_what_it_gave(allocator: str) -> None:
    """Also what was sampled once and outlives that."""
    done = ended(FREED_LATER, PYTHONMALLOC=allocator)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True True True\n")


def test_the_raw_domain_is_free_without_the_lock(tmp_path: Path) -> None:
    """Threads without the GIL allocate and free beside all that is sampled, begun and ended."""
    library = ctypes.CDLL(str(built("unlocked", tmp_path)))
    seeds = itertools.count()

    def allocate() -> None:
        library.churn(500, next(seeds))  # releases the GIL around it

    visit = Visit()
    with busy_with(allocate, 4):
        for _ in range(50):
            with sampled(64):
                with visiting(visit):
                    kept = [bytes(number) for number in range(300)]
                assert live(visit)[0] > 0
                del kept
                assert live(visit, of=250)[0] == 0


def test_a_visit_is_kept_as_long_as_its_samples_and_no_longer() -> None:
    """It is let go at the next reading at the latest, never inside of free()."""
    visits = [Visit() for _ in range(100)]
    gone = [weakref.ref(visit) for visit in visits]
    kept = []
    with sampled(64):
        for visit in visits:
            with visiting(visit):
                kept.append(bytes(1000))
        visits.clear()
        del visit
        assert sum(visit() is None for visit in gone) < 50
        kept.clear()
        _sampler.release(_sampler.read()[0])
        # the interpreter itself keeps a little of what is made in between
        assert sum(visit() is None for visit in gone) > 90
    assert all(visit() is None for visit in gone)


@pytest.mark.skipif(bool(_sampler.PUBLIC_FRAMES), reason="public functions cannot do this")
def test_the_variable_may_be_reset_in_the_middle_of_a_sample() -> None:
    """What ``ContextVar.get`` remembers is put back: it would dangle after ``reset()``."""
    with sampled(1e-9):
        for _ in range(2000):
            token = VISIT.set(Visit())
            VISIT.reset(token)
            del token
            assert VISIT.get() is None
            kept = blocks(100, 200, 300)
    assert kept


def test_the_traceback_is_that_of_the_allocation() -> None:
    """File, line and qualified name of each frame, innermost first."""

    def inner() -> list[bytes]:
        return blocks(*[5000] * 20)

    visit = Visit()
    with sampled(64):
        with visiting(visit):
            kept = inner()
        records, visits = _sampler.read()
        node = next(
            record[0]
            for record, whose in zip(RECORD.iter_unpack(records), visits, strict=True)
            if whose is visit and record[2] == 5000
        )
        stack = []
        while node:
            node, file, line, function = _sampler.frame(node)
            stack.append((file, line, function))
        _sampler.release(records)
    assert kept
    functions = [function for _, _, function in stack]
    place = functions.index(
        f"{test_the_traceback_is_that_of_the_allocation.__name__}.<locals>.inner"
    )
    assert functions[place - 1] == "blocks"
    assert {stack[place][0], stack[place - 1][0]} == {__file__}
    assert stack[place][1] == inner.__code__.co_firstlineno + 1


@pytest.mark.parametrize("frames", [1, 3])
def test_no_more_frames_are_kept_than_asked_for(frames: int) -> None:
    """The innermost ones."""
    visit = Visit()
    with sampled(64, frames=frames):
        with visiting(visit):
            kept = blocks(*[5000] * 20)
        records, _ = _sampler.read()
        depths = []
        for node, _, _, _, _ in RECORD.iter_unpack(records):
            caller, depth = node, 0
            while caller:
                caller, depth = _sampler.frame(caller)[0], depth + 1
            depths.append(depth)
        _sampler.release(records)
    assert kept
    assert max(depths) == frames


def test_births_are_told_apart_by_the_readings_between_them() -> None:
    """What is older keeps its window."""
    with sampled(64):
        first = blocks(*[1000] * 50)
        records, _ = _sampler.read()
        _sampler.release(records)
        second = blocks(*[3000] * 50)
        records, _ = _sampler.read()
        _sampler.release(records)
    births: dict[int, set[int]] = {}
    for _, birth, size, _, _ in RECORD.iter_unpack(records):
        births.setdefault(size, set()).add(birth)
    assert first
    assert second
    (older,), (younger,) = births[1000], births[3000]
    assert younger == older + 1


def test_a_block_that_grows_is_as_old_as_it_was() -> None:
    """Wherever it is moved: what is new at each request would never outlive one."""
    with sampled(1):
        log = bytearray(100_000)
        first = birth_of(len(log) + 1)
        for _ in range(50):
            log += bytes(10_000)
        grown = birth_of(len(log) + 1, at_most=2 * len(log))
        new = bytearray(3_000_000)
        assert birth_of(len(new) + 1) > grown == first


def birth_of(size: int, at_most: int | None = None) -> int:
    """Return the window in which the one block of that size was born, or of up to another."""
    records, _ = _sampler.read()
    try:
        (birth,) = [
            birth
            for _, birth, taken, _, _ in RECORD.iter_unpack(records)
            if size <= taken <= (at_most or size)
        ]
    finally:
        _sampler.release(records)
    return int(birth)


def test_the_table_stays_within_its_cap_and_true() -> None:
    """The interval doubles, and what is left weighs more."""
    visit = Visit()
    with sampled(512):
        with visiting(visit):
            kept = blocks(*[200] * 300_000)
        figures = _sampler.figures()
        estimate, variance = live(visit)
    assert figures["live"] <= _sampler.MOST_SAMPLES
    assert figures["thinned"] > 0
    assert figures["interval"] > 512
    assert abs(estimate - size_of(kept)) < 4 * math.sqrt(variance) + 100


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (lambda number: {"id": number}, {64, 120}),
        (lambda number: [number], {56}),
        (lambda number: (number, 1, 2), {64}),
        (lambda number: number / 7, {24}),
    ],
    ids=["dict and its keys", "list", "tuple", "float"],
)
def test_what_python_recycles_is_marked(make: Callable[[int], object], sizes: set[int]) -> None:
    """It keeps such objects when they die, and hands them out again."""
    with sampled(64):
        kept = [make(number) for number in range(3000)]
        marks = marks_by_size()
    assert len(kept) == 3000
    assert {size: marks[size] for size in sizes} == {size: {True} for size in sizes}


def marks_by_size() -> dict[int, set[bool]]:
    """Return whether live blocks are marked as recyclable, by their size."""
    records, _ = _sampler.read()
    marks: dict[int, set[bool]] = {}
    for _, _, size, _, recyclable in RECORD.iter_unpack(records):
        marks.setdefault(size, set()).add(bool(recyclable))
    _sampler.release(records)
    return marks


def test_what_python_does_not_recycle_is_not_marked() -> None:
    """Of the same sizes, say."""
    with sampled(64):
        kept = blocks(*[64, 120] * 500)
        marks = marks_by_size()
    assert len(kept) == 1000
    assert marks[64] == marks[120] == {False}


def test_code_made_at_run_time_is_given_back() -> None:
    """However much of it there is and however many samples it left, after two snapshots."""
    codes = []
    kept = []
    with sampled(64):
        for number in range(2000):
            namespace: dict[str, Any] = {}
            exec(f"def made_{number}(): return bytes(2000)", namespace)  # noqa: S102
            made = namespace.pop(f"made_{number}")
            kept.append(made())
            codes.append(weakref.ref(made.__code__))
            del made, namespace
        most = _sampler.figures()["nodes"]
        assert sum(code() is not None for code in codes) > 1000
        kept.clear()
        for _ in range(2):
            _sampler.release(_sampler.read()[0])
        gc.collect()
        assert sum(code() is not None for code in codes) == 0
        assert _sampler.figures()["nodes"] < most / 2


def test_a_reader_that_holds_all_tracebacks_stops_nothing() -> None:
    """What finds no room is skipped, until the reader gives it back."""
    kept: list[bytes] = []
    held: list[bytes] = []

    def two_ways(levels: int) -> None:
        """Allocate below twice as many different tracebacks for each level."""
        if levels == 0:
            kept.append(bytes(100))
            if len(kept) % 8000 == 0:
                held.append(_sampler.read()[0])
            return
        two_ways(levels - 1)
        two_ways(levels - 1)

    with sampled(8):
        two_ways(17)
        figures = _sampler.figures()
        assert figures["interval"] <= 2 << 30
        for records in held:
            _sampler.release(records)
    assert figures["live"] <= _sampler.MOST_SAMPLES
    assert _sampler.figures()["nodes"] == 0


def test_a_large_share_stays_within_the_budget() -> None:
    """With a budget the interval moves until sampling costs what it may."""
    _sampler.start(VISIT, OURS, 32, 0.02, 512.0, 1)
    try:
        before = _sampler.figures()["seconds"]
        started = os.times()
        kept = None
        while os.times().user - started.user < 1.0:
            kept = [bytes(number) for number in range(1000)]
        spent = _sampler.figures()["seconds"] - before
        assert kept
        assert _sampler.figures()["interval"] > 2048
        assert spent < 0.1
    finally:
        _sampler.stop()


def interval_at(part: float) -> float:
    """Return the interval that the same work comes to with a part of the budget."""
    _sampler.ease(part)
    before = _sampler.figures()["taken"]
    while _sampler.figures()["taken"] < before + 4000:  # it moves after each 256
        assert [bytes(4000) for _ in range(1000)]
    return _sampler.figures()["interval"]


def test_with_a_part_of_the_budget_fewer_are_sampled() -> None:
    """Until told otherwise, or begun anew."""
    _sampler.start(VISIT, OURS, 32, 0.1, 512.0, 1)
    try:
        while _sampler.figures()["seconds"] < 0.1:  # a process begins with more
            interval_at(1.0)
        assert interval_at(0.1) > 2 * interval_at(1.0)
    finally:
        _sampler.stop()
    with sampled():
        assert _sampler.figures()["part"] == 1


@pytest.mark.parametrize("part", [0.0, -1.0, 1.1, math.nan])
def test_a_part_is_above_0_and_at_most_1(part: float) -> None:
    """What it was stays."""
    with sampled():
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            _sampler.ease(part)
        with pytest.raises(TypeError):
            _sampler.ease("half")  # type: ignore[arg-type]
        assert _sampler.figures()["part"] == 1


def shared_helper(kept: list[bytes]) -> None:
    """Allocate for whoever calls."""
    kept.extend(blocks(*[700] * 10))


def test_the_collector_may_run_in_the_middle_of_a_reading() -> None:
    """Python 3.11 collects inside allocations; what that frees is not in the reading."""

    class Ring:
        def __init__(self) -> None:
            self.ring = self
            self.kept = blocks(*[500] * 20)

    before = gc.get_threshold()
    gc.collect()
    try:
        with sampled(64):
            for _ in range(50):
                gc.disable()
                Ring()
                gc.set_threshold(1)
                gc.enable()
                records, visits = _sampler.read()
                assert len(records) == RECORD.size * len(visits)
                _sampler.release(records)
    finally:
        gc.set_threshold(*before)
        gc.enable()


def test_a_finalizer_may_begin_anew_while_the_samples_of_before_are_forgotten() -> None:
    """Whoever began in the middle of another's beginning still learns what is freed."""
    kept: list[bytes] = []
    begun: list[bool] = []
    latest = Visit()

    class Restarting(Visit):
        def __del__(self) -> None:
            if not begun:
                begun.append(True)
                _sampler.start(VISIT, OURS, 32, 0.0, 8.0, 2)
                with visiting(latest):
                    kept.extend(blocks(*[777] * 2000))

    def made_in(visits: list[Restarting]) -> list[bytes]:
        made = []
        while visits:
            with visiting(visits.pop()):
                made.append(bytes(200))
        return made

    first, second = ([Restarting() for _ in range(11_000)] for _ in range(2))
    with sampled(8):
        made_in(first)
        made = made_in(second)
        _sampler.start(VISIT, OURS, 32, 0.0, 8.0, 3)
        assert live(latest, of=777)[0] > 100_000
        kept.clear()
        assert live(latest, of=777)[0] == 0
    assert made


def endpoints(number: int) -> list[Visit]:
    """Return overlapping visits of eight endpoints."""
    return [Visit(f"GET /e{index % 8}") for index in range(number)]


def right_share(kept: dict[str, list[bytes]]) -> float:
    """Return how much of what is kept carries the endpoint that it was made for."""
    records, visits = _sampler.read()
    _sampler.release(records)
    found: Counter[str] = Counter()
    for (_, _, size, interval, _), visit in zip(RECORD.iter_unpack(records), visits, strict=True):
        if size == 700:
            name = visit.endpoint if isinstance(visit, Visit) else "none"
            found[name] += round(weigh(size, interval).bytes)
    truth = {name: sum(map(sys.getsizeof, made)) for name, made in kept.items()}
    assert sum(found.values()) == pytest.approx(sum(truth.values()), rel=0.1)
    return sum(min(found[name], truth[name] * 1.2) for name in truth) / sum(found.values())


def test_threads_that_overlap_carry_their_endpoints() -> None:
    """64 of them at once, all through one helper."""
    kept: dict[str, list[bytes]] = {f"GET /e{index}": [] for index in range(8)}
    start = threading.Barrier(64)

    def serve(visit: Visit) -> None:
        VISIT.set(visit)
        start.wait()
        for _ in range(20):
            shared_helper(kept[visit.endpoint])

    with sampled(128):
        threads = [threading.Thread(target=serve, args=(visit,)) for visit in endpoints(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert right_share(kept) >= 0.99


def test_tasks_their_children_and_pools_carry_their_endpoints() -> None:
    """64 requests overlap on one loop; each works in itself, in a child task and in a thread."""
    kept: dict[str, list[bytes]] = {f"GET /e{index}": [] for index in range(8)}

    async def serve(visit: Visit) -> None:
        VISIT.set(visit)
        for _ in range(6):
            shared_helper(kept[visit.endpoint])
            await asyncio.sleep(0)
            await asyncio.create_task(child(visit))
            await asyncio.to_thread(shared_helper, kept[visit.endpoint])

    async def child(visit: Visit) -> None:
        await asyncio.sleep(0)
        shared_helper(kept[visit.endpoint])

    async def main() -> None:
        await asyncio.gather(*[asyncio.create_task(serve(visit)) for visit in endpoints(64)])

    with sampled(128):
        asyncio.run(main())
        assert right_share(kept) >= 0.99


def test_what_leakmw_allocates_on_its_thread_is_not_sampled() -> None:
    """Its context says so."""
    with sampled(64):
        with visiting(OURS):
            kept = blocks(*[777] * 200)
        records, _ = _sampler.read()
        _sampler.release(records)
    assert kept
    assert not [size for _, _, size, *_ in RECORD.iter_unpack(records) if size == 777]


def test_a_forked_child_has_a_table_of_its_own() -> None:
    """It reads what it inherited, frees it, and samples on; its parent sees none of that."""
    visit = Visit()
    with sampled(64):
        with visiting(visit):
            kept = blocks(*[1000] * 100)
        before = live(visit)[0]
        pid = os.fork()
        if pid == 0:
            right = live(visit)[0] == before
            kept.clear()
            right = right and live(visit, of=1000)[0] == 0
            os._exit(0 if right else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert live(visit)[0] == before
    assert kept


def test_tracemalloc_may_start_and_end_above_it() -> None:
    """Both see what is allocated, and ours goes on after it."""
    visit = Visit()
    with sampled(64):
        tracemalloc.start()
        with visiting(visit):
            kept = blocks(*[1000] * 100)
        assert live(visit)[0] > 80_000
        tracemalloc.stop()
        assert _sampler.figures()["reached"]
        kept.clear()
        assert live(visit, of=1000)[0] == 0


def test_what_may_have_been_freed_unseen_is_not_looked_at() -> None:
    """Nothing is marked as recyclable once the hook is reached no more."""
    tracemalloc.start()
    with sampled(64):
        kept = [[number] for number in range(1000)]
        assert True in marks_by_size()[56]
        tracemalloc.stop()
        kept.clear()
        assert {mark for marks in marks_by_size().values() for mark in marks} == {False}


def test_ending_below_tracemalloc_leaves_it_alone() -> None:
    """The hook stays, does nothing, and samples when it is started again."""
    visit = Visit()
    _sampler.start(VISIT, OURS, 32, 0.0, 64.0, 1)
    tracemalloc.start()
    _sampler.stop()
    assert not _sampler.figures()["reached"]
    with visiting(visit):
        kept = blocks(*[1000] * 100)
    assert live(visit)[0] == 0
    assert tracemalloc.get_traced_memory()[0] > 100_000
    tracemalloc.stop()
    with sampled(64):
        with visiting(visit):
            kept += blocks(*[1000] * 100)
        assert live(visit, of=1000)[0] == pytest.approx(100_000, rel=0.1)


def test_a_tracemalloc_that_was_there_before_takes_the_hook_with_it() -> None:
    """That is noticed, and starting again puts it back."""
    tracemalloc.start()
    with sampled(64):
        assert _sampler.figures()["reached"]
        tracemalloc.stop()
        assert not _sampler.figures()["reached"]
        _sampler.start(VISIT, OURS, 32, 0.0, 64.0, 1)
        assert _sampler.figures()["reached"]
    assert not _sampler.figures()["reached"]


def ended(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


HALF_REMOVED = """
import ctypes, tracemalloc
from contextvars import ContextVar
from leakmw.tracers import _sampler

class Allocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]

def start():
    _sampler.start(ContextVar("v", default=None), object(), 32, 0.0, 64.0, 1)

memory, plain = 1, Allocator()
ctypes.pythonapi.PyMem_GetAllocator(memory, ctypes.byref(plain))
start()
tracemalloc.start()
ctypes.pythonapi.PyMem_SetAllocator(memory, ctypes.byref(plain))
assert not _sampler.figures()["reached"]
start()
kept = [bytes(1000) for _ in range(100)]
assert _sampler.figures()["reached"]
assert _sampler.figures()["live"] > 90
tracemalloc.stop()
_sampler.stop()
"""


def test_a_hook_that_another_tool_removed_from_one_domain_alone_comes_back_there() -> None:
    """Where it is still reached from below the other tool it is not put in twice."""
    done = ended(HALF_REMOVED)
    assert (done.returncode, done.stderr) == (0, "")


INTERPRETER = """
import sys
import _interpreters as interpreters
from leakmw.tracers import _sampler
from contextvars import ContextVar
_sampler.start(ContextVar("v", default=None), object(), 32, 0.0, 64.0, 1)
one = interpreters.create()
interpreters.run_string(one, "kept = [bytes(1000) for _ in range(1000)]; del kept")
try:
    interpreters.run_string(one, f"import sys; sys.path[:] = {sys.path}")
    interpreters.run_string(one, "import leakmw.tracers._sampler")
except Exception as error:
    print(error)
records, _ = _sampler.read()
_sampler.release(records)
interpreters.destroy(one)
_sampler.stop()
print(len(records) < 24 * 3000)
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the module has another name")
def test_other_interpreters_are_left_alone() -> None:
    """What they allocate is not sampled, and they cannot load the hook."""
    done = ended(INTERPRETER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True"


FALL_BACK = """
import sys
try:
    import _interpreters as interpreters
    one = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    one = interpreters.create(isolated=False)
from leakmw.tracers import sampling
assert sampling.unavailable() is None
interpreters.run_string(one, f"import sys; sys.path[:] = {sys.path}")
interpreters.run_string(one, "from leakmw.tracers import sampling; print(sampling.unavailable())")
interpreters.destroy(one)
"""


def test_an_interpreter_that_may_load_anything_is_told_why_it_cannot_sample() -> None:
    """As those of mod_wsgi may: ``auto`` then does without samples there."""
    done = ended(FALL_BACK)
    assert done.returncode == 0, done.stderr
    assert "main interpreter only" in done.stdout


EXIT = """
import atexit, threading, time, weakref
from contextvars import ContextVar
from leakmw.tracers import _sampler
_sampler.start(ContextVar("v", default=None), object(), 32, 0.0, 64.0, 1)
class Late:
    def __del__(self): self.kept = [bytes(1000) for _ in range(100)]
late = Late(); late.ring = late
def work():
    while True: [bytes(n) for n in range(1000)]
threading.Thread(target=work, daemon=True).start()
atexit.register(lambda: [bytes(1000) for _ in range(100)])
time.sleep(0.1)
"""


def test_the_interpreter_ends_while_it_samples() -> None:
    """With finalizers and daemon threads that allocate to the last."""
    for _ in range(5):
        done = ended(EXIT)
        assert (done.returncode, done.stderr) == (0, "")


def test_starting_reading_and_ending_race_with_all_that_allocates() -> None:
    """Threads allocate, free and end, and nothing is lost or freed twice."""

    def allocate() -> None:
        kept = [bytearray(number) for number in range(300)]
        for one in kept:
            one.extend(b"x" * 50)

    with busy_with(allocate, 4):
        for seed in range(100):
            _sampler.start(VISIT, OURS, 32, 0.0, 256.0, seed)
            for _ in range(5):
                records, _ = _sampler.read()
                sum(1 for _ in RECORD.iter_unpack(records))
                _sampler.release(records)
            _sampler.stop()
    assert _sampler.figures()["live"] == 0
    assert _sampler.figures()["nodes"] == 0


class Slotted:
    """Has neither an attribute dictionary nor weak references."""

    __slots__ = ("itself",)


class Usual:
    """Has both, before the object itself."""


@pytest.mark.parametrize(
    "make", [Slotted, Usual, lambda: type("Made", (), {}), object, lambda: bytearray(50)]
)
def test_an_object_knows_where_it_was_born(make: Callable[[], object]) -> None:
    """If it was sampled, whatever stands before it in its block; an older one does not."""
    older = make()
    with sampled(interval=1):
        made = [make() for _ in range(20)]
        frames = [_sampler.birth(one) for one in made]
        assert _sampler.birth(older) is None
    known = [one for one in frames if one is not None]
    assert len(known) > 10
    for frame in known:
        assert any(file == __file__ and "knows_where" in name for file, _, name in frame)
    assert [_sampler.birth(one) for one in made] == [None] * 20


def test_what_may_have_been_somebody_elses_has_no_birth() -> None:
    """Python hands out dead lists, dictionaries, tuples and floats again without asking."""
    with sampled(interval=1):
        made: list[object] = [[1], {"a": 1}, (object(),), float(str(1.5))]
        assert [_sampler.birth(one) for one in made] == [None] * 4


def test_births_are_told_while_samples_come_and_go() -> None:
    """The traceback is held while it is read, even if reading it is what is sampled."""
    with sampled(interval=1, frames=128):
        made = [Usual() for _ in range(200)]
        for _ in range(20):
            for one in made:
                _sampler.birth(one)
        assert _sampler.birth(made[0]) is not None
