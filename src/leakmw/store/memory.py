"""The history of this worker, in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakmw.records import Report, Snapshot

MAX_SNAPSHOTS = 16
"""Snapshots kept. Rows that did not change are shared, so one costs what changed."""


class MemoryStore:
    """Keeps the first snapshot, the latest ones, and the latest report.

    Attributes:
        snapshots: Oldest first.
        report: The latest, or ``None``.
    """

    def __init__(self) -> None:
        self.snapshots: tuple[Snapshot, ...] = ()
        self.report: Report | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Keep *snapshot*, without what was made of its rows."""
        lean = replace(snapshot, trace=snapshot.trace._replace(digest=None))
        self.snapshots = self.joined(lean)

    def joined(self, snapshot: Snapshot) -> tuple[Snapshot, ...]:
        """Return what would be kept with *snapshot*.

        Past the cap the second oldest goes: growth keeps its origin.
        """
        kept = tuple(
            one for one in self.snapshots if one.trace.grouping == snapshot.trace.grouping
        )
        if len(kept) >= MAX_SNAPSHOTS:
            kept = (kept[0], *kept[2:])
        return (*kept, snapshot)
