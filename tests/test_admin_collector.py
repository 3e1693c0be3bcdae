"""The collector's state is told without running any code of the app."""

from __future__ import annotations

import array
import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.admin import collector

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def garbage() -> Iterator[list[Any]]:
    """Return ``gc.garbage``, empty before the test and as it was after it."""
    before = gc.garbage[:]
    gc.garbage.clear()
    yield gc.garbage
    gc.garbage[:] = before


def _groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = collector.state()["garbage"]["groups"]
    return groups


def test_the_state_is_what_the_collector_says() -> None:
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
def test_debugging_flags_are_named(flags: int, names: list[str]) -> None:
    """A flag left on keeps everything alive, so it has to be seen."""
    before = gc.get_debug()
    gc.set_debug(flags)
    try:
        assert collector.state()["debug"] == names
    finally:
        gc.set_debug(before)


@pytest.mark.usefixtures("garbage")
def test_no_garbage_is_an_empty_list() -> None:
    """An app without garbage shows none."""
    assert collector.state()["garbage"] == {
        "length": 0,
        "examined": 0,
        "groups": [],
        "groups_left_out": 0,
    }


def test_garbage_is_counted_by_type(garbage: list[Any]) -> None:
    """Built-in types and those of extensions count with the size they say themselves."""
    numbers = array.array("d", [0.0]) * 1000
    garbage += [[1, 2], [3, 4], numbers]

    assert _groups() == [
        {"type": "array.array", "born_at": None, "count": 1, "bytes": numbers.__sizeof__()},
        {"type": "list", "born_at": None, "count": 2, "bytes": 2 * [1, 2].__sizeof__()},
    ]


class _Liar(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(f"the metaclass was asked for {name}")


class _Hostile(dict[str, str], metaclass=_Liar):
    def _refuse(self, *_: object) -> Any:
        raise AssertionError("code of the app was run")

    __sizeof__ = __repr__ = __len__ = __bool__ = __getattribute__ = _refuse


def test_no_code_of_the_app_is_run(garbage: list[Any]) -> None:
    """Neither an object nor its class nor its metaclass is asked for anything."""
    garbage.append(_Hostile(secret="value"))

    (group,) = _groups()

    assert group["type"] == f"{__name__}._Hostile"
    assert group["bytes"] >= {"secret": "value"}.__sizeof__()
    assert "secret" not in str(collector.state())
    assert "value" not in str(collector.state())


def test_classes_that_name_themselves_oddly_are_told(garbage: list[Any]) -> None:
    """A module that is no text, a method of another class, an endless name: all do no harm."""
    odd = type("Odd", (), {"__module__": 42, "__sizeof__": str.upper})
    long = type("L" * 10_000, (), {})
    homeless: dict[str, Any] = {}
    exec("made = type('Homeless', (), {})", {"__builtins__": {"type": type}}, homeless)  # noqa: S102
    garbage += [odd(), long(), homeless["made"]()]

    names = [group["type"] for group in _groups()]

    assert sorted(map(len, names)) == [3, 8, 200]
    assert {"Odd", "Homeless"} <= set(names)


class _Thing:
    """Of a type whose objects tracemalloc finds: no free list, and in 3.11 no dictionary."""

    __slots__ = ("name",)


def test_where_garbage_was_born_is_told_where_it_is_known(garbage: list[Any]) -> None:
    """With tracemalloc on, objects of one type are told apart by their line."""
    tracemalloc.start()
    try:
        garbage.extend(_Thing() for _ in range(3))
        garbage.append(_Thing())
        groups = _groups()
    finally:
        tracemalloc.stop()

    assert [group["count"] for group in groups] == [3, 1]
    assert {group["born_at"]["file"] for group in groups} == {__file__}
    assert groups[0]["born_at"]["line"] + 1 == groups[1]["born_at"]["line"]


def test_what_is_looked_at_and_listed_is_bounded(garbage: list[Any]) -> None:
    """However much garbage and however many types there are, the answer stays small."""
    kinds = [type(f"Kind{number}", (), {}) for number in range(collector.GROUPS + 3)]
    garbage += [kind() for kind in kinds]
    garbage += [()] * collector.EXAMINED

    state = collector.state()["garbage"]

    assert state["length"] == len(kinds) + collector.EXAMINED
    assert state["examined"] == collector.EXAMINED
    assert len(state["groups"]) == collector.GROUPS
    assert state["groups_left_out"] == 4
    assert state["groups"][0]["type"] == "tuple"


def _make_cycle() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)


def test_a_collection_says_what_came_free() -> None:
    """Objects, memory and time are those of this collection."""
    gc.collect()
    for _ in range(10):
        _make_cycle()

    said = collector.collect()

    assert said["unreachable_objects"] >= 10
    assert said["freed_objects"] == said["unreachable_objects"]
    assert said["rss_bytes"]["before"] > 0
    assert said["rss_bytes"]["after"] > 0
    assert said["seconds"] > 0


@pytest.mark.usefixtures("garbage")
def test_what_a_debugging_flag_keeps_did_not_come_free() -> None:
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


def test_an_unknown_memory_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may not be looked at, nothing is guessed."""
    import psutil

    def refuse(_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)

    assert collector.collect()["rss_bytes"] == {"before": None, "after": None}
