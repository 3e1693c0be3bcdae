"""What goes wrong with the store, in words that say what to do."""

from __future__ import annotations

import sqlite3

from leakmw.records import SnapshotError


class StoreError(SnapshotError):
    """The store cannot be used now; the message says why and what to do."""


class BrokenError(StoreError):
    """The file is none of ours any more: torn, or overwritten."""


class FullError(StoreError):
    """The file has reached its cap, or the disk is full."""


_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_REMEDIES = {
    sqlite3.SQLITE_READONLY: "cannot be written: the history goes on in this process alone",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: the history goes on in this process alone",
    sqlite3.SQLITE_IOERR: "cannot be read or written: look at the disk",
    sqlite3.SQLITE_BUSY: "is locked by another process: the next snapshot tries again",
    sqlite3.SQLITE_LOCKED: "is locked: the next snapshot tries again",
}


def explained(error: sqlite3.Error, file: object) -> StoreError:
    """Return what to tell of *error*."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF  # the rest says more of the same
    if primary in _BROKEN:
        return BrokenError(f"the store {file} was broken: it is set aside and a new one is begun")
    if primary == sqlite3.SQLITE_FULL:
        return FullError(
            f"the store {file} is full, or its disk: the history goes on in this process alone"
        )
    remedy = _REMEDIES.get(primary or -1, f"has failed ({type(error).__name__})")
    return StoreError(f"the store {file} {remedy}")
