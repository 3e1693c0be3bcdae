"""An app that has open whatever a process can have open, and forks a thousand times."""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import logging
import mmap
import os
import socket
import sqlite3
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from leakmw import forked
from leakmw.monitor import Monitor
from leakmw.records import Route, SnapshotError
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator

    from leakmw.records import Heap

PARENT = os.getpid()
TOLD = mmap.mmap(-1, 8)
"""Counts what was told in a child, whoever it was: children share it."""

PATIENCE = 120.0
TEXT = "what the app wrote, once\n"
STOP = threading.Event()
LOCK = threading.Lock()
LOCAL = threading.local()
LOG = logging.getLogger("inherited")


def tell(*_: object) -> None:
    """Say so if this is a child."""
    if os.getpid() != PARENT:
        TOLD[0] = min(TOLD[0] + 1, 255)


def hook() -> None:
    """Say so wherever this is: nobody here forks as Python does."""
    TOLD[0] = min(TOLD[0] + 1, 255)


class Tells:
    """Tells when its end has come, or when anybody asks it for anything."""

    def __init__(self) -> None:
        self.ring = self

    def __del__(self) -> None:
        tell()

    def __len__(self) -> int:
        tell()
        return 1

    def __hash__(self) -> int:
        tell()
        return 1

    def __eq__(self, other: object) -> bool:
        tell()
        return self is other


def suspended() -> Iterator[int]:
    """Wait half-way, with something to do at the end."""
    try:
        yield 1
        yield 2
    finally:
        tell()


async def awaiting() -> None:
    """Wait half-way, with something to do at the end."""
    try:
        await _Never()
    finally:
        tell()


async def streaming() -> AsyncIterator[int]:
    """Wait half-way, with something to do at the end."""
    try:
        yield 1
    finally:
        tell()


class _Never:
    """What never comes."""

    def __await__(self) -> Generator[None]:
        yield


def _begun() -> list[Any]:
    """Return a generator, a coroutine and an async generator, each half-way."""
    generator, coroutine, stream = suspended(), awaiting(), streaming()
    next(generator)
    step: Coroutine[Any, Any, Any]
    for step in (coroutine, stream.__anext__()):  # type: ignore[assignment]  # it has send(), too
        with suppress(StopIteration):
            step.send(None)
    return [generator, coroutine, stream]


def _dying() -> list[Any]:
    """Return what tells of its end: objects, callbacks, finalizers, hooks."""
    one, other = Tells(), Tells()
    atexit.register(tell)
    os.register_at_fork(before=hook, after_in_child=hook, after_in_parent=hook)
    gc.garbage.append(Tells())
    gc.callbacks.append(tell)
    return [one, other, weakref.ref(one, tell), weakref.finalize(other, tell), *_begun()]


# locks that threads hold most of the time


class Slow(logging.Handler):
    """Holds the lock of its handler for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take one event."""
        time.sleep(0.005)


def _logs() -> None:
    LOG.warning("what is %s", "logged")


def _locks() -> None:
    with LOCK:
        time.sleep(0.005)


def _imports() -> None:
    sys.modules.pop("tests.apps.slow_import", None)
    importlib.import_module("tests.apps.slow_import")


def _allocates() -> None:
    libc = ctypes.CDLL(None)  # gives the GIL up
    libc.malloc.restype = ctypes.c_void_p
    blocks = [ctypes.c_void_p(libc.malloc(size)) for size in range(100, 60_000, 997)]
    for block in blocks:
        libc.free(block)
    time.sleep(0.005)


def _queries() -> None:
    if not hasattr(LOCAL, "database"):
        LOCAL.tells = Tells()  # goes with the thread, which no child has
        LOCAL.database = sqlite3.connect(":memory:")
    LOCAL.database.execute("SELECT length(zeroblob(100000)), random()").fetchall()
    time.sleep(0.005)


def _again(work: Callable[[], None]) -> None:
    while not STOP.is_set():
        work()
    if hasattr(LOCAL, "database"):
        LOCAL.database.close()


