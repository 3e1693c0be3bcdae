"""The pages on the report and the log events show what the code really says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.conftest import say

from leakmw.records import Change, Failure, Holder, State, Verdict
from leakmw.report.document import report_document, schema
from leakmw.report.events import Events
from leakmw.report.log import line
from leakmw.report.text import text
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from leakmw.records import Report

DOCS = Path(__file__).parent.parent / "docs"
REPORT = (DOCS / "report.md").read_text(encoding="utf-8")
EVENTS = (DOCS / "log-events.md").read_text(encoding="utf-8")

FAILURE = Failure("snapshot", "SnapshotError", "no room to fork", "leakmw.tracers.exact:80")

Event = dict[str, Any]


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def _named(section: str) -> set[str]:
    """Return the names in the first column of the tables of *section*."""
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def _section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def said(plain_logging: None) -> list[Event]:
    """Return the events sent through structlog, as they come."""
    kept: list[Event] = []

    def keep(_logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        kept.append({**event, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return kept


@pytest.fixture
def events(shop_report: Report) -> Events:
    """Return what says the events of the shop."""
    settings = Settings(service="shop", version="1.4.2", token="correct-horse-battery")
    return Events(settings, shop_report.worker)


def _complete(report: Report) -> Report:
    """Return *report* with all that later versions may know of a finding."""
    finding = replace(
        report.findings[0],
        verdict=Verdict.LEAK,
        confidence=0.98,
        cause="unbounded-collection",
        holder=Holder(path="shop.views.SESSIONS", kind="dict"),
        advice="Give it a size.",
    )
    return replace(report, findings=(finding,))


def test_the_text_report_is_shown_as_it_is(shop_report: Report) -> None:
    """The page's example is what the report says, to the letter."""
    assert _blocks(REPORT, "text")[0] == text(shop_report)


def test_the_json_report_is_shown_as_it_is(shop_report: Report) -> None:
    """The example differs in its line breaks only."""
    assert json.loads(_blocks(REPORT, "json")[0]) == report_document(shop_report)


def test_every_field_of_the_report_is_explained() -> None:
    """No more and no fewer than the schema has."""
    top, finding = _section(REPORT, "As JSON").split("Of a finding:")

    assert _named(top) == set(schema()["properties"])
    assert _named(finding) == set(schema()["$defs"]["finding"]["properties"])


def test_every_field_of_the_events_is_explained(
    events: Events, shop_report: Report, said: list[Event]
) -> None:
    """Each event has the fields of its table and those of every event, and no others."""
    say(events, _complete(shop_report))
    events.self_error(FAILURE, 1)
    every = _named(_section(EVENTS, "Fields of every event"))
    changes = "`leakmw.leak_suspected`, `leakmw.leak_confirmed`, `leakmw.leak_resolved`"
    report, confirmed, failed = said

    assert set(report) - {"level"} == every | _named(_section(EVENTS, "`leakmw.report`"))
    assert set(confirmed) - {"level"} == every | _named(_section(EVENTS, changes))
    assert set(failed) - {"level"} == every | _named(_section(EVENTS, "`leakmw.self_error`"))


def test_the_levels_are_explained(events: Events, shop_report: Report, said: list[Event]) -> None:
    """The table of events has each with its level."""
    events.report(shop_report)
    events.changes(shop_report, [Change(state, shop_report.findings[0]) for state in State])
    events.self_error(FAILURE, 1)
    table = _section(EVENTS, "The events")
    rows = dict(re.findall(r"^\| `(leakmw\.\w+)` \| (\w+) \|", table, re.MULTILINE))

    assert rows == {event["event"]: event["level"] for event in said}


def test_the_events_are_shown_as_they_are(
    events: Events, shop_report: Report, said: list[Event]
) -> None:
    """The examples are a real event, as JSON and as a line of plain logging."""
    say(events, shop_report)
    suspected = said[1]
    shown = json.loads(_blocks(EVENTS, "json")[0])
    shown.pop("timestamp")

    assert shown == suspected
    fields = {key: value for key, value in suspected.items() if key not in {"event", "level"}}
    assert _blocks(EVENTS, "text")[0] == f"WARNING {line('leakmw.leak_suspected', fields)}\n"
