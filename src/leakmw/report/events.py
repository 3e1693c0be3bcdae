"""The log events: one for each report, one for each change of a finding's state."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from leakmw.records import Failure, State, Verdict
from leakmw.report import humane
from leakmw.report.log import Log
from leakmw.report.wording import nearest, pace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakmw.records import Change, Finding, Frame, Report, Worker
    from leakmw.report.log import Failed, Level
    from leakmw.settings import Settings

SCHEMA_VERSION = 1
SITES = 10
"""Findings named in one ``leakmw.report``."""

_LEVELS: dict[State, Level] = {
    State.SUSPECTED: "warning",
    State.CONFIRMED: "error",
    State.RESOLVED: "info",
}


class Events:
    """Says reports, findings and our own errors in the log of the app.

    Nothing raises here. Not safe to be called by two threads at once, but for ``self_error``.

    Args:
        settings: What names the app, and where its reports can be read.

        worker: The process.

        failed: Told once for each of ``structlog`` and ``logging`` that raises; it may come back
            with ``self_error``. Without it ``self_error`` is said right here.
    """

    def __init__(self, settings: Settings, worker: Worker, failed: Failed | None = None) -> None:
        self._failed = failed or (
            lambda where, error: self.self_error(Failure.of(where, error), 1)
        )
        self._log = Log(self._failed)
        self._path = f"{settings.path}/api/report" if settings.token else None
        self._origin = {
            "service": settings.service,
            "version": settings.version,
            "worker_host": worker.host,
            "worker_pid": worker.pid,
            "schema_version": SCHEMA_VERSION,
        }

    def report(self, report: Report) -> None:
        """Say *report*."""
        with self._going_on("events.report"):
            self._log.say("info", "leakmw.report", {**_report(report), **self._about(report)})

    def changes(self, report: Report, changes: Sequence[Change]) -> None:
        """Say which findings have come to another state with *report*."""
        left = report.memory.seconds_to_limit
        forecast = {"seconds_to_limit": left and left.estimate, "workers": report.workers}
        for state, finding in changes:
            with self._going_on("events.changes"):
                fields = {**_finding(finding), **forecast, **self._about(report)}
                self._log.say(_LEVELS[state], f"leakmw.leak_{state}", fields)

    @contextlib.contextmanager
    def _going_on(self, where: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # the monitor goes on whatever a report holds
            self._failed(where, error)

    def _about(self, report: Report) -> dict[str, object]:
        return {"report_id": report.id, "report_path": self._path, **self._origin}

    def self_error(self, failure: Failure, count: int) -> None:
        """Say that a step of leakmw itself has failed, for the *count*-th time."""
        fields = {
            "where": failure.where,
            "error_type": failure.kind,
            "error_message": failure.message,
            "error_at": failure.place,
            "count": count,
        }
        with contextlib.suppress(Exception):  # there is nowhere left to say it
            self._log.say("error", "leakmw.self_error", {**fields, **self._origin})


def _report(report: Report) -> dict[str, object]:
    found = [finding.verdict for finding in report.findings]
    worst = _finding(report.findings[0]) if report.findings else {}
    left = report.memory.seconds_to_limit
    return {
        "visits": report.window.visits,
        "window_seconds": round(report.window.seconds, 3),
        "endpoints": len(report.endpoints),
        "findings": len(found),
        "leaks": found.count(Verdict.LEAK),
        "suspects": found.count(Verdict.SUSPECT),
        **{key: worst.get(key) for key in _WORST},
        "sites": "; ".join(map(_site, report.findings[:SITES])) or None,
        "rss_bytes": report.memory.rss_bytes,
        "python_bytes": report.memory.python_bytes,
        "native_bytes": report.memory.native_bytes,
        "free_bytes": report.memory.free_bytes,
        "limit_bytes": report.memory.limit_bytes,
        "seconds_to_limit": left and left.estimate,
        "engine": report.engine.name,
        "cost_ratio": report.engine.cost_ratio,
        "own_bytes": report.engine.own_bytes,
    }


_WORST = (
    "fingerprint",
    "verdict",
    "endpoint",
    "site_file",
    "site_line",
    "site_function",
    "growth_bytes",
    "growth_visits",
    "bytes_per_request",
)
"""What ``leakmw.report`` says of its first finding."""


def _finding(finding: Finding) -> dict[str, object]:
    growth = finding.growth
    estimate = growth.bytes_per_request
    return {
        "fingerprint": finding.fingerprint,
        "verdict": finding.verdict.value,
        "confidence": finding.confidence,
        "endpoint": growth.endpoint,
        "site_file": growth.site and growth.site.file,
        "site_line": growth.site and growth.site.line,
        "site_function": growth.site and growth.site.function,
        "growth_bytes": growth.bytes,
        "growth_blocks": growth.blocks,
        "growth_visits": growth.visits,
        "bytes_per_request": estimate and estimate.estimate,
        "bytes_per_request_low": estimate and estimate.low,
        "bytes_per_request_high": estimate and estimate.high,
        "bytes_per_second": finding.bytes_per_second,
        "cause": finding.cause,
        "holder_path": finding.holder and finding.holder.path,
        "holder_kind": finding.holder and finding.holder.kind,
        "advice": finding.advice,
        "evidence": "; ".join(finding.evidence) or None,
        "site_traceback": " > ".join(map(_place, nearest(growth))) or None,
    }


def _site(finding: Finding) -> str:
    """Return one finding in a few words: verdict, endpoint, place, pace."""
    growth = finding.growth
    place = _place(growth.site) if growth.site else humane.UNKNOWN
    return f"{finding.verdict} {growth.endpoint} {place} {pace(finding)}"


def _place(frame: Frame) -> str:
    return f"{frame.file}:{frame.line}"
