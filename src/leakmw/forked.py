"""Run a function on a frozen copy of this process, in a forked child, and take its bytes back.

``os.fork()`` will not do here. In the child it clears the states of all other threads, which runs
the finalizers of whatever they keep in thread locals (a database connection says goodbye on the
socket that the parent still uses), and it runs every hook the app registered. So the C library's
``fork`` is called with the GIL held, and the child only runs the function and writes the result:

* It never gives the GIL up, since in the child nobody could give it back: no I/O but through
  ``PyDLL``, no locks, no imports, no logging.
* A request to drop the GIL that another thread made before the fork would make the child wait for
  that thread for ever: so the child forgets it, in ``_forking``. Where that is not to be had, the
  switch interval, after which a waiting thread makes one, is lengthened for the time of the fork.
  One that was about to wait may have read it just before, as most do whose app often gives the GIL
  up by itself: a child that says nothing is killed, and another one forked.
* It closes every inherited descriptor at once: a connection that the parent ends must end.
* It is killed at its deadline, with its parent, and first when memory runs out.

A lock that another thread held at the moment of the fork (a C library's, or that of tracemalloc's
tables) makes the child wait for ever: one that sleeps is killed, and another one forked.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import os
import resource
import select
import signal
import sys
import sysconfig
import time
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from leakmw.background import native, switching
from leakmw.records import Failure

try:
    from leakmw._forking import fork
except ImportError:  # not built, or for a Python that it does not know
    FORGETS = False
else:
    FORGETS = True
"""Whether a child forgets that its parent was asked for the GIL."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AVAILABLE = (
    sys.platform == "linux"
    and sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
"""Elsewhere forking a threaded process is unsafe, or not to be had."""

LEAST_INTERVAL, INTERVAL_PER_GIB = 0.02, 0.1
"""Seconds for which no thread asks for the GIL while the process forks, which takes about 25 ms
per GiB resident. Not longer: threads that wait for the GIL meanwhile may have to wait it out."""

ATTEMPTS = 6
"""Forks until one child comes to life, and has not come upon a lock that nobody gives back."""

ALIVE_SECONDS = 0.25
"""After which a child that sleeps and has said nothing is taken to wait for the GIL or for a lock.
One that would run if it were let, on a machine with too much to do, is given as long again."""

HUNG_SECONDS = 3.0
"""After which one that has given its sign of life, and was never seen but asleep, is taken to wait
for a lock: it has nothing else to wait for but its memory, and for us to read."""

EAGER_SECONDS = 0.25
"""CPU time that a child has like any process: most need no more, and a worker that lives for
seconds on a machine with too much to do must come to know what it has asked for."""

NICENESS = 10
"""Of a child that needs more."""

_EAGER_POLL_SECONDS = 0.1
_ALIVE = b"!"
_DONE, _FAILED = 1, 0
_HEADER = len(_ALIVE) + 1 + 8
_PR_SET_PDEATHSIG = 1
_SYS_CLOSE_RANGE = 436
_STATM = ctypes.create_string_buffer(128)
"""For what a child reads there: to make one makes a type, which would be garbage to find there."""
_CHUNK = 1 << 16


_children: set[tuple[int, int]] = set()
"""Parent and child of each child that is not waited for yet."""


@atexit.register
def _end_children() -> None:
    """Kill them: one that waits for another thread has not yet asked to die with its parent."""
    for parent, child in tuple(_children):
        if parent == os.getpid():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


class ForkError(Exception):
    """No child could be forked."""


class ChildError(Exception):
    """The child died, failed, or was killed at its deadline."""


class _StillbornError(ForkError):
    """The child waits for a thread that it does not have."""


class _HungError(ChildError):
    """The same, in the middle of its work."""


class Sizes(NamedTuple):
    """What a process has, in bytes.

    Attributes:
        resident: Of all that is mapped.
        data: What counts against ``RLIMIT_DATA``.
    """

    resident: int
    data: int


class Outcome(NamedTuple):
    """What a child sent back and what it cost.

    Attributes:
        result: The function's bytes.
        pause_seconds: How long the process stood still for the fork.
        cpu_seconds: What the child used.
    """

    result: bytes
    pause_seconds: float
    cpu_seconds: float


