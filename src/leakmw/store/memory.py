"""The history of this worker, in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from leakmw.records import MAX_SNAPSHOTS

if TYPE_CHECKING:
    from leakmw.records import Report, Snapshot

LATEST = 8
"""How many of them are the latest in a row; the others lie evenly over all the time before."""


class MemoryStore:
    """Keeps the first snapshot, the latest ones, some between, and the latest report.

    Attributes:
        snapshots: Oldest first.
        report: The latest report on all workers that this one has made, or ``None``.
        own: The latest report on this worker alone, or ``None``.
    """

    def __init__(self) -> None:
        self.snapshots: tuple[Snapshot, ...] = ()
        self.report: Report | None = None
        self.own: Report | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Keep *snapshot*, without what was made of its rows."""
        lean = replace(snapshot, trace=snapshot.trace._replace(digest=None))
        self.snapshots = self.joined(lean)

    def joined(self, snapshot: Snapshot) -> tuple[Snapshot, ...]:
        """Return what would be kept with *snapshot*.

        Past the cap the one goes that leaves the smallest gap before the latest ones: growth keeps
        its origin, and what is slow is seen over all the time.
        """
        kept = [one for one in self.snapshots if one.trace.grouping == snapshot.trace.grouping]
        if len(kept) >= MAX_SNAPSHOTS:
            gaps = [kept[i + 1].visits - kept[i - 1].visits for i in range(1, len(kept) - LATEST)]
            del kept[1 + gaps.index(min(gaps))]
        return (*kept, snapshot)
