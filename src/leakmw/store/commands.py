"""Requests that one process leaves in the store for a worker to answer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from leakmw.records import Reply, Request
from leakmw.store.bell import Bell

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from leakmw.store.bell import Sound
    from leakmw.store.database import Database

ANSWER_BYTES = 4 << 20
"""Bytes of an answer that are kept."""

STALE_SECONDS = 60.0
"""After which nobody waits for an answer any more, and none is given."""


class Commands:
    """Asks and answers through the store.

    Args:
        database: The file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bell = Bell(database.file)
        self._heard: Sound | object = object()  # unlike any sound: it looks once

    def leave(self, workers: Sequence[int], request: Request) -> list[int]:
        """Leave *request* for each of *workers*, by their ids; return the ids of the commands.

        Raises:
            StoreError: If it cannot be left now.
        """
        with self._database.transaction() as connection:
            left = [
                connection.execute(
                    "INSERT INTO command (worker, asked_at, request) VALUES (?, ?, ?) "
                    "RETURNING id",
                    (worker, time.time(), json.dumps(request)),
                ).fetchone()[0]
                for worker in workers
            ]
        with self._database.told():
            self._bell.ring()
        return left

    def replies(self, commands: Sequence[int]) -> dict[int, Reply]:
        """Return the answers that are there, by command.

        Raises:
            StoreError: If they cannot be read now.
        """
        with self._database.reading() as connection:
            return {
                command: Reply(*found)
                for command in commands
                if (
                    found := connection.execute(
                        "SELECT status, answer FROM command WHERE id = ? AND status IS NOT NULL",
                        (command,),
                    ).fetchone()
                )
            }

    def take(self, worker: int) -> list[tuple[int, Request]]:
        """Take what was left for *worker*, each once.

        Raises:
            StoreError: If it cannot be taken now.
        """
        sound = self._bell.sound()
        if sound == self._heard:
            return []
        taken = self._taken(worker)
        self._heard = sound
        return taken

    def _taken(self, worker: int) -> list[tuple[int, Request]]:
        with self._database.reading() as connection:
            if not _waiting(connection, worker):
                return []
        with self._database.transaction() as connection:
            taken = list(_read(_waiting(connection, worker)))
            connection.execute(
                "UPDATE command SET taken_at = ? WHERE worker = ? AND taken_at IS NULL",
                (time.time(), worker),
            )
        return taken

    def answer(self, command: int, reply: Reply) -> None:
        """Leave the answer to *command*.

        Raises:
            StoreError: If it cannot be left now.
        """
        if len(reply.body) > ANSWER_BYTES:
            reply = Reply.refusal(507, "too_large", "The answer is too large for the store.")
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE command SET status = ?, answer = ? WHERE id = ?", (*reply, command)
            )


def _waiting(connection: sqlite3.Connection, worker: int) -> list[tuple[int, str]]:
    rows: list[tuple[int, str]] = connection.execute(
        "SELECT id, request FROM command "
        "WHERE worker = ? AND taken_at IS NULL AND asked_at > ? ORDER BY id",
        (worker, time.time() - STALE_SECONDS),
    ).fetchall()
    return rows


def _read(rows: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Request]]:
    for command, text in rows:
        yield command, Request(*json.loads(text))
