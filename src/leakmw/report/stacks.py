"""Memory by traceback: that of all workers together, or what came between two snapshots."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Frame, Live
from leakmw.report.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from leakmw.records import Diff, Profile, Traceback

MAX_STACKS = 8192
"""Tracebacks of one profile; those with fewest bytes are left out."""

_NOWHERE = (Frame("<unknown>", 0, "(unknown)"),)


class Stacks(NamedTuple):
    """Memory by traceback.

    Attributes:
        rows: Most bytes first; each has a traceback.
        taken_at: When the latest of it was seen, aware UTC.
        seconds: Over which it has grown; ``None`` for what is alive.
        sample_bytes: Mean bytes between two samples; ``None`` where every block was counted.
        workers: Processes that it is of.
        left_out: Tracebacks that are not there.
    """

    rows: tuple[Live, ...]
    taken_at: datetime
    seconds: float | None
    sample_bytes: int | None
    workers: int
    left_out: int


def alive(profiles: Sequence[Profile]) -> Stacks:
    """Return what is alive in all workers together.

    Args:
        profiles: At least one.
    """
    intervals = [one.sample_bytes for one in profiles if one.sample_bytes is not None]
    rows = _merged(row for profile in profiles for row in profile.rows)
    return Stacks(
        rows=rows[:MAX_STACKS],
        taken_at=max(profile.taken_at for profile in profiles),
        seconds=None,
        sample_bytes=sum(intervals) // len(intervals) if intervals else None,
        workers=len({profile.worker for profile in profiles}),
        left_out=len(rows[MAX_STACKS:]),
    )


def grown(diff: Diff) -> Stacks:
    """Return what has grown between two snapshots; what has shrunk is not in it."""
    rows = _merged(
        Live(growth.endpoint, growth.traceback, growth.bytes, max(0, growth.blocks or 0))
        for growth in diff.sites
        if growth.bytes > 0
    )
    return Stacks(
        rows=rows[:MAX_STACKS],
        taken_at=diff.newer.taken_at,
        seconds=(diff.newer.taken_at - diff.older.taken_at).total_seconds(),
        sample_bytes=diff.newer.engine.sample_bytes,
        workers=1,
        left_out=len(rows[MAX_STACKS:]),
    )


def name(frame: Frame) -> str:
    """Return the function of *frame*, or its place where the function is not known."""
    return printable(frame.function or f"{frame.file}:{frame.line}")


def _merged(rows: Iterable[Live]) -> tuple[Live, ...]:
    sums: dict[tuple[str | None, Traceback], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        total = sums[row.endpoint, row.traceback or _NOWHERE]
        total[0] += row.bytes
        total[1] += row.blocks
    merged = (Live(*key, *total) for key, total in sums.items())
    return tuple(sorted(merged, key=lambda row: -row.bytes))
