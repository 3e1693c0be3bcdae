"""The rows of snapshots, with each traceback written once for all workers."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from leakmw.records import Frame, Live, Profile, Traceback, Worker

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping

ROWS = 512
"""Rows of a snapshot that are kept, those with most bytes."""

STACKS = 8192
"""Tracebacks that are kept for all workers; past it those go that no kept snapshot has."""


class Stacks:
    """The tracebacks that this process has written to the store, by their ids there.

    Args:
        describe: Fills functions into a traceback and shortens its files: done once for each.
    """

    def __init__(self, describe: Callable[[Traceback], Traceback]) -> None:
        self._describe = describe
        self._ids: dict[Traceback, int] = {}
        self._epoch = -1

    def forget(self) -> None:
        """Know nothing any more of what was written."""
        self._ids.clear()

    def put(self, connection: sqlite3.Connection, worker: int, number: int, one: Profile) -> None:
        """Write a profile.

        Args:
            connection: In a transaction.

            worker: Whose it is, by its id in the store.

            number: Of the snapshot.

            one: The profile.
        """
        self._keep_up(connection)
        rows = [
            (row.endpoint, self._id(connection, row.traceback), row.bytes, row.blocks)
            for row in one.rows[:ROWS]
        ]
        content = json.dumps(
            {"taken_at": one.taken_at.isoformat(), "sample_bytes": one.sample_bytes, "rows": rows},
            separators=(",", ":"),
        )
        connection.execute(
            "INSERT OR REPLACE INTO snapshot (id, worker, number, profile) VALUES (?, ?, ?, ?)",
            (one.snapshot, worker, number, content),
        )

    def _keep_up(self, connection: sqlite3.Connection) -> None:
        """Forget all ids if somebody has thrown tracebacks away meanwhile."""
        epoch = connection.execute("SELECT epoch FROM united").fetchone()[0]
        if epoch != self._epoch or len(self._ids) > STACKS:
            self.forget()
            self._epoch = epoch

    def _id(self, connection: sqlite3.Connection, traceback: Traceback) -> int:
        known = self._ids.get(traceback)
        if known is None:
            frames = json.dumps(self._describe(traceback), separators=(",", ":"))
            (known,) = connection.execute(
                "INSERT INTO stack (frames) VALUES (?) "
                "ON CONFLICT (frames) DO UPDATE SET frames = frames RETURNING id",
                (frames,),
            ).fetchone()
            self._ids[traceback] = known
        return known


def read(connection: sqlite3.Connection, workers: Mapping[int, Worker]) -> tuple[Profile, ...]:
    """Return the latest profile of each of *workers*, by their ids in the store."""
    found = []
    for number, worker in workers.items():
        row = connection.execute(
            "SELECT id, profile FROM snapshot WHERE worker = ? ORDER BY number DESC LIMIT 1",
            (number,),
        ).fetchone()
        if row is not None:
            found.append(_profile(connection, worker, *row))
    return tuple(found)


def _profile(connection: sqlite3.Connection, worker: Worker, name: str, content: str) -> Profile:
    known = json.loads(content)
    stacks = dict(_stacks(connection, {stack for _, stack, _, _ in known["rows"]}))
    return Profile(
        worker=worker,
        snapshot=name,
        taken_at=datetime.fromisoformat(known["taken_at"]),
        sample_bytes=known["sample_bytes"],
        rows=tuple(
            Live(endpoint, stacks[stack], size, blocks)
            for endpoint, stack, size, blocks in known["rows"]
            if stack in stacks
        ),
    )


def _stacks(
    connection: sqlite3.Connection, wanted: Iterable[int]
) -> Iterator[tuple[int, Traceback]]:
    for stack in wanted:
        row = connection.execute("SELECT frames FROM stack WHERE id = ?", (stack,)).fetchone()
        if row is not None:
            yield stack, tuple(Frame(*frame) for frame in json.loads(row[0]))


def prune(connection: sqlite3.Connection) -> None:
    """Throw away tracebacks that no snapshot has, if there are too many; in a transaction."""
    (count,) = connection.execute("SELECT count(*) FROM stack").fetchone()
    if count <= STACKS:
        return
    used = {
        row[1]
        for (content,) in connection.execute("SELECT profile FROM snapshot")
        for row in json.loads(content)["rows"]
    }
    every = {stack for (stack,) in connection.execute("SELECT id FROM stack")}
    connection.executemany("DELETE FROM stack WHERE id = ?", [(one,) for one in every - used])
    connection.execute("UPDATE united SET epoch = epoch + 1")
