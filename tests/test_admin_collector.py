"""The collector's state is told without running any code of the app."""

from __future__ import annotations

import array
import gc
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.admin.collector import ENDPOINTS, EXAMINED, GROUPS, Collector
from leakmw.records import Collecting, Collections, Frame, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def garbage() -> Iterator[list[Any]]:
    """Return ``gc.garbage``, empty before the test and as it was after it."""
    before = gc.garbage[:]
    gc.garbage.clear()
    yield gc.garbage
    gc.garbage[:] = before


@pytest.fixture(name="collector")
def _collector(shop_monitor: Any) -> Collector:
    """Return the collector of the shop, on a clock that stands still."""
    return Collector(shop_monitor, lambda: 1.0)


def _groups(collector: Collector) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = collector.state()["garbage"]["groups"]
    return groups


def test_the_state_is_what_the_collector_says(collector: Collector) -> None:
    """Counts, thresholds and switches are those of ``gc`` itself."""
    state = collector.state()

    assert state["enabled"] is gc.isenabled()
    assert len(state["counts"]) == 3
    assert state["thresholds"] == list(gc.get_threshold())
    assert [set(stats) for stats in state["stats"]] == [
        {"collections", "collected", "uncollectable"}
    ] * 3
    assert state["frozen_objects"] == gc.get_freeze_count()
    assert state["debug"] == []


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (gc.DEBUG_SAVEALL, ["DEBUG_SAVEALL"]),
        (gc.DEBUG_UNCOLLECTABLE | gc.DEBUG_SAVEALL, ["DEBUG_UNCOLLECTABLE", "DEBUG_SAVEALL"]),
    ],
)
def test_debugging_flags_are_named(collector: Collector, flags: int, names: list[str]) -> None:
    """A flag left on keeps everything alive, so it has to be seen."""
    before = gc.get_debug()
    gc.set_debug(flags)
    try:
        assert collector.state()["debug"] == names
    finally:
        gc.set_debug(before)


@pytest.mark.usefixtures("garbage")
def test_no_garbage_is_an_empty_list(collector: Collector, shop_monitor: Any) -> None:
    """An app without garbage shows none."""
    assert collector.state()["garbage"] == {
        "length": 0,
        "examined": 0,
        "groups": [],
        "groups_left_out": 0,
    }
    assert shop_monitor.looks == 0  # nobody refers to it


def test_garbage_is_counted_by_type(collector: Collector, garbage: list[Any]) -> None:
    """Built-in types and those of extensions count with the size they say themselves."""
    numbers = array.array("d", [0.0]) * 1000
    garbage += [[1, 2], [3, 4], numbers]

    assert _groups(collector) == [
        {
            "type": "array.array",
            "born_at": None,
            "count": 1,
            "bytes": numbers.__sizeof__(),
            "referrers": [],
        },
        {
            "type": "list",
            "born_at": None,
            "count": 2,
            "bytes": 2 * [1, 2].__sizeof__(),
            "referrers": [],
        },
    ]