def sizes() -> Sizes:
    """Return those of this process, without letting go of the GIL.

    A child might never have it again, if another thread was just about to take it at the fork.

    Raises:
        OSError: Where the kernel does not say.
    """
    libc = _libc()
    statm = libc.open(b"/proc/self/statm", os.O_RDONLY)
    count = libc.read(statm, _STATM, len(_STATM) - 1)
    libc.close(statm)
    if count <= 0:
        raise OSError(errno.EIO, "/proc/self/statm cannot be read")
    pages = _STATM.value.split()
    return Sizes(*(int(pages[column]) * resource.getpagesize() for column in (1, 5)))


def run(
    task: Callable[[], bytes], mark: Callable[[], object], *, seconds: float, memory_bytes: int
) -> Outcome:
    """Run *task* in a forked child.

    Args:
        task: Plain computing: it must not block, import, log or touch the app's objects.

        mark: Called here at the moment that the child sees, with no other thread in between; again
            if it takes another child.

        seconds: Deadline after which the child is killed.

        memory_bytes: How much the child may allocate on top of what it inherits.

    Raises:
        ForkError: If no child can be had.

        ChildError: With what happened to the child.
    """
    if not AVAILABLE:
        raise ForkError("forking is not safe on this platform")
    try:
        limits = _limits(memory_bytes, seconds)
        for _ in range(ATTEMPTS - 1):
            with suppress(_StillbornError, _HungError):
                return _attempt(task, mark, seconds, limits)
        return _attempt(task, mark, seconds, limits)
    except OSError as error:
        raise ForkError(f"no child could be forked: {error.strerror}") from error


def _attempt(
    task: Callable[[], bytes], mark: Callable[[], object], seconds: float, limits: _Limits
) -> Outcome:
    libc = _libc()
    reader, writer = os.pipe()
    try:
        pid, pause = _fork(libc, mark, limits.interval)
        if pid == 0:
            _child(libc, task, writer, limits)
        os.close(writer)
        writer = -1
        received, cpu_seconds = _collect(pid, reader, seconds)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    return Outcome(_unpack(received), pause, cpu_seconds)


@cache
def _libc() -> ctypes.PyDLL:
    libc = ctypes.PyDLL(None, use_errno=True)
    for call in (libc.read, libc.write):
        call.restype = ctypes.c_ssize_t
        call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _fork(libc: ctypes.PyDLL, mark: Callable[[], object], interval: float) -> tuple[int, float]:
    """Call *mark*, then fork; no other thread runs in between, and no collection in the child.

    Returns:
        The child, 0 in the child, and the seconds for which this process stood still.

    Raises:
        OSError: If there can be none.
    """
    if FORGETS:
        return fork(mark)
    with _held_gil(interval):
        mark()
        started = time.perf_counter()
        pid: int = libc.fork()
        if pid == 0:
            gc.disable()
        pause = time.perf_counter() - started
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid, pause


@contextmanager
def _held_gil(seconds: float) -> Iterator[None]:
    """Keep other threads from asking for the GIL."""
    # Whoever waits for the GIL while it changes hands waits anew from then on, as long as the
    # interval then says: so nothing may stand between taking the GIL and changing that.
    take_gil = partial(native("time", "sleep"), 0.001)
    with switching(lambda interval: max(interval, seconds), take_gil):
        yield


class _Limits(NamedTuple):
    parent: int
    interval: float
    memory_bytes: int
    cpu_seconds: int


def _limits(memory_bytes: int, seconds: float) -> _Limits:
    interval = LEAST_INTERVAL + INTERVAL_PER_GIB * sizes().resident / (1 << 30)
    return _Limits(os.getpid(), interval, memory_bytes, int(seconds) + 1)


def _child(
    libc: ctypes.PyDLL, task: Callable[[], bytes], writer: int, limits: _Limits
) -> NoReturn:
    try:
        libc.write(writer, _ALIVE, len(_ALIVE))
        _confine(libc, writer, limits)
        _send(libc, writer, _DONE, task())
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent must hear of it
        with suppress(BaseException):
            failure = Failure.of("child", error)
            _send(libc, writer, _FAILED, f"{failure.kind} at {failure.place}".encode())
    finally:
        os._exit(0)


