"""What is known of all workers, as it was read at one moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Report, Worker, WorkerStatus
from leakmw.store.codec import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakmw.store.database import Database

LISTED = 64
"""Workers that are listed."""

STRANGE_SECONDS = 240.0
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

    def named(self, name: str) -> list[int]:
        """Return the ids of the workers that *name* stands for, the latest first."""
        known = [(number, decoded(WorkerStatus, text).worker) for number, text, _ in self.rows]
        return [number for number, worker in known if worker.is_called(name)]

    def living(self, lives: Callable[[Worker], bool | None]) -> list[tuple[int, WorkerStatus]]:
        """Return the id and the status of each worker that lives."""
        known = [
            (number, decoded(WorkerStatus, text)) for number, text, end in self.rows if not end
        ]
        return [(number, one) for number, one in known if is_alive(one, lives)]


def read(database: Database) -> View:
    """Return what is known of all workers.

    Raises:
        StoreError: If it cannot be read now.
    """
    with database.reading() as connection:
        rows = connection.execute(
            "SELECT id, status, ended_at FROM worker "
            "ORDER BY ended_at IS NOT NULL, seen_at DESC LIMIT ?",
            (LISTED,),
        ).fetchall()
        (united,) = connection.execute("SELECT report FROM united").fetchone()
    return View(rows, united)


def last_words(database: Database, worker: int) -> Report | None:
    """Return the latest report on one worker alone, by its id.

    Raises:
        StoreError: If it cannot be read now.
    """
    with database.reading() as connection:
        found = connection.execute("SELECT report FROM worker WHERE id = ?", (worker,)).fetchone()
    return decoded(Report, found[0]) if found and found[0] else None


def is_alive(status: WorkerStatus, lives: Callable[[Worker], bool | None]) -> bool:
    """Say whether a worker that has not said its end lives."""
    found = lives(status.worker)
    if found is None:
        return (datetime.now(UTC) - status.seen_at).total_seconds() < STRANGE_SECONDS
    return found
