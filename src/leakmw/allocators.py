"""What glibc's allocator has: the C heap in use and free, and what it could give back."""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from leakmw import forked
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

DEADLINE_SECONDS = 10.0
"""After which the child that trims its copy of the heap is killed."""

CHILD_BYTES = 16 << 20
"""What that child may allocate."""

SHORT_SECONDS = 0.001
"""A reading that takes no longer is taken whenever it is asked for."""

REST = 1000
"""Times as long as another one took for which it is not taken again: a thousandth of the time."""


class CHeap(NamedTuple):
    """The C heap, in bytes.

    Attributes:
        used: In blocks in use, also those of other libraries and those for Python.
        mapped: Part of that in large blocks, each a map of its own.
        free: Held between and behind the blocks.
    """

    used: int
    mapped: int
    free: int


class _MallInfo(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def read() -> CHeap | None:
    """Return the C heap; ``None`` where another allocator than glibc's is in use.

    No other thread of Python runs meanwhile. It takes some 5 µs, and 12 µs for each thousand of
    free blocks.
    """
    libc = _glibc()
    if libc is None:
        return None
    told = libc.mallinfo2()
    return CHeap(told.uordblks + told.hblkhd, told.hblkhd, told.fordblks)


@cache
def _glibc() -> Any:
    """Return the C library if its own allocator is the one in use and can be asked."""
    if sys.platform != "linux":
        return None
    try:
        process, libc = ctypes.PyDLL(None), ctypes.PyDLL("libc.so.6")
        mallinfo = libc.mallinfo2  # since glibc 2.33; the one before counts to 4 GiB only
        if _address(process.malloc) != _address(libc.malloc):
            return None  # jemalloc or another one stands before it
    except (OSError, AttributeError):
        return None
    mallinfo.restype, mallinfo.argtypes = _MallInfo, ()
    libc.malloc_trim.argtypes = (ctypes.c_size_t,)
    libc.open_memstream.restype = ctypes.c_void_p
    libc.open_memstream.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.fclose.argtypes = libc.free.argtypes = (ctypes.c_void_p,)
    libc.open.argtypes = (ctypes.c_char_p, ctypes.c_int)
    libc.read.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value


def arenas() -> int | None:
    """Return the number of arenas of the C heap; ``None`` where nobody tells.

    It writes about each of their free lists: ask only where it matters.
    """
    libc = _glibc()
    if libc is None:
        return None
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    if not stream:
        return None
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    told = ctypes.string_at(text, size.value)
    libc.free(text)
    return told.count(b"<heap nr=")


class Seldom:
    """Takes a reading that takes long only as often as a thousandth of the time allows.

    Args:
        reading: Takes it.

        clock: Seconds that only go forward.

        spent: Seconds of CPU time that this thread has used: waiting is no cost.
    """

    def __init__(
        self,
        reading: Callable[[], T],
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._reading: Callable[[], Any] = reading
        self._clock, self._spent = clock, spent
        self._next = float("-inf")

    def __call__(self) -> Any:
        """Return the reading; ``None`` if it is too early."""
        if self._clock() < self._next:
            return None
        begun = self._spent()
        read = self._reading()
        took = self._spent() - begun
        self._next = self._clock() + (REST * took if took > SHORT_SECONDS else 0.0)
        return read


class Trim:
    """Tries in a forked child how much ``malloc_trim`` would give back, ever more seldom.

    Args:
        failed: Told why it could not be tried.

    Attributes:
        cpu_seconds: What the children have used.
    """

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        self._next, self._gap = 0, 1
        self._given_back: int | None = None
        self.cpu_seconds = 0.0

    def given_back(self, number: int) -> int | None:
        """Return how many bytes fewer would be resident, as it was tried last.

        Args:
            number: Of the snapshot for which it is asked.

        Returns:
            ``None`` if it could not be tried.
        """
        if number >= self._next:
            self._next, self._gap = number + self._gap, 2 * self._gap
            self._given_back = self._tried()
        return self._given_back

    def _tried(self) -> int | None:
        libc = _glibc()
        if libc is None:
            return None
        try:
            outcome = forked.run(
                _trimming(libc), _nothing, seconds=DEADLINE_SECONDS, memory_bytes=CHILD_BYTES
            )
        except (forked.ForkError, forked.ChildError) as error:
            self._failed("trim", SnapshotError(f"it was not tried to trim the C heap: {error}"))
            return None
        self.cpu_seconds += outcome.cpu_seconds
        return int(outcome.result)


def _nothing() -> None:
    """Mark nothing: no visits are counted here."""


def _trimming(libc: Any) -> Callable[[], bytes]:
    """Return what trims the heap and says how much less is resident.

    What takes a lock to be looked up is looked up here: in the child another thread may have it.
    """
    trim = libc.malloc_trim

    def work() -> bytes:
        before = forked.sizes().resident
        trim(0)
        return b"%d" % max(0, before - forked.sizes().resident)

    return work