class _Liar(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(f"the metaclass was asked for {name}")


class _Hostile(dict[str, str], metaclass=_Liar):
    def _refuse(self, *_: object) -> Any:
        raise AssertionError("code of the app was run")

    __sizeof__ = __repr__ = __len__ = __bool__ = __getattribute__ = _refuse


def test_no_code_of_the_app_is_run(collector: Collector, garbage: list[Any]) -> None:
    """Neither an object nor its class nor its metaclass is asked for anything."""
    garbage.append(_Hostile(secret="value"))

    (group,) = _groups(collector)

    assert group["type"] == f"{__name__}._Hostile"
    assert group["bytes"] >= {"secret": "value"}.__sizeof__()
    assert "secret" not in str(collector.state())
    assert "value" not in str(collector.state())


def test_classes_that_name_themselves_oddly_are_told(
    collector: Collector, garbage: list[Any]
) -> None:
    """A module that is no text, a method of another class, an endless name: all do no harm."""
    odd = type("Odd", (), {"__module__": 42, "__sizeof__": str.upper})
    long = type("L" * 4000, (), {})  # which stands in this code
    untold = type(f"Of{1000 + len(garbage)}", (), {})
    homeless: dict[str, Any] = {}
    exec("made = type('Homeless', (), {})", {"__builtins__": {"type": type}}, homeless)  # noqa: S102
    garbage += [odd(), long(), untold(), homeless["made"]()]

    names = [group["type"] for group in _groups(collector)]

    assert sorted(map(len, names)) == [3, 8, 9, 200]
    assert {"Odd", "Homeless", "a class …"} <= set(names)


def test_where_garbage_was_born_is_told_where_it_is_known(
    collector: Collector, garbage: list[Any], shop_monitor: Any
) -> None:
    """Objects of one type are told apart by their line."""
    places = [Frame("shop/orders.py", line, "place") for line in (31, 31, 31, 40)]
    garbage += [{number} for number in range(5)]
    shop_monitor.born = dict(zip(map(id, garbage), places, strict=False))

    groups = _groups(collector)

    assert [(group["count"], group["born_at"]) for group in groups] == [
        (3, {"file": "shop/orders.py", "line": 31, "function": "place"}),
        (1, {"file": "shop/orders.py", "line": 40, "function": "place"}),
        (1, None),
    ]


def test_what_refers_to_garbage_is_told_by_type(garbage: list[Any], shop_monitor: Any) -> None:
    """One look is good for a minute, unless the garbage has become more or less."""
    now = [0.0]
    collector = Collector(shop_monitor, lambda: now[0])
    shop_monitor.heap.by_type = {"list": {"dict": 4, "shop.orders.Order": 1}}
    garbage.append([])
    told = [{"type": "dict", "count": 4}, {"type": "shop.orders.Order", "count": 1}]

    for moment, looks in ((0.0, 1), (59.0, 1), (60.0, 2), (61.0, 2)):
        now[0] = moment
        assert _groups(collector)[0]["referrers"] == told
        assert shop_monitor.looks == looks
    garbage.append([])
    _groups(collector)
    assert shop_monitor.looks == 3


def test_referrers_that_nobody_could_look_for_are_null(
    collector: Collector, garbage: list[Any], shop_monitor: Any
) -> None:
    """The rest is told."""
    shop_monitor.refusal = SnapshotError("no child could be forked")
    garbage.append([])

    (group,) = _groups(collector)

    assert (group["type"], group["referrers"]) == ("list", None)


def test_pauses_are_told_by_generation_and_endpoint(collector: Collector) -> None:
    """The endpoint that waited longest comes first, and what did not happen is left out."""
    pauses = collector.state()["pauses"]

    assert pauses["since"] == "2026-11-22T12:00:00Z"
    assert pauses["generations"] == [
        {
            "generation": 0,
            "collections": 412,
            "seconds": 0.041,
            "longest_seconds": 0.0009,
            "collected": 31_000,
            "uncollectable": 0,
        },
        {
            "generation": 1,
            "collections": 37,
            "seconds": 0.02,
            "longest_seconds": 0.002,
            "collected": 900,
            "uncollectable": 0,
        },
    ]
    assert [one["endpoint"] for one in pauses["endpoints"]] == ["POST /login", "GET /users/{id}"]
    assert pauses["endpoints_left_out"] == 0


def test_pauses_of_too_many_endpoints_are_left_out(
    collector: Collector, shop_monitor: Any
) -> None:
    """And counted."""
    one = Collections(0, 1, 0.1, 0.1, 0, 0)
    names = [f"GET /{number}" for number in range(ENDPOINTS + 3)]
    many = Collecting(shop_monitor.pauses.since, (one,), dict.fromkeys(names, (one,)))
    shop_monitor.pauses = many

    pauses = collector.state()["pauses"]

    assert (len(pauses["endpoints"]), pauses["endpoints_left_out"]) == (ENDPOINTS, 3)


def test_pauses_that_nobody_counts_are_null(collector: Collector, shop_monitor: Any) -> None:
    """So are those by endpoint, where no visit is followed."""
    shop_monitor.pauses = shop_monitor.pauses._replace(endpoints=None)
    assert collector.state()["pauses"]["endpoints"] is None
    shop_monitor.pauses = None
    assert collector.state()["pauses"] is None


def test_what_is_looked_at_and_listed_is_bounded(
    collector: Collector, garbage: list[Any], shop_monitor: Any
) -> None:
    """However much garbage and however many types there are, the answer stays small."""
    things: list[Any] = [[] for _ in range(GROUPS + 3)]
    garbage += things
    garbage += [()] * EXAMINED
    shop_monitor.born = {id(one): Frame("shop.py", line) for line, one in enumerate(things)}

    state = collector.state()["garbage"]

    assert state["length"] == len(things) + EXAMINED
    assert state["examined"] == EXAMINED
    assert len(state["groups"]) == GROUPS
    assert state["groups_left_out"] == 4
    assert state["groups"][0]["type"] == "tuple"


def _make_cycle() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)


def test_a_collection_says_what_came_free(collector: Collector) -> None:
    """Objects, memory and time are those of this collection."""
    gc.collect()
    for _ in range(10):
        _make_cycle()

    said = collector.collect()

    assert said["unreachable_objects"] >= 10
    assert said["freed_objects"] == said["unreachable_objects"]
    assert said["generations"][0]["unreachable_objects"] >= 10
    assert [one["bytes"] for one in said["generations"]] == [0, 1000, 2000]
    assert (said["bytes"], said["missing"]) == (3000, None)
    assert said["rss_bytes"]["before"] > 0
    assert said["rss_bytes"]["after"] > 0
    assert said["seconds"] > 0


def test_without_a_look_the_bytes_that_came_free_are_null(
    collector: Collector, shop_monitor: Any
) -> None:
    """It collects all the same, and says why."""
    shop_monitor.refusal = SnapshotError("no child could be forked")

    said = collector.collect()

    assert (said["bytes"], said["missing"]) == (None, "no child could be forked")
    assert [one["bytes"] for one in said["generations"]] == [None, None, None]


def test_an_inspection_says_what_the_cycles_are(collector: Collector) -> None:
    """By the types in them, with what they hold and where they were born."""
    said = collector.inspect()

    (group,) = said["groups"]
    assert group["types"][0] == {"type": "shop.orders.Order", "count": 120}
    assert group["finalizers"] == ["shop.orders.Order"]
    assert group["uncollectable"] == []
    assert group["born_at"] == [
        {"file": "shop/orders.py", "line": 31, "function": "place", "count": 7}
    ]
    assert (said["objects"], said["bytes"], group["cycles"]) == (720, 96_000, 120)


@pytest.mark.usefixtures("garbage")
def test_what_a_debugging_flag_keeps_did_not_come_free(collector: Collector) -> None:
    """DEBUG_SAVEALL puts into ``gc.garbage`` what would have gone."""
    gc.collect()
    before = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(10):
            _make_cycle()
        said = collector.collect()
    finally:
        gc.set_debug(before)

    assert said["unreachable_objects"] >= 10
    assert said["freed_objects"] == 0


def test_an_unknown_memory_is_null(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may not be looked at, nothing is guessed."""
    import psutil

    def refuse(_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)

    assert collector.collect()["rss_bytes"] == {"before": None, "after": None}
