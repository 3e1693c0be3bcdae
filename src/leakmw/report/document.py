"""The report as JSON: plain dictionaries of the shape that ``report.schema.json`` describes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from leakmw.records import (
        Diff,
        Engine,
        Estimate,
        Finding,
        Frame,
        Growth,
        Holder,
        Holdings,
        Memory,
        Reply,
        Report,
        Snapshot,
        Worker,
        WorkerStatus,
    )

Document = dict[str, Any]
T = TypeVar("T")


def schema() -> Document:
    """Return the JSON Schema of a report; ``$defs`` has ``snapshot`` and ``diff`` too."""
    published = resources.files("leakmw.report").joinpath("report.schema.json")
    loaded: Document = json.loads(published.read_text(encoding="utf-8"))
    return loaded


def report_document(report: Report) -> Document:
    """Return *report* as ``leakmw.report/1``."""
    return _document(
        {
            "schema": "leakmw.report/1",
            "id": report.id,
            "taken_at": _moment(report.taken_at),
            "service": report.service,
            "version": report.version,
            "worker": _worker(report.worker),
            "workers": report.workers,
            "engine": _engine(report.engine),
            "window": {
                "from": _moment(report.window.start),
                "to": _moment(report.window.end),
                "visits": report.window.visits,
                "seconds": report.window.seconds,
            },
            "memory": _memory(report.memory),
            "endpoints": [_endpoint(growth) for growth in report.endpoints],
            "findings": [_finding(finding) for finding in report.findings],
            "notes": list(report.notes),
        }
    )


def workers_document(workers: Iterable[WorkerStatus]) -> Document:
    """Return what is known of each of *workers*."""
    return _document({"workers": [_status(worker) for worker in workers]})


def replies_document(replies: Mapping[Worker, Reply]) -> Document:
    """Return the answers of several workers, each beside its own."""
    return {
        "workers": [
            {
                "worker": _worker(worker),
                "status": reply.status,
                "answer": json.loads(reply.body),
            }
            for worker, reply in replies.items()
        ]
    }


def snapshot_document(snapshot: Snapshot) -> Document:
    """Return the summary of *snapshot*: its figures, none of its rows."""
    trace = snapshot.trace
    return _document(
        {
            "id": snapshot.id,
            "number": snapshot.number,
            "taken_at": _moment(snapshot.taken_at),
            "visits": snapshot.visits,
            "in_flight": snapshot.in_flight,
            "endpoints": len(snapshot.endpoints),
            "trace": {
                "rows": len(trace.rows),
                "bytes": sum(row.bytes for row in trace.rows),
                "blocks": sum(row.blocks for row in trace.rows),
                "complete": trace.complete,
                "how": trace.how,
                "seconds": trace.seconds,
                "pause_seconds": trace.pause_seconds,
            },
            "memory": _memory(snapshot.memory),
            "engine": _engine(snapshot.engine),
        }
    )


def diff_document(diff: Diff) -> Document:
    """Return *diff* as ``leakmw.diff/1``."""
    return _document(
        {
            "schema": "leakmw.diff/1",
            "from": snapshot_document(diff.older),
            "to": snapshot_document(diff.newer),
            "visits": diff.newer.visits - diff.older.visits,
            "seconds": diff.newer.clock - diff.older.clock,
            "endpoints": [_endpoint(growth) for growth in diff.endpoints],
            "sites": [{"visits": growth.visits, **_growth(growth)} for growth in diff.sites],
        }
    )


def holdings_document(seen: Holdings) -> Document:
    """Return what a walk through the heap has seen."""
    return _document(
        {
            "objects": seen.objects,
            "containers": [one._asdict() for one in seen.containers],
            "types": [
                {"type": one.name, "count": one.objects, "bytes": one.bytes} for one in seen.types
            ],
            "findings": [_finding(one) for one in seen.findings],
            "seconds": seen.seconds,
            "pause_seconds": seen.pause_seconds,
        }
    )


def _finding(finding: Finding) -> Document:
    return {
        "fingerprint": finding.fingerprint,
        "verdict": finding.verdict.value,
        "confidence": finding.confidence,
        **_growth(finding.growth),
        "bytes_per_hour": finding.bytes_per_second * 3600,
        "cause": finding.cause,
        "holder": _given(finding.holder, _holder),
        "types": _given(finding.types, dict),
        "advice": finding.advice,
        "evidence": list(finding.evidence),
    }


def _growth(growth: Growth) -> Document:
    return {
        "endpoint": growth.endpoint,
        "site": _given(growth.site, _frame),
        "traceback": [_frame(frame) for frame in growth.traceback],
        "growth_bytes": growth.bytes,
        "growth_blocks": growth.blocks,
        "bytes_per_request": _given(growth.bytes_per_request, _estimate),
    }


def _endpoint(growth: Growth) -> Document:
    return {
        "endpoint": growth.endpoint,
        "visits": growth.visits,
        "growth_bytes": growth.bytes,
        "bytes_per_request": _given(growth.bytes_per_request, lambda rate: rate.estimate),
    }


def _worker(worker: Worker) -> Document:
    return {"host": worker.host, "pid": worker.pid, "started_at": _moment(worker.started_at)}


def _status(status: WorkerStatus) -> Document:
    return {
        "worker": _worker(status.worker),
        "alive": status.alive,
        "seen_at": _moment(status.seen_at),
        "visits": status.visits,
        "snapshots": status.snapshots,
        "errors": status.errors,
        "service": status.service,
        "version": status.version,
        "engine": _given(status.engine, _engine),
        "memory": _given(status.memory, _memory),
        "snapshot_seconds": status.snapshot_seconds,
        "pause_seconds": status.pause_seconds,
    }


def _engine(engine: Engine) -> Document:
    return {
        "name": engine.name,
        "sample_bytes": engine.sample_bytes,
        "frames": engine.frames,
        "live_samples": engine.live_samples,
        "cost_ratio": engine.cost_ratio,
        "own_bytes": engine.own_bytes,
    }


def _memory(memory: Memory) -> Document:
    left = memory.seconds_to_limit
    return {
        "rss_bytes": memory.rss_bytes,
        "pss_bytes": memory.pss_bytes,
        "uss_bytes": memory.uss_bytes,
        "anonymous_bytes": memory.anonymous_bytes,
        "shared_bytes": memory.shared_bytes,
        "python_bytes": memory.python_bytes,
        "python_free_bytes": memory.python_free_bytes,
        "python_arena_bytes": memory.python_arena_bytes,
        "native_bytes": memory.native_bytes,
        "mapped_bytes": memory.mapped_bytes,
        "free_bytes": memory.free_bytes,
        "limit_bytes": memory.limit_bytes,
        "limit_kind": memory.limit_kind,
        "used_bytes": memory.used_bytes,
        "room_bytes": memory.room_bytes,
        "seconds_to_limit": _given(left, lambda estimate: estimate.estimate),
        "seconds_to_limit_low": _given(left, lambda estimate: estimate.low),
        "seconds_to_limit_high": _given(left, lambda estimate: estimate.high),
    }


def _holder(holder: Holder) -> Document:
    return {
        "path": holder.path,
        "kind": holder.kind,
        "length": holder.length,
        "grows_per_request": holder.grows_per_request,
        "cap": holder.cap,
    }


def _frame(frame: Frame) -> Document:
    return {"file": frame.file, "line": frame.line, "function": frame.function}


def _estimate(estimate: Estimate) -> Document:
    return {"estimate": estimate.estimate, "low": estimate.low, "high": estimate.high}


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _given(value: T | None, said: Callable[[T], Any]) -> Any:
    return None if value is None else said(value)


def _document(raw: Document) -> Document:
    """Return *raw* as any JSON writer takes it: figures finite or null, no lone surrogates."""
    return {_portable(key): _portable(value) for key, value in raw.items()}


def _portable(value: Any) -> Any:
    match value:
        case dict():
            return _document(value)
        case list():
            return [_portable(item) for item in value]
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
