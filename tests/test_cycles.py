"""Cyclic garbage is found in a forked child: what it is made of, and nothing of it is touched."""

from __future__ import annotations

import abc
import gc
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tests.apps.compiled import built, loaded

from leakmw import forked, meters
from leakmw.heap import inspector as looking
from leakmw.heap.child import Child
from leakmw.heap.inspector import Inspector
from leakmw.records import CycleGroup, Frame, Inspection, Route, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="no fork here")

GENEROUS = 1 << 40


def inspector(
    room: int = GENEROUS,
    born: Callable[[object], Frame | None] = lambda _: None,
    begin: Callable[[], object] = tracemalloc.stop,
) -> Inspector:
    """Return what looks at the heap of this process."""
    child = Child(meters.rss_bytes, lambda: room)
    return Inspector(child, born, begin, tuple, pytest.fail)


def look(**given: Any) -> Inspection:
    """Return what there is of cycles."""
    return inspector(**given).cycles()


def groups_of(inspection: Inspection, name: str) -> list[CycleGroup]:
    """Return the groups with a type of this module or of that name in them."""
    names = {name, f"{__name__}.{name}"}
    return [
        group for group in inspection.found.groups if names & {kind for kind, _ in group.types}
    ]


class Told:
    """Says when its finalizer runs."""

    calls = 0

    def __init__(self, *hanging: object) -> None:
        self.itself = self
        self.hanging = hanging

    def __del__(self) -> None:
        type(self).calls += 1


class Plain:
    """Has no finalizer."""


def cycles_are_grouped_by_their_types() -> None:
    """How many, of how many objects, what they keep, and which of them have a finalizer."""
    for _ in range(70):
        Told([{"a": bytearray(1000)}])
    for _ in range(30):
        one, other = Plain(), Told()
        one.__dict__["next"], other.hanging = other, (one,)
        del other.itself
    found = look()
    alone, pairs = sorted(groups_of(found, "Told"), key=lambda group: len(dict(group.types)))
    del one, other
    assert dict(alone.types)[f"{__name__}.Told"] == alone.cycles == 70
    assert alone.objects in {70, 140}  # before Python 3.13 with their dictionaries
    assert alone.hanging_objects >= 70
    assert 70 * 1000 < alone.bytes < 70 * 2500
    assert {f"{__name__}.Plain", f"{__name__}.Told"} <= set(dict(pairs.types))
    assert pairs.cycles == 29
    assert alone.finalizers == pairs.finalizers == (f"{__name__}.Told",)
    assert alone.uncollectable in {(), None}
    assert Told.calls == 0
    gc.collect()
    assert Told.calls == 100


def a_finalizer_of_what_hangs_is_told() -> None:
    """It will run with the cycle, which has none itself."""
    inner = Told()
    del inner.itself
    cycle: list[Any] = [inner]
    cycle.append(cycle)
    del inner, cycle
    (group,) = (group for group in look().found.groups if dict(group.types) == {"list": 1})
    assert group.finalizers == (f"{__name__}.Told",)
    assert Told.calls == 0


def what_is_alive_is_not_found() -> None:
    """Neither cycles that a variable holds, nor what hangs on them."""
    alive = [Told() for _ in range(50)]
    before = look()
    assert groups_of(before, "Told") == []
    alive.clear()
    assert groups_of(look(), "Told")[0].cycles == 50


