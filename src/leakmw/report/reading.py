"""Records back from the JSON of reports and workers: what a shell has got, said as it is at home.

What is missing or of another form raises ``KeyError``, ``TypeError`` or ``ValueError``: the
document is of another version of leakmw, or none of it.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from leakmw.records import (
    Engine,
    Estimate,
    Finding,
    Frame,
    Growth,
    Holder,
    Memory,
    Report,
    Verdict,
    Window,
    Worker,
    WorkerStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Document = dict[str, Any]
T = TypeVar("T")


def report(document: Document) -> Report:
    """Return the report that *document* of ``leakmw.report/1`` tells.

    What the document does not have, no record has: blocks of endpoints, intervals of their rates.
    """
    visits = {one["endpoint"]: one["visits"] for one in document["endpoints"]}
    window = document["window"]
    return Report(
        id=document["id"],
        taken_at=_moment(document["taken_at"]),
        service=document["service"],
        version=document["version"],
        worker=_worker(document["worker"]),
        engine=_engine(document["engine"]),
        window=Window(
            start=_moment(window["from"]),
            end=_moment(window["to"]),
            visits=window["visits"],
            seconds=window["seconds"],
        ),
        memory=_memory(document["memory"]),
        endpoints=tuple(map(_endpoint, document["endpoints"])),
        findings=tuple(_finding(one, visits) for one in document["findings"]),
        notes=tuple(document["notes"]),
    )


def workers(document: Document) -> tuple[WorkerStatus, ...]:
    """Return the workers that *document* lists."""
    return tuple(map(_status, document["workers"]))


def findings(document: Document) -> tuple[Finding, ...]:
    """Return the findings of *document*, a look at the heap: nothing says of how many visits."""
    return tuple(_finding(one, {}) for one in document["findings"])


def growths(rows: list[Document]) -> tuple[Growth, ...]:
    """Return the sites of a comparison."""
    return tuple(_growth(row, row["visits"]) for row in rows)


def totals(rows: list[Document]) -> tuple[Growth, ...]:
    """Return the endpoints of a comparison or a report."""
    return tuple(map(_endpoint, rows))


def _status(document: Document) -> WorkerStatus:
    known = {
        name: document[name]
        for name in (
            "alive",
            "visits",
            "snapshots",
            "errors",
            "service",
            "version",
            "snapshot_seconds",
            "pause_seconds",
        )
    }
    return WorkerStatus(
        worker=_worker(document["worker"]),
        seen_at=_moment(document["seen_at"]),
        engine=_given(document["engine"], _engine),
        memory=_given(document["memory"], _memory),
        **known,
    )


def _finding(document: Document, visits: Mapping[str, int]) -> Finding:
    holder = document["holder"]
    return Finding(
        fingerprint=document["fingerprint"],
        verdict=Verdict(document["verdict"]),
        growth=_growth(document, visits.get(document["endpoint"], 0)),
        bytes_per_second=_figure(document["bytes_per_hour"]) / 3600,
        confidence=document["confidence"],
        evidence=tuple(document["evidence"]),
        cause=document["cause"],
        holder=None if holder is None else Holder(**_known(Holder, holder)),
        types=document["types"],
        advice=document["advice"],
    )


def _growth(document: Document, visits: int) -> Growth:
    return Growth(
        endpoint=document["endpoint"],
        visits=visits,
        bytes=document["growth_bytes"],
        blocks=document["growth_blocks"],
        bytes_per_request=_given(document["bytes_per_request"], _estimate),
        site=_given(document["site"], _frame),
        traceback=tuple(map(_frame, document["traceback"])),
    )


def _endpoint(document: Document) -> Growth:
    rate = document["bytes_per_request"]
    return Growth(
        endpoint=document["endpoint"],
        visits=document["visits"],
        bytes=document["growth_bytes"],
        blocks=None,
        bytes_per_request=None if rate is None else Estimate(rate, None, None),
    )


def _estimate(document: Document) -> Estimate:
    return Estimate(_figure(document["estimate"]), document["low"], document["high"])


def _frame(document: Document) -> Frame:
    return Frame(document["file"], document["line"], document["function"])


def _worker(document: Document) -> Worker:
    return Worker(
        host=document["host"], pid=document["pid"], started_at=_moment(document["started_at"])
    )


def _engine(document: Document) -> Engine:
    return Engine(**_known(Engine, document))


def _memory(document: Document) -> Memory:
    figures = _known(Memory, document)
    left = figures["seconds_to_limit"]
    if left is not None:
        low, high = document["seconds_to_limit_low"], document["seconds_to_limit_high"]
        figures["seconds_to_limit"] = Estimate(left, low, high)
    return Memory(**figures)


def _known(record: Any, document: Document) -> Document:
    """Return the fields of *document* that *record* has: a newer leakmw may tell of more."""
    return {field.name: document[field.name] for field in fields(record)}


def _moment(said: str) -> datetime:
    return datetime.fromisoformat(said)


def _figure(said: float | None) -> float:
    """Return what JSON has no number for as what it was, or might have been."""
    return float("nan") if said is None else said


def _given(value: Any, read: Callable[[Any], T]) -> T | None:
    return None if value is None else read(value)