def _confine(libc: ctypes.PyDLL, writer: int, limits: _Limits) -> None:
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != limits.parent:
        os._exit(0)
    _close_all_but(libc, writer)
    oom = libc.open(b"/proc/self/oom_score_adj", os.O_WRONLY)
    libc.write(oom, b"1000", 4)
    libc.close(oom)
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        # read here: other threads of the parent gave back what they liked until the fork
        (resource.RLIMIT_DATA, sizes().data + limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (allowed, allowed))


def _close_all_but(libc: ctypes.PyDLL, kept: int) -> None:
    last = ctypes.c_uint(0xFFFFFFFF)
    if libc.syscall(_SYS_CLOSE_RANGE, kept + 1, last, 0) == 0:
        libc.syscall(_SYS_CLOSE_RANGE, 0, kept - 1, 0)
        return
    # kernels before 5.9
    for descriptor in range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 16)):
        if descriptor != kept:
            libc.close(descriptor)


def _send(libc: ctypes.PyDLL, writer: int, status: int, body: bytes) -> None:
    message = bytes([status]) + len(body).to_bytes(8, "big") + body
    buffer = ctypes.create_string_buffer(message, len(message))
    sent = 0
    while sent < len(message):
        written = libc.write(writer, ctypes.addressof(buffer) + sent, len(message) - sent)
        if written <= 0:
            return
        sent += written


def _collect(pid: int, reader: int, seconds: float) -> tuple[bytes, float]:
    received = b""
    child = os.getpid(), pid
    _children.add(child)
    try:
        received = _receive(pid, reader, seconds)
    finally:
        if not _complete(received):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        cpu_seconds = _reap(pid)
        _children.discard(child)
    return received, cpu_seconds


def _receive(pid: int, reader: int, seconds: float) -> bytes:
    """Read the sign of life and one message, or less when the child dies.

    The end of the message counts, not the end of the file: a process that the app forks at this
    moment inherits the pipe too and would keep it open.
    """
    poll = native("select", "poll")()
    poll.register(reader, select.POLLIN)
    deadline = time.monotonic() + seconds
    received, eager, asleep = bytearray(), False, 0.0
    while not _complete(received):
        left = deadline - time.monotonic()
        if left <= 0:
            raise ChildError(f"the child was killed: it had not finished after {seconds:g} s")
        patience = _EAGER_POLL_SECONDS if eager else ALIVE_SECONDS
        if poll.poll(1000 * min(left, patience)):
            chunk = os.read(reader, _CHUNK)
            if not chunk:
                break
            eager = eager or not received
            received += chunk
            asleep = 0
            continue
        eager = eager and not _slowed(pid)
        asleep = 0 if _would_run(pid) else asleep + patience
        if asleep and not received:
            raise _StillbornError("no child could be forked: it waits for another thread")
        if asleep >= HUNG_SECONDS:
            raise _HungError("the child was killed: it waited for a lock of another thread")
    return bytes(received)


def _slowed(pid: int) -> bool:
    """Let a process wait for all others once it has had its part; say whether it does."""
    with suppress(OSError):  # it ends just now
        if time.clock_gettime(_cpu_clock(pid)) < EAGER_SECONDS:
            return False
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    return True


def _cpu_clock(pid: int) -> int:
    """Return the clock of a process's CPU time, as ``clock_getcpuclockid()`` does on Linux."""
    return ~pid << 3 | 2


def _would_run(pid: int) -> bool:
    """Say whether a process runs, or waits for a core or its memory, and for nothing else."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(") ")
    except OSError:
        return False
    return fields.startswith(("R", "D"))


def _complete(received: bytes | bytearray) -> bool:
    length = int.from_bytes(received[len(_ALIVE) + 1 : _HEADER], "big")
    return len(received) >= _HEADER and len(received) == _HEADER + length


def _reap(pid: int) -> float:
    try:
        _, _, usage = os.wait4(pid, 0)
    except ChildProcessError:  # the app ignores SIGCHLD or reaps every child itself
        return 0.0
    return usage.ru_utime + usage.ru_stime


def _unpack(received: bytes) -> bytes:
    if not _complete(received):
        raise ChildError("the child died before it had finished: killed, or out of memory")
    body = received[_HEADER:]
    if received[len(_ALIVE)] == _FAILED:
        raise ChildError(f"the child failed with {body.decode()}")
    return body
