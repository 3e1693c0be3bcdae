"""What is known of all workers, as it was read at one moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Report, Worker, WorkerStatus
from leakmw.store.codec import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STRANGE_SECONDS = 120.0
"""Silence after which a worker on another host, where nobody can look, counts as ended."""


class View(NamedTuple):
    """What is known of all workers, as it was read; any thread may read it.

    Attributes:
        rows: Id of each worker, its status, and when it ended.
        united: The report on all of them, if there is one.
    """

    rows: Sequence[tuple[int, str, float | None]] = ()
    united: str | None = None

    def report(self) -> Report | None:
        """Return the report on all workers."""
        return None if self.united is None else decoded(Report, self.united)

    def workers(self, lives: Callable[[Worker], bool | None]) -> tuple[WorkerStatus, ...]:
        """Return every worker, those alive first.

        Args:
            lives: Says whether a process lives; ``None`` if it is on another host.
        """
        known = [
            replace(status, alive=ended is None and is_alive(status, lives))
            for status, ended in (
                (decoded(WorkerStatus, text), ended) for _, text, ended in self.rows
            )
        ]
        return tuple(sorted(known, key=lambda one: (not one.alive, one.worker.started_at)))

    def living(self, lives: Callable[[Worker], bool | None]) -> list[tuple[int, Worker]]:
        """Return the id and the process of each worker that lives."""
        known = [
            (number, decoded(WorkerStatus, text)) for number, text, end in self.rows if not end
        ]
        return [(number, one.worker) for number, one in known if is_alive(one, lives)]


def is_alive(status: WorkerStatus, lives: Callable[[Worker], bool | None]) -> bool:
    """Say whether a worker that has not said its end lives."""
    found = lives(status.worker)
    if found is None:
        return (datetime.now(UTC) - status.seen_at).total_seconds() < STRANGE_SECONDS
    return found
