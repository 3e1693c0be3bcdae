"""How often a worker takes a snapshot, seen how long it will live and who else does."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

MANY = 4
"""Workers from which on each takes its snapshots twice as often: their windows add up."""

WINDOWS_PER_LIFE = 6
"""Windows that a worker's life is to have."""

LEAST_WINDOW = 50
"""Visits of a window below which it tells little."""

LIVES = 5
"""Workers that have ended by which it is told how long one lives."""

LEAST_LIFE = 100
"""Visits that a life must have had to count."""


class Cadence(NamedTuple):
    """When snapshots are taken.

    Attributes:
        every: Visits after which one tells most.
        workers: Those alive of this version, which take them side by side.
    """

    every: int
    workers: int


def cadence(connection: sqlite3.Connection, release: str, most: int) -> Cadence:
    """Return after how many visits a snapshot tells most, and who else takes some.

    Where workers are ended after some thousand requests it must be few, and where many add their
    windows it may be.

    Args:
        connection: To the store.

        release: The version of the app.

        most: What was asked for.
    """
    lives = [
        visits
        for (visits,) in connection.execute(
            "SELECT visits FROM worker WHERE ended_at IS NOT NULL AND visits >= ? "
            "ORDER BY ended_at DESC LIMIT ?",
            (LEAST_LIFE, LIVES),
        )
    ]
    (alive,) = connection.execute(
        "SELECT count(*) FROM worker WHERE ended_at IS NULL AND release = ?", (release,)
    ).fetchone()
    shorter = most // 2 if alive >= MANY else most
    if len(lives) == LIVES:
        shorter = min(shorter, int(median(lives)) // WINDOWS_PER_LIFE)
    return Cadence(max(1, min(most, max(LEAST_WINDOW, shorter))), max(1, alive))
