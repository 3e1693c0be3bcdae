"""The JSON documents are what the published schema says, field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from leakmw.records import (
    Diff,
    Endpoint,
    Estimate,
    Frame,
    Growth,
    Holder,
    Row,
    Snapshot,
    Trace,
    Verdict,
)
from leakmw.report.document import (
    diff_document,
    report_document,
    schema,
    snapshot_document,
)

if TYPE_CHECKING:
    from leakmw.records import Report

CAUSES = [
    "unbounded-collection",
    "reference-cycle",
    "long-lived-holder",
    "suspended-generator",
    "native-memory",
    "unbounded-cache",
    "pending-task",
    "thread",
    "callback-registry",
    "held-traceback",
    "growing-types",
    "debug-log",
    "unknown",
]


def _errors(document: object, part: str | None = None) -> list[str]:
    rules = schema() if part is None else {**schema(), **_part(part)}
    validator = Draft202012Validator(rules, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(document)]


def _part(name: str) -> dict[str, Any]:
    """Return the rules of one definition, in place of those of the whole report."""
    found: dict[str, Any] = schema()["$defs"][name]
    return found


def _snapshot(report: Report, number: int) -> Snapshot:
    frames = (Frame("shop/views.py", 42, "login"),)
    row = Row(path=frames, bytes=1000 * number, blocks=10 * number, traceback=frames)
    return Snapshot(
        id=f"snapshot-{number}",
        number=number,
        taken_at=datetime(2026, 11, 22, 12, number, tzinfo=UTC),
        clock=60.0 * number,
        trace=Trace(
            (row, row), complete=True, grouping=1, how="fork", seconds=0.4, pause_seconds=0.01
        ),
        endpoints={"POST /login": Endpoint("POST /login", 100 * number)},
        in_flight=2,
        memory=report.memory,
        engine=report.engine,
    )


def test_the_schema_is_a_schema() -> None:
    """It is JSON Schema 2020-12."""
    Draft202012Validator.check_schema(schema())


def test_every_object_of_the_schema_is_closed() -> None:
    """A field that is not described cannot slip in, and none can be missing."""
    objects = [rules for rules in _walk(schema()) if "properties" in rules]

    assert len(objects) > 10
    for rules in objects:
        assert rules["additionalProperties"] is False
        assert sorted(rules["required"]) == sorted(rules["properties"])


def _walk(rules: Any) -> list[dict[str, Any]]:
    if isinstance(rules, list):
        return [found for item in rules for found in _walk(item)]
    if not isinstance(rules, dict):
        return []
    inner = [found for item in rules.values() for found in _walk(item)]
    return [rules, *inner] if "type" in rules or "$schema" in rules else inner


def test_the_report_has_the_shape_that_is_published(shop_report: Report) -> None:
    """A real report is valid, and reads as designed."""
    document = report_document(shop_report)

    assert _errors(document) == []
    assert document["schema"] == "leakmw.report/1"
    assert document["taken_at"] == "2026-11-22T12:00:00Z"
    assert document["worker"] == {
        "host": "web-1",
        "pid": 71,
        "started_at": "2026-11-22T10:00:00Z",
    }
    assert document["window"] == {
        "from": "2026-11-22T11:54:20Z",
        "to": "2026-11-22T12:00:00Z",
        "visits": 12012,
        "seconds": 340.2,
    }
    assert document["endpoints"][0] == {
        "endpoint": "POST /login",
        "visits": 4012,
        "growth_bytes": 4_508_876,
        "bytes_per_request": 1123.9,
    }
    assert document["notes"] == list(shop_report.notes)


def test_a_finding_has_the_shape_that_is_published(shop_report: Report) -> None:
    """What was not looked for is null."""
    finding = report_document(shop_report)["findings"][0]

    assert finding.pop("evidence") == list(shop_report.findings[0].evidence)
    assert [frame["line"] for frame in finding.pop("traceback")] == [1511, 902, 17, 42, 726]
    assert finding == {
        "fingerprint": "9f2c41d0b7aa",
        "verdict": "suspect",
        "confidence": None,
        "endpoint": "POST /login",
        "site": {"file": "shop/views.py", "line": 42, "function": "login"},
        "growth_bytes": 4_508_876,
        "growth_blocks": 12_036,
        "bytes_per_request": {"estimate": 1123.9, "low": 1099.1, "high": 1148.7},
        "bytes_per_hour": 47_712_960.0,
        "cause": None,
        "holder": None,
        "types": None,
        "advice": None,
    }


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_published(shop_report: Report, verdict: Verdict) -> None:
    """The schema knows each word of the house."""
    finding = replace(shop_report.findings[0], verdict=verdict)

    assert _errors(report_document(replace(shop_report, findings=(finding,)))) == []


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_is_published(shop_report: Report, cause: str) -> None:
    """With its holder and types."""
    finding = replace(
        shop_report.findings[0],
        cause=cause,
        holder=Holder(path="shop.views.SESSIONS", kind="dict"),
        types={"dict": 0.7, "str": 0.3},
    )
    document = report_document(replace(shop_report, findings=(finding,)))

    assert _errors(document) == []
    assert document["findings"][0]["holder"] == {
        "path": "shop.views.SESSIONS",
        "kind": "dict",
        "length": None,
        "grows_per_request": None,
        "cap": None,
    }


@pytest.mark.parametrize(
    ("field", "value"), [("cause", "aliens"), ("verdict", "guilty"), ("fingerprint", "9F2C")]
)
def test_other_words_are_refused(shop_report: Report, field: str, value: str) -> None:
    """The schema is no rubber stamp."""
    document = report_document(shop_report)
    document["findings"][0][field] = value

    assert len(_errors(document)) == 1


def test_an_undescribed_field_is_refused(shop_report: Report) -> None:
    """Nor does it let more in than it describes."""
    assert len(_errors({**report_document(shop_report), "surprise": 1})) == 1


def test_a_figure_that_is_none_is_null(shop_report: Report) -> None:
    """JSON has no infinity; an estimate without an end is not known there."""
    growth = replace(
        shop_report.findings[0].growth,
        bytes_per_request=Estimate(12.5, float("-inf"), float("nan")),
    )
    finding = replace(shop_report.findings[0], growth=growth)
    document = report_document(replace(shop_report, findings=(finding,)))

    assert _errors(document) == []
    assert document["findings"][0]["bytes_per_request"] == {
        "estimate": 12.5,
        "low": None,
        "high": None,
    }
    json.dumps(document, allow_nan=False)


def test_a_name_that_is_no_unicode_can_be_written(shop_report: Report) -> None:
    """File names may be bytes; every JSON writer takes what stands for them."""
    report = replace(shop_report, service="caf\udce9")

    written = json.dumps(report_document(report), ensure_ascii=False).encode("utf-8")

    assert json.loads(written)["service"] == "caf\\udce9"


def test_a_snapshot_is_summed_up(shop_report: Report) -> None:
    """Its figures are told, none of its rows."""
    document = snapshot_document(_snapshot(shop_report, 1))

    assert _errors(document, "snapshot") == []
    assert document["visits"] == 100
    assert document["trace"] == {
        "rows": 2,
        "bytes": 2000,
        "blocks": 20,
        "complete": True,
        "how": "fork",
        "seconds": 0.4,
        "pause_seconds": 0.01,
    }
    assert "login" not in json.dumps(document)


def test_a_diff_tells_growth_by_endpoint_and_site(shop_report: Report) -> None:
    """With both ends and what lies between them."""
    site = Frame("shop/views.py", 42, "login")
    total = Growth(endpoint="POST /login", visits=100, bytes=2000, blocks=20)
    diff = Diff(
        older=_snapshot(shop_report, 1),
        newer=_snapshot(shop_report, 2),
        endpoints=(total,),
        sites=(replace(total, site=site, traceback=(site,)), total),
    )
    document = diff_document(diff)

    assert _errors(document, "diff") == []
    assert (document["from"]["id"], document["to"]["id"]) == ("snapshot-1", "snapshot-2")
    assert (document["visits"], document["seconds"]) == (100, 60.0)
    assert document["endpoints"][0]["growth_bytes"] == 2000
    assert [growth["site"] for growth in document["sites"]] == [
        {"file": "shop/views.py", "line": 42, "function": "login"},
        None,
    ]
