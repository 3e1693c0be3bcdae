"""What the store forgets, and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from leakmw.store import profiles

if TYPE_CHECKING:
    import sqlite3

ENDED = 256
"""Workers that have ended which are remembered, the latest ones."""

ENDED_SEEN = 64
"""Those of them whose windows still count."""

SNAPSHOTS = 8
"""Snapshots of a worker whose rows are kept."""

RELEASES = 4
"""Versions of the app whose visits are told apart."""

COMMAND_SECONDS = 600.0
"""How long a command and its answer are kept."""


def prune(connection: sqlite3.Connection, *, hard: bool = False) -> None:
    """Forget what is past the caps.

    Args:
        connection: In a transaction.

        hard: Whether the file is full: then of what has ended nothing is kept.
    """
    ended, seen = (0, 0) if hard else (ENDED, ENDED_SEEN)
    connection.execute(
        "DELETE FROM worker WHERE ended_at IS NOT NULL AND id NOT IN "
        "(SELECT id FROM worker WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?)",
        (ended,),
    )
    connection.execute(
        "UPDATE worker SET seen = NULL, report = NULL WHERE seen IS NOT NULL "
        "AND ended_at IS NOT NULL AND id NOT IN "
        "(SELECT id FROM worker WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?)",
        (seen,),
    )
    connection.execute(
        "DELETE FROM snapshot WHERE worker IN (SELECT id FROM worker WHERE ended_at IS NOT NULL) "
        "OR number <= (SELECT max(number) FROM snapshot AS later "
        "WHERE later.worker = snapshot.worker) - ?",
        (SNAPSHOTS,),
    )
    connection.execute(
        "DELETE FROM visits WHERE release <> '' AND release NOT IN "
        "(SELECT release FROM worker GROUP BY release ORDER BY max(seen_at) DESC LIMIT ?)",
        (RELEASES,),
    )
    connection.execute("DELETE FROM command WHERE asked_at < ?", (time.time() - COMMAND_SECONDS,))
    profiles.prune(connection)
