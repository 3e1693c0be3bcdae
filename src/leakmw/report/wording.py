"""The sentences that the text and the Markdown report share."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from leakmw.records import BACKGROUND, Verdict
from leakmw.report import humane

if TYPE_CHECKING:
    from leakmw.records import (
        Engine,
        Finding,
        Growth,
        Holder,
        Memory,
        Report,
        Traceback,
        Window,
        WorkerStatus,
    )

Labelled = tuple[tuple[str, str], ...]
"""Sentences, each with the one word that stands before it."""

MEANINGS = {
    Verdict.LEAK: "grows with its requests, and nothing bounds it",
    Verdict.SUSPECT: "grows, and the evidence is too thin to say more",
    Verdict.BOUNDED: "still grows and will stop: what holds it has a cap",
    Verdict.SETTLED: "grew and stopped: warm-up, a full cache, a plateau",
    Verdict.FRAGMENTATION: "memory that the process holds and nothing uses",
}

_KINDS = {"cgroup": "the container's", "address-space": "RLIMIT_AS", "host": "the host's memory"}

_STOPPED = {Verdict.SETTLED, Verdict.FRAGMENTATION}

_NEAREST = 5
"""Frames shown of a traceback: further out is the server's own way in."""


def title(report: Report) -> str:
    """Return the name of the app and its version, as far as they were given."""
    return " ".join(filter(None, [report.service or "this app", report.version]))


def facts(report: Report) -> Labelled:
    """Return who was looked at, how, when, and what that cost."""
    worker, engine = report.worker, report.engine
    cpu, memory = humane.share(engine.cost_ratio), humane.size(engine.own_bytes)
    told = f"{worker.host}, pid {worker.pid}, up since {humane.moment(worker.started_at)}"
    several = f"{report.workers} together, as told by {worker.host}, pid {worker.pid}"
    return (
        ("workers", several) if report.workers > 1 else ("worker", told),
        ("window", f"{_span(report.window)}, until {humane.moment(report.window.end)}"),
        ("memory", _memory(report.memory)),
        ("limit", _limit(report.memory)),
        ("engine", _engine(engine)),
        ("cost", f"leakmw takes {cpu} of the CPU time and {memory} of memory"),
    )


def summary(report: Report) -> str:
    """Return what was found, or that nothing was and how far that can be trusted."""
    if report.findings:
        found = Counter(finding.verdict for finding in report.findings)
        counts = [f"{found[verdict]} {verdict}" for verdict in Verdict if found[verdict]]
        return f"Found: {', '.join(counts)}."
    if not report.window.visits:
        return "No request was served in this window, so nothing can be said yet."
    span = _span(report.window)
    if any(map(_grew, report.endpoints)):
        return (
            f"No site grew steadily over {span}, so no leak is suspected."
            " What grew unsteadily is in the table of endpoints."
        )
    named = sum(growth.endpoint != BACKGROUND for growth in report.endpoints)
    return f"Nothing grew over {span}. The memory of {humane.count(named, 'endpoint')} is flat."


def rate(growth: Growth) -> str:
    """Return the growth per request: ``1.1 KiB/request``."""
    if growth.bytes_per_request is None:
        return humane.UNKNOWN
    return f"{humane.size(growth.bytes_per_request.estimate)}/request"


def interval(growth: Growth) -> str:
    """Return the 95 % interval of the growth per request: ``0.98 KiB to 1.2 KiB``."""
    estimate = growth.bytes_per_request
    if estimate is None or estimate.low is None or estimate.high is None:
        return humane.UNKNOWN
    return f"{humane.size(estimate.low)} to {humane.size(estimate.high)}"


def pace(finding: Finding) -> str:
    """Return the growth per request and per hour; the whole of it where it has stopped."""
    if finding.verdict in _STOPPED:
        return humane.size(finding.growth.bytes)
    hourly = f"{humane.size(finding.bytes_per_second * 3600)}/hour"
    if finding.growth.bytes_per_request is None:
        return hourly
    return f"{rate(finding.growth)}, {hourly}"


