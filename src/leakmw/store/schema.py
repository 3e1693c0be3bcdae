"""The tables of the store, and how an older store becomes a newer one.

A step only ever adds: a worker of an older version goes on with a store that a newer one has
changed, as happens in the middle of a deploy. It names the columns that it writes and reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw.store.failure import StoreError

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x1EA4_4057
"""Stands in the file's header: what it is, for ``file`` and for us."""

MOST_BYTES = 64 << 20
"""The file never grows past it."""

PAGE_BYTES = 4096

STEPS = (
    """
    CREATE TABLE worker (
        id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, pid INTEGER NOT NULL,
        release TEXT NOT NULL, engine TEXT, visits INTEGER NOT NULL DEFAULT 0,
        seen_at REAL NOT NULL, ended_at REAL, status TEXT NOT NULL, report TEXT,
        seen BLOB, seen_number INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE snapshot (
        id TEXT PRIMARY KEY, worker INTEGER NOT NULL REFERENCES worker ON DELETE CASCADE,
        number INTEGER NOT NULL, profile TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX snapshot_of ON snapshot (worker, number);
    CREATE TABLE stack (id INTEGER PRIMARY KEY AUTOINCREMENT, frames TEXT NOT NULL UNIQUE);
    CREATE TABLE visits (
        endpoint TEXT NOT NULL, release TEXT NOT NULL, visits INTEGER NOT NULL,
        PRIMARY KEY (endpoint, release)) WITHOUT ROWID;
    CREATE TABLE finding (
        fingerprint TEXT PRIMARY KEY, place INTEGER NOT NULL, known TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE united (
        id INTEGER PRIMARY KEY CHECK (id = 1), next_at REAL NOT NULL,
        epoch INTEGER NOT NULL DEFAULT 0, report TEXT, identity TEXT NOT NULL);
    INSERT INTO united (id, next_at, identity) VALUES (1, 0, hex(randomblob(8)));
    CREATE TABLE command (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        worker INTEGER NOT NULL REFERENCES worker ON DELETE CASCADE, asked_at REAL NOT NULL,
        request TEXT NOT NULL, taken_at REAL, status INTEGER, answer TEXT);
    CREATE INDEX command_for ON command (worker, taken_at);
    """,
    # who lives, and who has ended last, is asked at each snapshot
    "CREATE INDEX worker_ended ON worker (ended_at)",
    # what is reported on needs no other report
    """
    ALTER TABLE united ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE united ADD COLUMN reported INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE united ADD COLUMN company TEXT NOT NULL DEFAULT '';
    """,
)
"""Each makes the next version of the schema."""


def prepare(connection: sqlite3.Connection, file: object) -> None:
    """Have the tables in the file that *connection* is open on.

    Raises:
        StoreError: If the file is another program's.

        sqlite3.Error: If it cannot be read or written.
    """
    connection.executescript(
        f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
        f"PRAGMA journal_size_limit = {4 << 20}; PRAGMA trusted_schema = OFF;"
        f"PRAGMA max_page_count = {MOST_BYTES // PAGE_BYTES};"
    )
    if _version(connection) >= len(STEPS) and _is_ours(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrate(connection, file)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _migrate(connection: sqlite3.Connection, file: object) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and not _is_ours(connection):
        raise StoreError(
            f"the store {file} is a database of another program: give `store` a file of its own"
        )
    for step in STEPS[_version(connection) :]:
        for statement in step.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {max(len(STEPS), _version(connection))}")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _is_ours(connection: sqlite3.Connection) -> bool:
    found: int = connection.execute("PRAGMA application_id").fetchone()[0]
    return found == APPLICATION_ID
