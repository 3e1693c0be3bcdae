"""The figures that engines outside collect: each with its name, unit and meaning.

Nothing here knows how they are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Verdict
from leakmw.report.readings import (
    budget,
    estimated,
    findings,
    growth,
    leak,
    meter,
    named,
    retained,
    taken_at,
    traced,
    tracer,
    worker,
    workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from leakmw.report.readings import Reading, Seen


class Figure(NamedTuple):
    """One figure.

    Attributes:
        name: Its name for OpenTelemetry.
        unit: Its unit there, in UCUM.
        metric: Its name for Prometheus, with the unit.
        meaning: One sentence, with the unit.
        by: What its readings are told apart by: ``endpoint`` is the name of one, ``worker`` a pid.
        read: Reads it. What is not known is not among the readings.
        grows: Whether it only ever grows while its worker lives.
    """

    name: str
    unit: str
    metric: str
    meaning: str
    by: tuple[str, ...]
    read: Callable[[Seen], Iterable[Reading]]
    grows: bool = False


_LEAK = ("fingerprint", "endpoint", "site", "cause")

FIGURES = (
    Figure(
        "leakmw.workers", "{worker}", "leakmw_workers", "Live workers of the app.", (), workers
    ),
    Figure(
        "leakmw.findings",
        "{finding}",
        "leakmw_findings",
        "Findings of the latest report, by verdict.",
        ("verdict",),
        findings,
    ),
    Figure(
        "leakmw.leak.confirmed",
        "1",
        "leakmw_leak_confirmed",
        "1 for each leak of the latest report.",
        _LEAK,
        named(Verdict.LEAK),
    ),
    Figure(
        "leakmw.leak.suspected",
        "1",
        "leakmw_leak_suspected",
        "1 for each suspect of the latest report.",
        _LEAK,
        named(Verdict.SUSPECT),
    ),
    Figure(
        "leakmw.leak.request.growth",
        "By/{request}",
        "leakmw_leak_growth_bytes_per_request",
        "Growth of a leak or suspect per request of its endpoint, in bytes.",
        ("fingerprint",),
        leak(lambda finding: estimated(finding.growth.bytes_per_request)),
    ),
    Figure(
        "leakmw.leak.growth",
        "By/s",
        "leakmw_leak_growth_bytes_per_second",
        "Growth of a leak or suspect in one worker per second, in bytes.",
        ("fingerprint",),
        leak(lambda finding: finding.bytes_per_second),
    ),
    Figure(
        "leakmw.endpoint.retained",
        "By",
        "leakmw_endpoint_retained_bytes",
        "Live memory of an endpoint's requests, in all workers' largest tracebacks, in bytes.",
        ("endpoint",),
        retained,
    ),
    Figure(
        "leakmw.endpoint.request.growth",
        "By/{request}",
        "leakmw_endpoint_growth_bytes_per_request",
        "Growth of an endpoint's memory per request, in bytes.",
        ("endpoint",),
        growth,
    ),
    Figure(
        "leakmw.heap.traced",
        "By",
        "leakmw_heap_traced_bytes",
        "Live memory of a worker's largest tracebacks, in bytes.",
        ("worker",),
        traced,
    ),
    Figure(
        "leakmw.visits",
        "{request}",
        "leakmw_visits_total",
        "Requests and websockets that a worker has served.",
        ("worker",),
        worker(lambda status: status.visits),
        grows=True,
    ),
    Figure(
        "leakmw.snapshots",
        "{snapshot}",
        "leakmw_snapshots_total",
        "Snapshots that a worker has taken.",
        ("worker",),
        worker(lambda status: status.snapshots),
        grows=True,
    ),
    Figure(
        "leakmw.errors",
        "{error}",
        "leakmw_errors_total",
        "Errors of leakmw's own in a worker; none of them reached a request.",
        ("worker",),
        worker(lambda status: status.errors),
        grows=True,
    ),
    Figure(
        "leakmw.snapshot.time",
        "s",
        "leakmw_snapshot_timestamp_seconds",
        "When a worker took its latest snapshot, in seconds since 1970.",
        ("worker",),
        taken_at,
    ),
    Figure(
        "leakmw.snapshot.duration",
        "s",
        "leakmw_snapshot_duration_seconds",
        "How long a worker's latest snapshot took, the app running on, in seconds.",
        ("worker",),
        worker(lambda status: status.snapshot_seconds),
    ),
    Figure(
        "leakmw.snapshot.pause",
        "s",
        "leakmw_snapshot_pause_seconds",
        "How long a worker stood still for its latest snapshot, in seconds.",
        ("worker",),
        worker(lambda status: status.pause_seconds),
    ),
    Figure(
        "leakmw.overhead",
        "1",
        "leakmw_overhead_ratio",
        "Share of a worker's CPU time that leakmw takes, from 0 to 1.",
        ("worker",),
        tracer(lambda engine: engine.cost_ratio),
    ),
    Figure(
        "leakmw.overhead.budget",
        "1",
        "leakmw_overhead_budget_ratio",
        "Share of CPU time that taking samples may cost, as set, from 0 to 1.",
        (),
        budget,
    ),
    Figure(
        "leakmw.own_memory",
        "By",
        "leakmw_own_memory_bytes",
        "Memory that a worker's tracer itself holds, in bytes.",
        ("worker",),
        tracer(lambda engine: engine.own_bytes),
    ),
    Figure(
        "leakmw.memory.resident",
        "By",
        "leakmw_resident_memory_bytes",
        "Resident memory of a worker at its latest snapshot, in bytes.",
        ("worker",),
        meter(lambda memory: memory.rss_bytes),
    ),
    Figure(
        "leakmw.memory.limit",
        "By",
        "leakmw_memory_limit_bytes",
        "The memory limit that leaves a worker least room, in bytes.",
        ("worker",),
        meter(lambda memory: memory.limit_bytes),
    ),
    Figure(
        "leakmw.memory.room",
        "By",
        "leakmw_memory_room_bytes",
        "What was left below that limit at a worker's latest snapshot, in bytes.",
        ("worker",),
        meter(lambda memory: memory.room_bytes),
    ),
    Figure(
        "leakmw.memory.time_to_limit",
        "s",
        "leakmw_time_to_limit_seconds",
        "When a worker meets that limit at this pace, in seconds; absent while nothing grows.",
        ("worker",),
        meter(lambda memory: estimated(memory.seconds_to_limit)),
    ),
)
"""All of them, in the order in which they are sent."""
