"""Fields of leakmw's events get other names, by structlog or logging, and no other fields do."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

import ecs_logging
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import say

from leakmw.logs import Fields, Preset, fields
from leakmw.records import Change, Failure, State
from leakmw.report.events import Events
from leakmw.report.presets import NUMBERS, TEXTS, renamed
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.records import Report

Event = dict[str, Any]
FAILURE = Failure("snapshot", "SnapshotError", "no room to fork", "leakmw.tracers.exact:80")

OTEL = {
    "event.name": "leakmw.leak_suspected",
    "http.route": "/login",
    "http.request.method": "POST",
    "code.file.path": "shop/views.py",
    "code.line.number": 42,
    "code.function.name": "login",
    "process.pid": 71,
    "host.name": "web-1",
    "service.name": "shop",
    "service.version": "1.4.2",
    "leakmw.fingerprint": "9f2c41d0b7aa",
    "leakmw.bytes_per_request": 1123.9,
}

ECS = {
    "event.action": "leakmw.leak_suspected",
    "event.kind": "alert",
    "event.dataset": "leakmw",
    "http.request.method": "POST",
    "process.pid": 71,
    "host.name": "web-1",
    "service.name": "shop",
    "service.version": "1.4.2",
    "leakmw.route": "/login",
    "leakmw.endpoint": "POST /login",
    "leakmw.site_file": "shop/views.py",
    "leakmw.bytes_per_request": 1123.9,
}


@pytest.fixture(name="said")
def _said(plain_logging: None, shop_report: Report) -> Callable[..., list[Event]]:
    """Return what says the events of the shop through processors, and returns what came out."""
    events = Events(Settings(service="shop", version="1.4.2"), shop_report.worker)

    def through(*processors: Any) -> list[Event]:
        kept: list[Event] = []

        def keep(_logger: object, _level: str, event: Any) -> Any:
            kept.append(json.loads(event) if isinstance(event, str) else dict(event))
            raise structlog.DropEvent

        structlog.configure(processors=[*processors, keep])
        say(events, shop_report)
        events.changes(shop_report, [Change(State.CONFIRMED, shop_report.findings[0])])
        events.self_error(FAILURE, 1)
        return kept

    return through


def flat(document: Event, prefix: str = "") -> Event:
    """Return a nested document with dots in its names."""
    found: Event = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def test_flat_changes_nothing(said: Callable[..., list[Event]]) -> None:
    """It is what is sent anyhow."""
    assert said(fields("flat")) == said()


@pytest.mark.parametrize(("preset", "expected"), [("otel", OTEL), ("ecs", ECS)])
def test_events_have_the_names_of_the_preset(
    said: Callable[..., list[Event]], preset: Any, expected: Event
) -> None:
    """And none of the flat ones; what no convention has is below leakmw."""
    suspected = said(fields(preset))[1]

    assert expected.items() <= suspected.items()
    assert suspected["event"] == "leakmw.leak_suspected"
    assert [name for name in suspected if "." not in name] == ["event"]


@pytest.mark.parametrize("preset", ["otel", "ecs"])
def test_no_field_is_lost(said: Callable[..., list[Event]], preset: Any) -> None:
    """Every value of every event is there under some name."""
    for plain, other in zip(said(), said(fields(preset)), strict=True):
        kept = {key: value for key, value in plain.items() if key != "endpoint"}
        assert set(kept.values()) <= set(other.values())
        if preset == "otel" and "endpoint" in plain:
            assert plain["endpoint"].endswith(other["http.route"])


def test_every_field_of_every_event_is_known(said: Callable[..., list[Event]]) -> None:
    """As a text or as a number, which it then is."""
    for event in said():
        for name, value in event.items():
            if name not in {"event", "level"}:
                assert (name in NUMBERS) != (name in TEXTS)
                assert isinstance(value, str) == (name in TEXTS)


def test_elastic_is_told_what_kind_of_event_it_is(said: Callable[..., list[Event]]) -> None:
    """A leak is an alert, a report is figures; leakmw's own error is neither."""
    kinds = {event["event.action"]: event["event.kind"] for event in said(fields("ecs"))}

    assert kinds == {
        "leakmw.report": "metric",
        "leakmw.leak_suspected": "alert",
        "leakmw.leak_confirmed": "alert",
        "leakmw.self_error": "event",
    }


def test_structlog_renders_them_for_elastic(said: Callable[..., list[Event]]) -> None:
    """With Elastic's own renderer, and with structlog's: the names are never text and object."""
    rename, render = structlog.processors.EventRenamer("message"), structlog.processors
    for chain in (
        (fields("ecs"), ecs_logging.StructlogFormatter()),
        (fields("ecs"), rename, render.JSONRenderer()),
    ):
        suspected = flat(said(*chain)[1])
        assert ECS.items() <= suspected.items()
        assert suspected["message"] == "leakmw.leak_suspected"
        assert "event" not in suspected
        assert "service" not in suspected


def test_events_of_others_are_left_alone() -> None:
    """Whatever their fields are called."""
    other = {"event": "order placed", "endpoint": "POST /orders", "count": 3, "service": "shop"}
    unnamed = {"endpoint": "POST /orders"}

    presets: tuple[Preset, ...] = ("flat", "otel", "ecs")
    for preset in presets:
        rename: Any = fields(preset)
        assert rename(None, "info", dict(other)) == other
        assert rename(None, "info", dict(unnamed)) == unnamed


class _Kept(logging.Handler):
    """Keeps what a formatter makes of records."""

    def __init__(self, formatter: logging.Formatter, *filters: logging.Filter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        for one in filters:
            self.addFilter(one)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def test_logging_renames_them_by_a_filter(plain_logging: None, shop_report: Report) -> None:
    """Twice is no more than once; another logger's record with such fields is left alone."""
    handler = _Kept(ecs_logging.StdlibFormatter(), fields("ecs"), fields("ecs"))
    logger = logging.getLogger("leakmw")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    say(Events(Settings(service="shop", version="1.4.2"), shop_report.worker), shop_report)
    suspected = flat(json.loads(handler.lines[1]))

    assert (ECS | {"process.pid": os.getpid()}).items() <= suspected.items()
    assert suspected["message"].startswith("leakmw.leak_suspected fingerprint=9f2c41d0b7aa")
    assert suspected["log.level"] == "warning"

    record = logging.makeLogRecord({"name": "shop", "event": "leakmw.report", "count": 3})
    assert fields("ecs").filter(record)
    assert record.__dict__["count"] == 3


def test_an_unknown_preset_is_refused() -> None:
    """With the ones that there are."""
    with pytest.raises(ValueError, match="'gelf': use one of flat, otel, ecs"):
        Fields("gelf")  # type: ignore[arg-type]  # what it is about


@given(
    st.dictionaries(st.sampled_from(sorted(NUMBERS | TEXTS - {"endpoint"})), st.integers()),
    st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.integers()),
    st.sampled_from(["otel", "ecs"]),
)
def test_no_two_fields_get_one_name(
    own: dict[str, int], others: dict[str, int], preset: str
) -> None:
    """Nothing is lost for another, of leakmw's fields and of what processors have added."""
    names = NUMBERS | TEXTS | {"endpoint"}
    kept = {name: value for name, value in others.items() if name not in names}
    said = renamed("leakmw.report", kept | own, preset)

    assert kept.items() <= said.items()
    assert len(said) == len(kept) + len(own) + {"otel": 1, "ecs": 3}[preset]