def grown(growth: Growth) -> str:
    """Return by how much, in how many requests, and how sure that is."""
    said = humane.size(growth.bytes)
    if growth.blocks is not None:
        said += f" in {humane.count(growth.blocks, 'block')}"
    if growth.visits:
        said += f" over {humane.count(growth.visits, 'request')}"
    if growth.bytes_per_request is not None and growth.bytes_per_request.low is not None:
        said += f"; per request {interval(growth)} (95 % interval)"
    return said


def details(finding: Finding) -> Labelled:
    """Return what is known of the cause; what was not looked for is left out."""
    types = sorted((finding.types or {}).items(), key=lambda item: item[1], reverse=True)
    said = (
        ("held by", _holder(finding.holder) if finding.holder else ""),
        ("made of", ", ".join(f"{humane.share(ratio)} {name}" for name, ratio in types)),
        ("cause", finding.cause or ""),
        ("advice", finding.advice or ""),
        ("sure", humane.share(finding.confidence) if finding.confidence is not None else ""),
    )
    return tuple((label, sentence) for label, sentence in said if sentence)


def meanings(report: Report) -> list[str]:
    """Return what each verdict of this report means."""
    found = {finding.verdict for finding in report.findings}
    return [f"{verdict}: {said}" for verdict, said in MEANINGS.items() if verdict in found]


def seen(status: WorkerStatus) -> str:
    """Return whether a worker runs, and else when it last spoke."""
    return "alive" if status.alive else f"gone since {humane.moment(status.seen_at)}"


def nearest(growth: Growth) -> Traceback:
    """Return the frames that lead to the site, outermost first, the site last."""
    frames = growth.traceback
    if growth.site is not None and growth.site in frames:
        frames = frames[: len(frames) - frames[::-1].index(growth.site)]
    return frames[-_NEAREST:]


def _grew(growth: Growth) -> bool:
    estimate = growth.bytes_per_request
    return growth.bytes > 0 and (estimate is None or estimate.low is None or estimate.low > 0)


def _span(window: Window) -> str:
    return f"{humane.count(window.visits, 'request')} in {humane.duration(window.seconds)}"


def _memory(memory: Memory) -> str:
    meters = {
        "RSS": memory.rss_bytes,
        "Python heap": memory.python_bytes,
        "C heap in use": memory.native_bytes,
        "C heap free": memory.free_bytes,
    }
    if memory.python_free_bytes is not None:
        meters["Python heap free"] = memory.python_free_bytes
    if memory.uss_bytes is not None:  # it is read the more seldom the longer it takes
        meters["of its own"] = memory.uss_bytes
    read = ", ".join(
        f"{name} {humane.size(size)}" for name, size in meters.items() if size is not None
    )
    unread = ", ".join(name for name, size in meters.items() if size is None)
    return "; ".join(filter(None, [read, f"{humane.UNKNOWN}: {unread}" if unread else ""]))


def _limit(memory: Memory) -> str:
    if memory.limit_bytes is None:
        return "none known"
    limit = humane.size(memory.limit_bytes)
    if memory.limit_kind is not None:
        limit += f" ({_KINDS.get(memory.limit_kind, memory.limit_kind)})"
    left = memory.seconds_to_limit
    if left is None:
        return limit
    said = f"{limit}, reached in {humane.duration(left.estimate)}"
    if left.low is not None and left.high is not None:
        said += f" ({humane.duration(left.low)} to {humane.duration(left.high)})"
    return f"{said} at this pace"


def _engine(engine: Engine) -> str:
    frames = humane.count(engine.frames, "frame")
    if engine.sample_bytes is None:
        return f"{engine.name}, every block counted, tracebacks of at most {frames}"
    alive = "" if engine.live_samples is None else f", {engine.live_samples:,} alive"
    interval = humane.size(engine.sample_bytes)
    return f"{engine.name}, one sample in {interval}{alive}, tracebacks of at most {frames}"


def _holder(holder: Holder) -> str:
    parts = [holder.path, holder.kind]
    if holder.length is not None:
        parts.append(f"length {holder.length:,}")
    if holder.grows_per_request is not None:
        parts.append(f"{holder.grows_per_request:+.3g} per request")
    if holder.cap is not None:
        parts.append(f"cap {holder.cap:,}")
    return ", ".join(parts)