def _started() -> list[threading.Thread]:
    LOG.addHandler(Slow())
    LOG.propagate = False
    work = (_logs, _locks, _imports, _allocates, _queries)
    threads = [threading.Thread(target=_again, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    return threads


# what leakmw forks for


def holdings(heap: Heap) -> object:
    """Walk the heap."""
    return heap.holdings()


def cycles(heap: Heap) -> object:
    """Look for cycles."""
    return heap.cycles()


def waiting(heap: Heap) -> object:
    """Look for garbage."""
    return heap.waiting()


def referrers(heap: Heap) -> object:
    """Look for what refers to gc.garbage."""
    return heap.referrers()


QUESTIONS = (holdings, cycles, waiting, referrers)
TURNS = (*range(4), 1, *[3] * 5, *[4] * 90)
"""Of a hundred forks: which question is asked; after the last of them a snapshot is taken."""


def look(monitor: Monitor, forks: int) -> Counter[str]:
    """Look at this process *forks* times, in all ways; return how often each answered or not."""
    said: Counter[str] = Counter()
    for turn in range(forks):
        which = TURNS[turn % len(TURNS)]
        name = QUESTIONS[which].__name__ if which < len(QUESTIONS) else "snapshot"
        try:
            if name == "snapshot":
                monitor.take_snapshot(PATIENCE)
            else:
                monitor.look(QUESTIONS[which], PATIENCE)
        except SnapshotError as error:
            name = f"declined: {error}"
        said[name] += 1
    return said


class Databases:
    """Two of them, each in the middle of a transaction."""

    def __init__(self, folder: Path, postgres: str) -> None:
        self._file = folder / "inherited.sqlite3"
        self._lite = sqlite3.connect(self._file, isolation_level=None)
        self._lite.execute("CREATE TABLE orders (number INTEGER)")
        self._lite.execute("BEGIN IMMEDIATE")
        self._lite.execute("INSERT INTO orders VALUES (1)")
        self._address = postgres
        self._server = None
        if postgres:
            import psycopg

            self._server = psycopg.connect(postgres)
            self._server.execute("CREATE TABLE orders (number INTEGER)")
            self._server.commit()
            self._server.execute("INSERT INTO orders VALUES (1)")

    def locked(self) -> bool:
        """Say whether the file is still locked for whoever else would write to it."""
        other = sqlite3.connect(self._file, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        finally:
            other.close()
        return False

    def committed(self) -> dict[str, object]:
        """End both transactions and return what others see of them."""
        self._lite.execute("INSERT INTO orders VALUES (2)")
        self._lite.execute("COMMIT")
        self._lite.close()
        other = sqlite3.connect(self._file)
        rows = other.execute("SELECT number FROM orders ORDER BY number").fetchall()
        (whole,) = other.execute("PRAGMA integrity_check").fetchone()
        other.close()
        return {"sqlite": [rows, whole], "postgres": self._committed_there()}

    def _committed_there(self) -> object:
        if self._server is None:
            return None
        import psycopg

        self._server.execute("INSERT INTO orders VALUES (2)")
        self._server.commit()
        self._server.close()
        with psycopg.connect(self._address) as other:
            return other.execute("SELECT number FROM orders ORDER BY number").fetchall()


class Files:
    """A file of Python's and one of C's with unwritten text, and a socket."""

    def __init__(self, folder: Path) -> None:
        self._paths = folder / "python.txt", folder / "c.txt"
        self._file = self._paths[0].open("w", encoding="utf-8")
        self._file.write(TEXT)
        self._libc = ctypes.CDLL(None)
        self._libc.fopen.restype = ctypes.c_void_p
        self._c_file = ctypes.c_void_p(self._libc.fopen(bytes(self._paths[1]), b"w"))
        self._libc.fputs(TEXT.encode(), self._c_file)
        self._ours, self._peer = socket.socketpair()
        self._peer.setblocking(False)

    def heard(self) -> str:
        """Return what the other end of the socket has seen; nothing if it has seen nothing."""
        try:
            return repr(self._peer.recv(100))
        except BlockingIOError:
            return ""

    def closed(self) -> dict[str, object]:
        """Close all, and return what is in the files and what came through the socket."""
        self._file.close()
        self._libc.fclose(self._c_file)
        self._ours.sendall(b"bye")
        self._ours.close()
        came = self._peer.recv(100) + self._peer.recv(100)
        self._peer.close()
        return {"files": [one.read_text("utf-8") for one in self._paths], "socket": came.decode()}


def main(folder: Path, forks: int, postgres: str = "") -> dict[str, object]:
    """Open all, fork, and return what came of it."""
    databases, files, kept = Databases(folder, postgres), Files(folder), _dying()
    threads = _started()
    settings = Settings(engine="tracemalloc", frames=1, store="memory")
    monitor = Monitor(settings, lambda request: Route("GET", request["path"]))
    said = look(monitor, forks)
    monitor.close()
    seen = {"said": said, "told": TOLD[0], "heard": files.heard(), "locked": databases.locked()}
    STOP.set()
    for thread in threads:
        thread.join()
    children = [*psutil.Process().children(), *forked._children]
    kept.clear()
    return seen | databases.committed() | files.closed() | {"children": len(children)}


def say(folder: str, forks: str, postgres: str = "") -> None:
    """Print what came of it."""
    print(json.dumps(main(Path(folder), int(forks), postgres)), flush=True)
