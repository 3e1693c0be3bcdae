"""The queries of deploy/ find what they should in the log of an app that really leaked.

No engine runs here: each query is read for the conditions it sets and the fields it names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import structlog
import yaml

from leakmw import forked
from leakmw.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Event = dict[str, Any]
DEPLOY = Path(__file__).parent.parent / "deploy"
STAMPED = {"@timestamp"}
"""What the engine itself adds."""

REPORT, SUSPECTED, CONFIRMED, FAILED = (
    f"leakmw.{name}" for name in ("report", "leak_suspected", "leak_confirmed", "self_error")
)


def leak() -> None:
    """Leak, and print what is logged as JSON lines; this runs in a process of its own."""
    from tests.test_leaks import WINDOWS, Shop, fill

    from leakmw.wsgi import LeakMiddleware

    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    )
    settings: dict[str, Any] = {"engine": "tracemalloc", "every": 10**9, "frames": 8}
    named = {"service": "shop", "version": "1.4.2", "token": "a-token-of-some-length"}
    face: Any = LeakMiddleware(Shop(), {**settings, **named, "endpoint": _not_all})
    fill(face, WINDOWS)
    face({"PATH_INFO": "/unnamed"}, lambda *_: None)
    face.monitor.take_snapshot(600)
    face.monitor.close()


def _not_all(environ: Mapping[str, Any]) -> str | None:
    """Name no endpoint, and fail for one."""
    if environ["PATH_INFO"] == "/unnamed":
        raise LookupError
    return None


@pytest.fixture(scope="module", name="events")
def _events() -> list[Event]:
    """Return the events of a real leak, from the first report to an error of leakmw's own."""
    if not forked.AVAILABLE:
        pytest.skip("no look at the heap here")
    command = [sys.executable, "-c", "from tests.test_queries import leak; leak()"]
    alone = os.environ | {"LEAKMW_STORE": "memory"}  # it remembers no leak of another run
    done = subprocess.run(command, stdout=subprocess.PIPE, env=alone, text=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    names = [event["event"] for event in said]
    assert {REPORT, SUSPECTED, CONFIRMED, FAILED} <= set(names)
    return said


class Condition(NamedTuple):
    """What a query wants of a field."""

    field: str
    holds: Callable[[Any], bool]


class Query(NamedTuple):
    """A query as it is read.

    Attributes:
        conditions: All of them must hold.
        numbers: Fields that it computes with.
        named: Fields that it groups by or shows.
    """

    conditions: list[Condition]
    numbers: set[str]
    named: set[str]


def one_of(field: str, values: list[str]) -> Condition:
    """Return the condition that a field has one of these values."""
    return Condition(field, lambda value: value in values)


def matching(field: str, pattern: str) -> Condition:
    """Return the condition that the whole of a field matches."""
    return Condition(field, lambda value: re.fullmatch(pattern, value) is not None)


def compared(field: str, sign: str, bound: str) -> Condition:
    """Return the condition that a field is beyond a bound."""
    signs: dict[str, Callable[[Any], bool]] = {
        "<": lambda value: value < float(bound),
        ">=": lambda value: value >= float(bound),
    }
    return Condition(field, signs[sign])


def words(text: str) -> set[str]:
    """Return names that are parted by commas."""
    return {name.strip() for name in text.split(",") if name.strip()}


def logql(query: str) -> Query:
    """Read a query of Loki: label filters behind the parser, and what is unwrapped."""
    stages = query.partition("}")[2]
    conditions = [
        matching(field, pattern) if sign == "=~" else one_of(field, [pattern])
        for field, sign, pattern in re.findall(r'\| (\w+)(=~|=)"([^"]*)"', stages)
    ]
    conditions += [
        one_of("event", [contained]) for contained in re.findall(r'\|= "([^"]*)"', stages)
    ]
    numbers = set(re.findall(r"unwrap (\w+)", stages))
    named = {name for names in re.findall(r"\bby \(([^)]*)\)", query) for name in words(names)}
    return Query(conditions, numbers, named | set(re.findall(r"\{\{\.(\w+)\}\}", stages)))


def kql(query: str) -> Query:
    """Read a query of Elastic's in KQL."""
    conditions, numbers = [], set()
    for part in query.split(" and "):
        if asked := re.fullmatch(r"([\w.]+) : (.*)", part):
            conditions.append(one_of(asked[1], re.findall(r'"([^"]*)"', asked[2])))
        else:
            field, sign, bound = part.split()
            conditions.append(compared(field, sign, bound))
            numbers.add(field)
    return Query(conditions, numbers, set())


def esql(query: str) -> Query:
    """Read a query of Elastic's in ES|QL."""
    conditions = [
        one_of(field, re.findall(r'"([^"]*)"', values))
        for field, values in re.findall(r"WHERE ([\w.]+) IN \(([^)]*)\)", query)
    ]
    named = words(re.search(r"\bBY ([^|]*)", query)[1])  # type: ignore[index]  # it is there
    counted = set(re.findall(r"COUNT_DISTINCT\(([^)]*)\)", query))
    times = set(re.findall(r"MIN\(([^)]*)\)", query))
    return Query(conditions, set(re.findall(r"MAX\(([^)]*)\)", query)), named | counted | times)


def datadog(query: str) -> Query:
    """Read a query of a log monitor of Datadog's."""
    asked, numbers = [], set()
    searched = re.search(r'logs\("([^"]*)"\)', query)
    grouped = re.search(r'\.by\("([^"]*)"\)', query)
    assert searched is not None
    assert grouped is not None
    for part in searched[1].split():
        field, _, value = part.removeprefix("@").partition(":")
        if value[0] == "<":
            asked.append(compared(field, "<", value[1:]))
            numbers.add(field)
        else:
            asked.append(one_of(field, [value]))
    return Query(asked, numbers, {name.removeprefix("@") for name in words(grouped[1])})


def cloudwatch(pattern: str, transformation: str) -> Query:
    """Read a metric filter of CloudWatch's."""
    conditions = [
        one_of(field, [value]) for field, value in re.findall(r'\$\.(\w+) = "([^"]*)"', pattern)
    ]
    bounds = re.findall(r"\$\.(\w+) (>=|<) (\d+)", pattern)
    conditions += [compared(*bound) for bound in bounds]
    numbers = {field for field, _, _ in bounds}
    numbers |= set(re.findall(r"metricValue=\$\.(\w+)", transformation))
    dimensions = re.search(r"dimensions=\{([^}]*)\}", transformation)
    assert dimensions is not None
    named = dict(part.split("=$.") for part in dimensions[1].split(","))
    assert len(named) <= 3
    assert all(name == field for name, field in named.items())
    return Query(conditions, numbers, set(named))


def insights(query: str) -> Query:
    """Read a query of CloudWatch's Logs Insights."""
    conditions = [
        one_of(field, re.findall(r'"([^"]*)"', values))
        for field, values in re.findall(r"filter (\w+) in \[([^\]]*)\]", query)
    ]
    grouped = re.search(r"\bby ([^|]*)", query)
    assert grouped is not None
    latest = set(re.findall(r"latest\((\w+)\)", query))
    numbers = set(re.findall(r"max\((\w+)\)", query))
    return Query(conditions, numbers, words(grouped[1]) | latest)


def read(name: str) -> str:
    """Return a file of deploy/."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def lines(name: str) -> list[str]:
    """Return the queries of a file with one a line."""
    return [line for line in read(name).splitlines() if line and not line.startswith("#")]


def held_against(events: list[Event], query: Query) -> set[str]:
    """Return the names of the events that a query selects, whose fields are as it needs them."""
    assert query.conditions
    found = [
        event
        for event in events
        if all(
            condition.field in event and condition.holds(event[condition.field])
            for condition in query.conditions
        )
    ]
    for field in query.named - STAMPED:
        assert any(field in event for event in found), field
    for field in query.numbers:
        assert any(field in event for event in found), field
        assert all(isinstance(event[field], int | float) for event in found if field in event)
    return {event["event"] for event in found}


RULES = yaml.safe_load(read("loki/leakmw.rules.yml"))["groups"][0]["rules"]
MONITORS = json.loads(read("datadog/monitors.json"))
BY_ALERT = {
    "MemoryLeak": {CONFIRMED},
    "MemoryLeakSuspected": {SUSPECTED},
    "MemoryLimitNear": {REPORT},
    "LeakmwErrors": {FAILED},
}
"""What each alert is about."""


@pytest.fixture(name="soon")
def _soon(events: list[Event]) -> list[Event]:
    """Return the events with the limit near, wherever one was told: no test waits for that."""
    assert any("seconds_to_limit" in event for event in events)
    return [
        event | ({"seconds_to_limit": 20_000.0} if "seconds_to_limit" in event else {})
        for event in events
    ]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_lokis_rules_find_their_events(soon: list[Event], rule: dict[str, Any]) -> None:
    """Each its own, and what it tells is among what it groups by."""
    query = logql(rule["expr"])

    assert held_against(soon, query) == BY_ALERT[rule["alert"]]
    shown = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
    assert set(shown) <= query.named


def test_lokis_queries_find_their_events(events: list[Event]) -> None:
    """Those for people, too; one asks for a fingerprint, here that of the leak."""
    (leak,) = [event for event in events if event["event"] == CONFIRMED]
    queries = [
        logql(line.replace("9f2c41d0b7aa", leak["fingerprint"]))
        for line in lines("loki/queries.logql")
    ]

    paced, told, plain, resident = (held_against(events, query) for query in queries)
    assert paced == {SUSPECTED, CONFIRMED}
    assert told >= {SUSPECTED, CONFIRMED}
    assert plain == {CONFIRMED}
    assert resident == {REPORT}


def test_elastics_queries_find_their_events(soon: list[Event]) -> None:
    """In flat events and in those of the Common Schema the same."""
    expected = [{CONFIRMED}, {SUSPECTED, CONFIRMED}, {REPORT}, {FAILED}]
    rename = fields("ecs")
    renamed = [dict(rename(None, event["level"], dict(event))) for event in soon]

    for name, log in (("queries.kql", soon), ("queries.ecs.kql", renamed)):
        found = [held_against(log, kql(line)) for line in lines(f"elasticsearch/{name}")]
        assert found == expected
    for name, log in (("leaks.esql", soon), ("leaks.ecs.esql", renamed)):
        query = esql(read(f"elasticsearch/{name}"))
        assert held_against(log, query) == {SUSPECTED, CONFIRMED}


def test_no_event_is_both_text_and_object_to_elastic(events: list[Event]) -> None:
    """The names of no two fields are one within the other; as a whole one is refused."""
    rename = fields("ecs")
    for event in events:
        names = set(rename(None, event["level"], dict(event))) - {"event"} | {"message"}
        assert not any(other.startswith(f"{name}.") for name in names for other in names)


def test_datadogs_monitors_find_their_events(soon: list[Event]) -> None:
    """And what their messages show is there."""
    expected = [{CONFIRMED}, {SUSPECTED}, {REPORT}, {FAILED}]
    for monitor, wanted in zip(MONITORS, expected, strict=True):
        assert monitor["type"] == "log alert"
        assert held_against(soon, datadog(monitor["query"])) == wanted
        shown = re.findall(r"log\.attributes\.(\w+)", monitor["name"] + monitor["message"])
        selected = [event for event in soon if event["event"] in wanted]
        assert all(any(name in event for event in selected) for name in shown)


def test_cloudwatchs_filters_find_their_events(soon: list[Event]) -> None:
    """And their dimensions and values are there."""
    script = read("cloudwatch/metric-filters.sh")
    filters = re.findall(r"--filter-pattern '([^']*)' \\\n.*\\\n\s+'([^']*)'", script)
    found = [held_against(soon, cloudwatch(*one)) for one in filters]

    assert found == [{CONFIRMED}, {SUSPECTED}, {REPORT}, {FAILED}]
    query = insights(read("cloudwatch/leaks.logs-insights"))
    assert held_against(soon, query) == {SUSPECTED, CONFIRMED}


def test_cloudwatchs_script_is_one(tmp_path: Path) -> None:
    """It makes four filters and an alarm in the group and for the topic that it is given."""
    told = tmp_path / "told"
    stand_in = tmp_path / "aws"
    stand_in.write_text(f'#!/bin/sh\necho "$1 $2 $4" >> {told}\n')
    stand_in.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    script = str(DEPLOY / "cloudwatch/metric-filters.sh")
    subprocess.run(["sh", script, "shop-logs", "arn:aws:sns:x"], env=path, check=True)

    assert told.read_text().splitlines() == [
        *["logs put-metric-filter shop-logs"] * 4,
        "cloudwatch put-metric-alarm leakmw-shop",
    ]
