"""What was said of findings, and how often their endpoints have been visited."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from leakmw.records import Remembered
from leakmw.store.codec import decoded, encoded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

EVERY_RELEASE = ""
"""Stands for all versions of the app."""


def remembered(connection: sqlite3.Connection) -> dict[str, Remembered]:
    """Return what was said, by fingerprint; longest unseen first."""
    return dict(_remembered(connection))


def _remembered(connection: sqlite3.Connection) -> Iterator[tuple[str, Remembered]]:
    rows = connection.execute("SELECT fingerprint, known FROM finding ORDER BY place")
    for fingerprint, text in rows.fetchall():
        with suppress(ValueError):  # another version's: it is said anew
            yield fingerprint, decoded(Remembered, text)


def remember(
    connection: sqlite3.Connection,
    before: Mapping[str, Remembered],
    now: Mapping[str, Remembered],
) -> None:
    """Have what is remembered *now*, instead of what was *before*."""
    gone = [(fingerprint,) for fingerprint in before.keys() - now.keys()]
    connection.executemany("DELETE FROM finding WHERE fingerprint = ?", gone)
    connection.executemany(
        "INSERT OR REPLACE INTO finding (fingerprint, place, known) VALUES (?, ?, ?)",
        [
            (fingerprint, place, encoded(known))
            for place, (fingerprint, known) in enumerate(now.items())
            if before.get(fingerprint) != known
        ],
    )


def count(connection: sqlite3.Connection, release: str, more: Mapping[str, int]) -> None:
    """Add visits of endpoints, of a version of the app and of all."""
    connection.executemany(
        "INSERT INTO visits (endpoint, release, visits) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET visits = visits + excluded.visits",
        [(name, one, visits) for name, visits in more.items() for one in (EVERY_RELEASE, release)],
    )


def visits(connection: sqlite3.Connection, release: str = EVERY_RELEASE) -> dict[str, int]:
    """Return the visits of each endpoint."""
    query = "SELECT endpoint, visits FROM visits WHERE release = ?"
    return dict(connection.execute(query, (release,)).fetchall())
