"""What all workers of an app on a host know together.

Used by the background thread alone. What could not be written is written with the next snapshot.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from leakmw.records import WorkerStatus
from leakmw.store import profiles
from leakmw.store.cadence import Cadence, cadence
from leakmw.store.codec import decoded, encoded
from leakmw.store.failure import FullError, StoreError
from leakmw.store.profiles import Stacks
from leakmw.store.pruning import prune
from leakmw.store.remembering import count, remember, remembered, visits
from leakmw.store.view import View, is_alive, read

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from leakmw.records import Profile, Remembered, Report, Traceback, Worker
    from leakmw.store.database import Database

Outcome = TypeVar("Outcome")

UNITED = 64
"""Workers whose windows are looked at together, those alive first, then the latest."""

PRUNE_EVERY = 64
"""Of all snapshots one in so many, after which its worker looks for what is to be forgotten."""

UNITE_SECONDS = 1.0
"""The least time between two reports on all workers."""

UNITE_SHARE = 200.0
"""That time as a multiple of what such a report has taken: half a per cent of one core."""

MOST_UNITE_SECONDS = 10.0
"""The most, whatever it has taken: who lives for seconds must be heard of meanwhile."""


class Told(NamedTuple):
    """What a worker tells all others at a snapshot.

    Attributes:
        status: Of the worker.
        visits: Its visits since it started, by endpoint.
        seen: Its windows, packed; ``None`` before the first is over.
        report: Its own report.
        profile: Its live memory.
    """

    status: WorkerStatus
    visits: Mapping[str, int]
    seen: bytes | None
    report: Report
    profile: Profile


class _Standing(NamedTuple):
    """What a file knows of this worker.

    Attributes:
        identity: Of the file.
        me: The worker's id in it; 0 before it has one.
        visits: Told so far, by endpoint.
    """

    identity: str
    me: int
    visits: Mapping[str, int]


class SharedStore:
    """What this process tells the others, and what it learns from them.

    Args:
        database: The file.

        release: The version of the app: only workers of one are looked at together.

        lives: Says whether a process lives; ``None`` if it is on another host.

        describe: Fills functions into a traceback and shortens its files.

    Attributes:
        view: What was read last.
    """

    def __init__(
        self,
        database: Database,
        release: str,
        lives: Callable[[Worker], bool | None],
        describe: Callable[[Traceback], Traceback],
    ) -> None:
        self.view = View()
        self._database = database
        self._release = release
        self._lives = lives
        self._stacks = Stacks(describe)
        self._standing = _Standing("", 0, {})
        self._changes = ("", 0)
        self._company, self._told, self._read = "", 0, 0

    @property
    def me(self) -> int:
        """The id of this worker in the store; 0 before it has one."""
        return self._standing.me

    @property
    def file(self) -> Path:
        """Where the store lies."""
        return self._database.file

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def publish(self, told: Told) -> bool:
        """Tell the others of a snapshot.

        Returns:
            Whether it is this worker's turn to report on all of them.

        Raises:
            StoreError: If it cannot be told now.
        """
        try:
            with self._database.transaction() as connection:
                standing = self._registered(connection, told.status)
                standing = self._counted(connection, standing, told.visits)
                self._write(connection, standing.me, told)
                if (standing.me + told.status.snapshots) % PRUNE_EVERY == 0:
                    prune(connection)
                (told_now,) = connection.execute(
                    "UPDATE united SET told = told + 1 RETURNING told"
                ).fetchone()
                turn = self._has_turn(connection, standing.me)
        except StoreError as error:
            self._stacks.forget()  # what was rolled back is written anew
            if isinstance(error, FullError):
                self._make_room()
            raise
        self._standing, self._told = standing, told_now
        self._company = f"{told.report.engine.name} {self._release}"
        return turn

    def speak(
        self, status: WorkerStatus, visits: Mapping[str, int], *, ends: bool = False
    ) -> None:
        """Tell the others that this worker lives, or *ends*, and what was visited.

        Raises:
            StoreError: If it cannot be told now.
        """
        now = time.time()
        with self._database.transaction() as connection:
            standing = self._registered(connection, status)
            standing = self._counted(connection, standing, visits)
            connection.execute(
                "UPDATE worker SET seen_at = ?, visits = ?, status = ?, ended_at = ? WHERE id = ?",
                (now, status.visits, encoded(status), now if ends else None, standing.me),
            )
            self._reap(connection, standing.me)
        self._standing = standing

    def turn_in(self) -> float:
        """Return in how many seconds it may be this worker's turn to report on all of them.

        Infinitely many where another worker has, with all that this one had told when it read
        what there was of the :meth:`others`.

        Raises:
            StoreError: If that cannot be told now.
        """
        with self._database.reading() as connection:
            row: tuple[str, int, float] = connection.execute(
                "SELECT company, reported, next_at FROM united"
            ).fetchone()
        company, reported, next_at = row
        if company == self._company and reported >= self._told:
            return math.inf
        return min(max(0.0, next_at - time.time()), MOST_UNITE_SECONDS)

    def has_turn(self) -> bool:
        """Return whether it is this worker's turn to report on all of them.

        Raises:
            StoreError: If that cannot be told now.
        """
        with self._database.transaction() as connection:
            return self._has_turn(connection, self.me)

    def remembered(self) -> Mapping[str, Remembered]:
        """Return what is remembered of findings, by fingerprint.

        Raises:
            StoreError: If it cannot be read now.
        """
        with self._database.reading() as connection:
            return remembered(connection)

    def others(self, known: Mapping[int, int], engine: str) -> list[tuple[int, int, bytes | None]]:
        """Return what the other workers have seen.

        Args:
            known: The number of what this worker has read of each, by id.

            engine: Name of the tracer: only what the same one has seen can be put together.

        Returns:
            Id and number of each, and what it has seen where that is not *known*.

        Raises:
            StoreError: If it cannot be read now.
        """
        with self._database.reading() as connection:
            (self._read,) = connection.execute("SELECT told FROM united").fetchone()
            every = connection.execute(
                "SELECT id, seen_number FROM worker WHERE release = ? AND engine = ? AND id <> ? "
                "AND seen IS NOT NULL ORDER BY ended_at IS NOT NULL, seen_at DESC LIMIT ?",
                (self._release, engine, self.me, UNITED),
            ).fetchall()
            query = "SELECT seen FROM worker WHERE id = ?"
            return [
                (
                    worker,
                    number,
                    None
                    if known.get(worker) == number
                    else connection.execute(query, (worker,)).fetchone()[0],
                )
                for worker, number in every
            ]

    def unite(
        self,
        conclude: Callable[
            [Mapping[str, Remembered], Mapping[str, int], Mapping[str, int]],
            tuple[Mapping[str, Remembered], Report, Outcome],
        ],
        seconds: float,
    ) -> Outcome:
        """Change what is remembered of findings, and the report on all workers, in one step.

        Args:
            conclude: Gets what is remembered, the visits of each endpoint, and those of this
                version of the app; returns what is to be remembered, the report, and anything.

            seconds: What it took to look at all workers together, of CPU time.

        Raises:
            StoreError: If it cannot be written now: then nothing has changed.
        """
        started = time.thread_time() - seconds
        with self._database.transaction() as connection:
            known = remembered(connection)
            now, report, outcome = conclude(
                known, visits(connection), visits(connection, self._release)
            )
            remember(connection, known, now)
            united = encoded(report)
            pause = max(UNITE_SECONDS, UNITE_SHARE * (time.thread_time() - started))
            pause = min(pause, MOST_UNITE_SECONDS)
            connection.execute(
                "UPDATE united SET report = ?, next_at = ?, company = ?, reported = ?",
                (united, time.time() + pause, self._company, self._read),
            )
        self.view = self.view._replace(united=united)
        return outcome

    def look(self) -> bool:
        """Read what others have written; say whether there was anything.

        Raises:
            StoreError: If it cannot be read now.
        """
        changes = self._database.changes()
        if (self._database.identity, changes) == self._changes:
            return False
        self.refresh()
        self._changes = self._database.identity, changes
        return True

    def refresh(self) -> None:
        """Read what is known of all workers.

        Raises:
            StoreError: If it cannot be read now.
        """
        self.view = read(self._database)

    def cadence(self, most: int) -> Cadence:
        """Return after how many visits a snapshot tells most, at *most* that many.

        Raises:
            StoreError: If that cannot be told now.
        """
        with self._database.reading() as connection:
            return cadence(connection, self._release, most)

    def profiles(self) -> tuple[Profile, ...]:
        """Return the latest profile of each live worker.

        Raises:
            StoreError: If they cannot be read now.
        """
        self.refresh()
        with self._database.reading() as connection:
            living = {number: one.worker for number, one in self.view.living(self._lives)}
            return profiles.read(connection, dict(sorted(living.items())))

    def _registered(self, connection: sqlite3.Connection, status: WorkerStatus) -> _Standing:
        """Return what the open file knows of this worker; that it is there, at the least."""
        if self._standing.identity == self._database.identity:
            return self._standing
        self._stacks.forget()
        (me,) = connection.execute(
            "INSERT INTO worker (host, pid, release, seen_at, status) VALUES (?, ?, ?, ?, ?) "
            "RETURNING id",
            (status.worker.host, status.worker.pid, self._release, time.time(), encoded(status)),
        ).fetchone()
        return _Standing(self._database.identity, me, {})

    def _counted(
        self, connection: sqlite3.Connection, standing: _Standing, counts: Mapping[str, int]
    ) -> _Standing:
        """Add the visits since the last time."""
        told = standing.visits
        more = {
            name: visits - told.get(name, 0)
            for name, visits in counts.items()
            if visits > told.get(name, 0)
        }
        count(connection, self._release, more)
        return standing._replace(visits={**told, **{name: counts[name] for name in more}})

    def _write(self, connection: sqlite3.Connection, me: int, told: Told) -> None:
        status = told.status
        connection.execute(
            "UPDATE worker SET engine = ?, visits = ?, seen_at = ?, status = ?, report = ?, "
            "seen = ?, seen_number = ? WHERE id = ?",
            (
                told.report.engine.name,
                status.visits,
                time.time(),
                encoded(status),
                encoded(told.report),
                told.seen,
                status.snapshots,
                me,
            ),
        )
        self._stacks.put(connection, me, status.snapshots, told.profile)

    def _has_turn(self, connection: sqlite3.Connection, me: int) -> bool:
        now = time.time()
        changed = connection.execute(
            # a clock that was set back must not stop it for good
            "UPDATE united SET next_at = ? WHERE next_at <= ? OR next_at > ?",
            (now + UNITE_SECONDS, now, now + MOST_UNITE_SECONDS),
        )
        return changed.rowcount > 0 or not _has_company(connection, me)

    def _reap(self, connection: sqlite3.Connection, me: int) -> None:
        """Note the end of those before this worker that live no more, up to one that does.

        Each looks after the one before it, the first after the last: so all are looked after, and
        nobody looks at all.
        """
        rows = connection.execute(
            "SELECT id, status FROM worker WHERE ended_at IS NULL AND id <> ? "
            "ORDER BY id > ?, id DESC",
            (me, me),
        ).fetchall()
        ended = [
            (time.time(), worker)
            for worker, _ in takewhile(lambda row: not self._is_alive(row[1]), rows)
        ]
        connection.executemany("UPDATE worker SET ended_at = ? WHERE id = ?", ended)

    def _is_alive(self, status: str) -> bool:
        return is_alive(decoded(WorkerStatus, status), self._lives)

    def _make_room(self) -> None:
        with suppress(StoreError), self._database.transaction() as connection:
            prune(connection, hard=True)


def _has_company(connection: sqlite3.Connection, me: int) -> bool:
    """Return whether another worker lives, as far as is known without looking."""
    found = connection.execute(
        "SELECT 1 FROM worker WHERE ended_at IS NULL AND id <> ? LIMIT 1", (me,)
    )
    return found.fetchone() is not None