def each_generation_says_what_it_would_bring() -> None:
    """To the object: as collections of the youngest, the middle and all bring it."""
    for generation in (2, 1, 0):
        kept = [Told(bytearray(5000)) for _ in range(10 * (generation + 1))]
        for number in range(generation):
            gc.collect(number)
        kept.clear()
    waiting = inspector().waiting()
    assert [one.objects for one in waiting] == [gc.collect(number) for number in range(3)]
    assert [one.bytes // 50_000 for one in waiting] == [1, 2, 3]
    assert Told.calls == 60


def frozen_garbage_is_found_and_said_to_be_frozen() -> None:
    """No collection will free it; what is alive stays so, and nothing is thawed here."""
    kept = [Told() for _ in range(10)]
    for _ in range(40):
        Told()
    gc.freeze()
    frozen = gc.get_freeze_count()
    for _ in range(5):
        Told()
    found = look()
    (group,) = groups_of(found, "Told")
    assert (group.cycles, group.frozen_objects * 45) == (45, 40 * group.objects)
    assert gc.get_freeze_count() == frozen
    assert len(kept) == 10
    assert sum(one.objects for one in inspector().waiting()) == gc.collect()
    gc.unfreeze()


def what_a_debugging_flag_keeps_is_found() -> None:
    """With DEBUG_SAVEALL it all lies in gc.garbage, which is left as it is."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    for _ in range(20):
        Told()
    gc.collect()
    length = len(gc.garbage)
    assert length >= 20
    found = look()
    (group,) = groups_of(found, "Told")
    assert group.cycles == 20
    assert group.kept_objects == group.objects
    referrers = inspector().referrers()
    assert f"{__name__}.Told" in set(referrers)
    assert len(gc.garbage) == length
    assert gc.get_debug() == gc.DEBUG_SAVEALL
    assert Told.calls == 20  # by the collection, which keeps them all the same


def no_code_of_the_app_runs() -> None:
    """No object, class or metaclass is asked for anything, and no finalizer runs."""
    asked: list[bool] = []

    class Liar(abc.ABCMeta):
        """Claims anything, and tells when it is asked."""

        def _refuse(cls, *_: object) -> Any:
            asked.append(True)
            raise AssertionError("code of the app ran")

        def __getattribute__(cls, name: str) -> Any:
            asked.append(True)
            return super().__getattribute__(name)

        __subclasscheck__ = __instancecheck__ = __eq__ = __repr__ = __dir__ = _refuse
        __hash__ = type.__hash__

    class Hostile(Mapping[str, str], metaclass=Liar):
        """Whatever is asked of it, it raises or lies."""

        def _refuse(self, *_: object) -> Any:
            asked.append(True)
            raise AssertionError("code of the app ran")

        __class__ = property(_refuse)
        __eq__ = __hash__ = __len__ = __iter__ = __getitem__ = __bool__ = _refuse
        __repr__ = __str__ = __sizeof__ = __getattr__ = __dir__ = __reduce_ex__ = _refuse
        __getattribute__ = _refuse

    for _ in range(25):
        thing = object.__new__(Hostile)
        object.__setattr__(thing, "itself", thing)
        object.__setattr__(thing, "told", Told())
        del thing
    asked.clear()
    found = look()
    waiting = inspector().waiting()
    assert (asked, Told.calls) == ([], 0)
    groups = groups_of(found, f"{no_code_of_the_app_runs.__name__}.<locals>.Hostile")
    assert [group.cycles for group in groups] == [25]
    assert sum(one.bytes for one in waiting) >= groups[0].bytes > 0


def ten_thousand_classes_are_one_kind() -> None:
    """Those that live are not found, those that nobody needs are."""
    kept = [type(f"Kept{number}", (), {}) for number in range(10_000)]
    for number in range(10_000):
        type(f"Made{number}", (Plain,), {"method": lambda self: self})
    found = look()
    counted = [group.cycles for group in groups_of(found, "type")]
    objects = [dict(group.types)["type"] for group in groups_of(found, "type")]
    assert (sum(counted), sum(objects)) == (10_000, 10_000)
    assert len(kept) == 10_000
    for kind in kept:
        instance: Any = kind()
        instance.itself = instance
        del instance
    found = look()
    (untold,) = groups_of(found, "a class …")  # their names may be values of the app
    assert untold.cycles == 10_000
    assert sum(group.cycles for group in found.found.groups) == 20_000


def what_is_listed_is_bounded() -> None:
    """However many kinds of cycles there are; how many more there were is said."""
    written = (
        *("Kind0", "Kind1", "Kind2", "Kind3", "Kind4", "Kind5", "Kind6", "Kind7", "Kind8"),
        *("Sort0", "Sort1", "Sort2", "Sort3", "Sort4", "Sort5", "Sort6", "Sort7", "Sort8"),
        *("Type0", "Type1", "Type2", "Type3", "Type4"),
    )
    kinds = [type(name, (Told,), {}) for name in written]
    for kind in kinds:
        kind()
    found = look().found
    assert len(found.groups) == 20
    assert found.groups_left_out == found.cycles_left_out == len(written) - 20
    assert {dict(group.types).popitem()[1] for group in found.groups} == {1}


def deep_and_wide_graphs_are_walked() -> None:
    """A circle and a chain of a hundred thousand, and one thing with as many others."""
    size = 100_000
    first: list[Any] = []
    last = first
    for _ in range(size - 1):
        last = [last]
    first.append(last)
    del first, last
    circle = look().found
    gc.collect()
    chain: list[Any] = []
    for _ in range(size):
        chain = [chain]
    anchor: list[Any] = [chain]
    anchor.append(anchor)
    del chain, anchor
    hanging = look().found
    gc.collect()
    hub: list[Any] = []
    hub.extend({"hub": hub} for _ in range(size))
    del hub
    fan = look().found
    assert [(g.cycles, g.objects) for g in circle.groups] == [(1, size)]
    assert [(g.objects, g.hanging_objects) for g in hanging.groups] == [(1, size + 1)]
    assert [dict(g.types) for g in fan.groups] == [{"list": 1, "dict": size}]


def cycles_that_lead_to_others_are_told_apart() -> None:
    """What hangs between them counts with the first."""
    behind = Told(bytearray(10))
    behind.hanging = ()
    front = Plain()
    front.__dict__.update(itself=front, between=[[]], behind=behind)
    front.__dict__["between"].append(behind)
    del front, behind
    found = look()
    (front_group,) = groups_of(found, "Plain")
    (behind_group,) = groups_of(found, "Told")
    assert (front_group.cycles, behind_group.cycles) == (1, 1)
    assert front_group.hanging_objects >= 2
    assert behind_group.hanging_objects == 0


def what_asyncio_has_put_aside_is_left_alone() -> None:
    """Python 3.12 shows it, and whoever takes it makes a list that never ends."""
    import asyncio

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(5):
            future: asyncio.Future[None] = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    asyncio.run(main())
    gc.collect()
    Told()
    for _ in range(2):
        assert groups_of(look(), "Told")[0].cycles == 1
        assert len(inspector().waiting()) == 3
    gc.garbage.append([])
    assert inspector().referrers() == {}
    gc.garbage.clear()
    asyncio.run(main())


SECRET = "correct horse battery staple"


def no_value_gets_out() -> None:
    """Planted in keys, values, names, reprs and docstrings: it is in no answer."""
    from leakmw.admin.collector import Collector
    from leakmw.monitor import Monitor
    from leakmw.settings import Settings

    class Order:
        __doc__ = SECRET

        def __repr__(self) -> str:
            return SECRET

    for number in range(50):
        order = Order()
        order.__dict__.update({SECRET: order, "name": SECRET, "__name__": SECRET})
        order.__dict__[f"{SECRET}{number}"] = {SECRET: [SECRET, SECRET.encode()]}
        del order
    gc.garbage.append({SECRET: SECRET})
    monitor = Monitor(
        Settings(engine="tracemalloc", frames=1, store="memory"), lambda _: Route("GET", None)
    )
    try:
        collector = Collector(monitor)
        answers = [collector.inspect(), collector.state(), collector.collect(), collector.state()]
    finally:
        monitor.close()
        gc.garbage.clear()
    assert "Order" in json.dumps(answers)
    for word in SECRET.split():
        assert word not in json.dumps(answers)


def births_are_told_by_the_sampling_tracer() -> None:
    """By the samples that there are, none made up."""
    from leakmw.tracers import sampling
    from leakmw.visits.current import CURRENT, OURS

    if sampling.unavailable():
        return
    tracer = sampling.SamplingTracer(8, 0.01, 512, CURRENT, OURS)
    assert tracer.born(Plain()) is None
    tracer.start()
    line = Told.__init__.__code__.co_firstlineno  # sampled here, or where the instance is made
    for _ in range(3000):
        Told(bytes(100))
    (group,) = groups_of(look(born=tracer.born), "Told")
    tracer.stop()
    known = sum(count for _, count in group.births)
    assert {frame.file for frame, _ in group.births} == {__file__}
    assert {frame.function for frame, _ in group.births} <= {
        "births_are_told_by_the_sampling_tracer",
        "Told.__init__",
    }
    assert line > 0
    assert 100 < known < 1500  # of some 100 bytes each, one in five


def births_are_told_by_tracemalloc() -> None:
    """Of all objects that it has seen."""
    from leakmw.tracers.births import untraced
    from leakmw.tracers.exact import ExactTracer

    class Slotted:
        __slots__ = ("itself",)

        def __init__(self) -> None:
            self.itself = self

    tracer = ExactTracer(2, lambda: GENEROUS, lambda *_: None)
    Slotted()
    tracer.start()
    for _ in range(30):
        Slotted()
    (group,) = groups_of(look(born=tracer.born, begin=untraced), f"{Slotted.__qualname__}")
    tracer.stop()
    assert group.cycles == 31
    assert [(frame.file, count) for frame, count in group.births] == [(__file__, 30)]
    assert not tracemalloc.is_tracing()


ONE = """
import gc, sys
from tests import test_cycles
gc.collect()
gc.disable()
getattr(test_cycles, sys.argv[1])()
"""


@pytest.mark.parametrize(
    "check",
    [
        cycles_are_grouped_by_their_types,
        a_finalizer_of_what_hangs_is_told,
        what_is_alive_is_not_found,
        each_generation_says_what_it_would_bring,
        frozen_garbage_is_found_and_said_to_be_frozen,
        what_a_debugging_flag_keeps_is_found,
        no_code_of_the_app_runs,
        ten_thousand_classes_are_one_kind,
        what_is_listed_is_bounded,
        deep_and_wide_graphs_are_walked,
        cycles_that_lead_to_others_are_told_apart,
        what_asyncio_has_put_aside_is_left_alone,
        no_value_gets_out,
        births_are_told_by_the_sampling_tracer,
        births_are_told_by_tracemalloc,
    ],
    ids=lambda check: check.__name__,
)
def test_in_a_process_of_its_own(check: Callable[[], None]) -> None:
    """Where nobody else makes garbage: each check says what it is about."""
    command = [sys.executable, "-c", ONE, check.__name__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def uncollectable_objects_are_named(library: str) -> None:
    """Before a collection, and when they lie in gc.garbage after it."""
    module = loaded(library)
    for _ in range(12):
        one = module.Legacy()
        one.hold([one, Plain()])
        del one
    (before,) = groups_of(look(), "legacy.Legacy")
    assert before.uncollectable in {("legacy.Legacy",), None}
    assert (before.cycles, before.kept_objects) == (12, 0)
    assert before.finalizers == ()
    gc.collect()
    assert len(gc.garbage) == 12
    (after,) = groups_of(look(), "legacy.Legacy")
    assert (after.cycles, after.kept_objects) == (12, 12)
    assert inspector().referrers() == {"legacy.Legacy": {"list": 12}}
    os._exit(0)  # the end of the interpreter would ask for their finalizer


def test_uncollectable_objects_are_named(tmp_path: Path) -> None:
    """Those of a C type with a finalizer of before PEP 442: in a process of their own."""
    code = "\n".join(ONE.splitlines()[:-1]) + (
        "\ntest_cycles.uncollectable_objects_are_named(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(built("legacy", tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_room_nobody_looks() -> None:
    """And it is said what it would take."""
    for question in (Inspector.cycles, Inspector.waiting, Inspector.referrers):
        with pytest.raises(SnapshotError, match="the memory limit leaves 30 MiB"):
            question(inspector(room=30 << 20))


def _hang(_: object) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), "killed, or out of memory"),
        (lambda _: bytearray(1 << 45), "failed with MemoryError"),
        (lambda _: 1 / 0, "failed with ZeroDivisionError"),
        (_hang, "it had not finished after 0.3 s"),
    ],
    ids=["killed", "out of memory", "failed", "hung"],
)
def test_a_child_that_comes_to_harm_is_told(
    monkeypatch: pytest.MonkeyPatch, fate: Callable[[object], object], reason: str
) -> None:
    """The process goes on, and the reason is said."""
    monkeypatch.setattr(looking, "cycles", fate)
    if fate is _hang:
        monkeypatch.setattr(looking, "DEADLINE_SECONDS", 0.3)
    with pytest.raises(SnapshotError, match=reason):
        look()


def test_where_no_child_is_to_be_had_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other platforms, or where the system refuses."""
    monkeypatch.setattr(forked, "AVAILABLE", False)
    with pytest.raises(SnapshotError, match="not safe on this platform"):
        look()
