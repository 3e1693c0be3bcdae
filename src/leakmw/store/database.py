"""One process's connection to the store: opened late, on one thread, and mended by itself.

A connection must not be used in a forked child, nor closed there: SQLite's locks are the parent's,
and a mutex that another thread held as the process forked is never given back. So a child leaves
what it has inherited alone for good, and opens its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sqlite3
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from leakmw.store import schema
from leakmw.store.failure import BrokenError, StoreError, explained
from leakmw.store.files import made_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 1.0
"""How long the background thread waits for another process that writes."""

_every: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The store's file.

    Args:
        file: Its path.

        make: Whether to make it where there is none.

    Attributes:
        file: Its path.
        identity: Of the file that is open, or was last: what one was told is missing in another.
    """

    def __init__(self, file: Path, *, make: bool = True) -> None:
        self.file = file
        self._make = make
        self.identity = ""
        self._inode = 0
        self._connection: sqlite3.Connection | None = None
        _every.add(self)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Have all that is done in the block happen, or nothing of it.

        Raises:
            StoreError: If the store cannot be used now.
        """
        with self.told():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read in the block; what others write meanwhile may be seen in part of it.

        Raises:
            StoreError: If the store cannot be used now.
        """
        with self.told():
            yield self._open()

    def changes(self) -> int:
        """Return a number that is another one whenever somebody else has written.

        Raises:
            StoreError: If the store cannot be used now.
        """
        with self.reading() as connection:
            version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def close(self) -> None:
        """Close it; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def abandon(self) -> None:
        """Forget the connection of the parent without closing it, in a forked child."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # a reference that nobody gives back: not even the end of the interpreter closes it
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell what fails in the block as a failure of the store.

        Raises:
            StoreError: If it fails.
        """
        try:
            yield
        except OSError as error:
            self.close()
            raise StoreError(
                f"the store {self.file} fails ({os.strerror(error.errno or 0)})"
            ) from error
        except sqlite3.Error as error:
            self.close()
            failure = explained(error, self.file)
            if isinstance(failure, BrokenError):
                self._set_aside()
            raise failure from error

    def _open(self) -> sqlite3.Connection:
        size = None if self._connection is None else self._size()
        if self._connection is not None and size:
            return self._connection
        self.close()
        if size == 0:
            # who has it open would go on with what lies beside it, and nobody else could open it
            self._set_aside()
        if self._make:
            made_private(self.file)
        elif not self.file.exists():
            raise StoreError(f"there is no store {self.file}")
        self._inode = self.file.stat().st_ino
        # the thread that opens it is the one that uses it
        connection = sqlite3.connect(self.file, timeout=PATIENCE_SECONDS, isolation_level=None)
        self._connection = connection
        with self._locked():  # two that make it a WAL at once do not wait for each other
            schema.prepare(connection, self.file)
        (self.identity,) = connection.execute("SELECT identity FROM united").fetchone()
        return connection

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other workers from making the file, and from setting it aside."""
        with self.file.with_name(f"{self.file.name}-lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _size(self) -> int | None:
        """Return the size of the file that is open; ``None`` if another one is at its path."""
        try:
            facts = self.file.stat()
        except OSError:
            return None
        return facts.st_size if facts.st_ino == self._inode else None

    def _set_aside(self) -> None:
        """Rename a broken file, unless another worker has done so already."""
        with suppress(OSError), self._locked():
            if self._size() is not None:
                stamp = time.strftime("%Y%m%dT%H%M%S")
                for ending in ("-wal", "-shm", ""):
                    old = self.file.with_name(f"{self.file.name}{ending}")
                    with suppress(FileNotFoundError):
                        old.rename(f"{old}.broken-{stamp}-{os.getpid()}")


def _abandon() -> None:
    for database in tuple(_every):
        database.abandon()


os.register_at_fork(after_in_child=_abandon)


def usable(file: Path) -> str | None:
    """Return why the store *file* cannot be used; ``None`` if it can.

    A file that was not there is not left behind.
    """
    there, database = file.exists(), Database(file)
    try:
        with database.transaction():
            return None
    except StoreError as error:
        return str(error)
    finally:
        database.close()
        for ending in ("-wal", "-shm", "-lock", "-bell", "") if not there else ():
            with suppress(OSError):
                file.with_name(f"{file.name}{ending}").unlink()
