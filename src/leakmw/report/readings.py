"""Reads figures from records, for engines outside.

Whatever the workers and their code are called, there is a cap on how many readings a figure has.
What is not known is not among them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import OTHER, Estimate, Live, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from leakmw.records import Engine, Finding, Memory, Profile, Report, WorkerStatus

MAX_ENDPOINTS = 200
"""Endpoints told apart: those with most bytes; what the others retain is one more."""

MAX_LEAKS = 20
"""Leaks and suspects that are named: the worst of them."""

MAX_WORKERS = 64
"""Workers told apart: those that spoke last."""


class Seen(NamedTuple):
    """What the figures are read from.

    Attributes:
        workers: Every worker that is known.
        profiles: The latest profile of each live one.
        report: The latest report; ``None`` before the first.
        overhead: Share of CPU time that taking samples may cost.
    """

    workers: Sequence[WorkerStatus]
    profiles: Sequence[Profile]
    report: Report | None
    overhead: float

    @property
    def alive(self) -> list[WorkerStatus]:
        """The live workers that are told apart."""
        living = [status for status in self.workers if status.alive]
        return sorted(living, key=lambda status: status.seen_at, reverse=True)[:MAX_WORKERS]


def condensed(profile: Profile) -> Profile:
    """Return *profile* without its tracebacks: the figures are by endpoint."""
    held: dict[str | None, list[int]] = {}
    for row in profile.rows:
        total = held.setdefault(row.endpoint, [0, 0])
        total[0] += row.bytes
        total[1] += row.blocks
    return replace(profile, rows=tuple(Live(name, (), *total) for name, total in held.items()))


class Reading(NamedTuple):
    """One value of a figure.

    Attributes:
        value: In the figure's unit.
        of: What it is of, by the names that the figure is told apart by.
    """

    value: float
    of: Mapping[str, str]


def workers(seen: Seen) -> Iterator[Reading]:
    """Count the live workers; before its first visit a worker knows of none, nor of itself."""
    if seen.workers:
        yield Reading(sum(status.alive for status in seen.workers), {})


def budget(seen: Seen) -> Iterator[Reading]:
    """Read the share of CPU time that taking samples may cost."""
    yield Reading(seen.overhead, {})


def findings(seen: Seen) -> Iterator[Reading]:
    """Count the findings by verdict."""
    if seen.report is not None:
        found = Counter(finding.verdict for finding in seen.report.findings)
        for verdict in Verdict:
            yield Reading(found[verdict], {"verdict": verdict.value})


def _growing(seen: Seen) -> list[Finding]:
    if seen.report is None:
        return []
    return [finding for finding in seen.report.findings if finding.grows][:MAX_LEAKS]


def named(verdict: Verdict) -> Callable[[Seen], Iterator[Reading]]:
    """Read 1 for each finding with *verdict*, with what it is."""

    def read(seen: Seen) -> Iterator[Reading]:
        for finding in _growing(seen):
            if finding.verdict is verdict:
                yield Reading(1, _whose(finding))

    return read


def _whose(finding: Finding) -> dict[str, str]:
    site = finding.growth.site
    return {
        "fingerprint": finding.fingerprint,
        "endpoint": finding.growth.endpoint,
        "site": f"{site.file}:{site.line}" if site else "",
        "cause": finding.cause or "",
    }


def leak(value: Callable[[Finding], float | None]) -> Callable[[Seen], Iterator[Reading]]:
    """Read a figure of each leak and suspect."""

    def read(seen: Seen) -> Iterator[Reading]:
        for finding in _growing(seen):
            figure = value(finding)
            if figure is not None:
                yield Reading(figure, {"fingerprint": finding.fingerprint})

    return read


def estimated(figure: Estimate | None) -> float | None:
    """Return a figure without its interval."""
    return None if figure is None else figure.estimate


def retained(seen: Seen) -> Iterator[Reading]:
    """Read what is alive of each endpoint, all workers together."""
    held: Counter[str] = Counter()
    for profile in seen.profiles:
        for row in profile.rows:
            if row.endpoint is not None:
                held[row.endpoint] += row.bytes
    for endpoint, _ in held.most_common()[MAX_ENDPOINTS:]:
        size = held.pop(endpoint)
        held[OTHER] += size
    for endpoint, size in held.items():
        yield Reading(size, {"endpoint": endpoint})


def growth(seen: Seen) -> Iterator[Reading]:
    """Read the growth per request of each endpoint."""
    for grown in (seen.report.endpoints if seen.report else ())[:MAX_ENDPOINTS]:
        rate = estimated(grown.bytes_per_request)
        if rate is not None:
            yield Reading(rate, {"endpoint": grown.endpoint})


def traced(seen: Seen) -> Iterator[Reading]:
    """Read what is alive in each worker."""
    for profile in seen.profiles[:MAX_WORKERS]:
        yield Reading(sum(row.bytes for row in profile.rows), _pid(profile))


def taken_at(seen: Seen) -> Iterator[Reading]:
    """Read when each worker took its latest snapshot, in seconds since 1970."""
    for profile in seen.profiles[:MAX_WORKERS]:
        yield Reading(profile.taken_at.timestamp(), _pid(profile))


def worker(value: Callable[[WorkerStatus], float | None]) -> Callable[[Seen], Iterator[Reading]]:
    """Read a figure of each live worker."""

    def read(seen: Seen) -> Iterator[Reading]:
        for status in seen.alive:
            figure = value(status)
            if figure is not None:
                yield Reading(figure, _pid(status))

    return read


def meter(value: Callable[[Memory], float | None]) -> Callable[[Seen], Iterator[Reading]]:
    """Read a meter of each live worker."""
    return worker(lambda status: None if status.memory is None else value(status.memory))


def tracer(value: Callable[[Engine], float | None]) -> Callable[[Seen], Iterator[Reading]]:
    """Read a figure of each live worker's tracer."""
    return worker(lambda status: None if status.engine is None else value(status.engine))


def _pid(of: WorkerStatus | Profile) -> dict[str, str]:
    return {"worker": str(of.worker.pid)}
