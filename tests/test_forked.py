"""A frozen copy of the process: what the child does, and what it must never do."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.busy import busy_with
from tests.c_library import Old, refuse_to_fork

from leakmw import forked
from leakmw.background import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="forking is not safe here")

PLENTY = 256 << 20
LARGE = 300 << 20
"""In one block, which the C library gives back to the system: many small ones may stay, as free
memory that the children of later tests could take without asking for any."""

BOTH_WAYS = pytest.mark.usefixtures("either_way")
"""That of our own C, and that of a Python for which it is not built."""


def nothing() -> None:
    """Mark nothing."""


def run(task: Callable[[], bytes], *, seconds: float = 60, memory: int = PLENTY) -> bytes:
    """Run *task* in a child and return its bytes."""
    return forked.run(task, nothing, seconds=seconds, memory_bytes=memory).result


@pytest.fixture(name="either_way", params=["at once", "with the GIL held"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "with the GIL held":
        monkeypatch.setattr(forked, "FORGETS", False)


@pytest.fixture(name="shared")
def _shared() -> Iterator[mmap.mmap]:
    """Return memory that a child shares with its parent."""
    with mmap.mmap(-1, 16) as shared:
        yield shared


@pytest.fixture(name="busy")
def _busy() -> Iterator[None]:
    """Keep four threads computing, so that somebody always waits for the GIL."""
    with busy_with(lambda: sum(range(1000)), 4):
        yield


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 20) + 1, 8 << 20])
def test_the_childs_bytes_come_back_whole(size: int) -> None:
    """Whatever their number, also more than a pipe holds."""
    assert b"x" * size == run(lambda: b"x" * size)


@BOTH_WAYS
def test_the_child_sees_the_moment_of_the_mark() -> None:
    """What the mark changes is in the copy; what happens later is not."""
    moment: list[str] = []
    outcome = forked.run(
        lambda: ",".join(moment).encode(),
        lambda: moment.append("marked"),
        seconds=60,
        memory_bytes=PLENTY,
    )
    assert outcome.result.decode().split(",")[-1] == "marked"


@BOTH_WAYS
def test_many_forks_among_busy_threads_all_succeed(busy: None) -> None:
    """A child never waits for a thread that it does not have, or another one is forked."""
    assert [run(lambda: b"done") for _ in range(20)] == [b"done"] * 20


@BOTH_WAYS
def test_forks_of_a_large_process_all_succeed(busy: None) -> None:
    """With 300 MB resident, a fork takes longer than threads wait for the GIL."""
    heap = bytearray(LARGE)
    heap[:: mmap.PAGESIZE] = bytes(LARGE // mmap.PAGESIZE)
    assert [run(lambda: b"done") for _ in range(25)] == [b"done"] * 25


@pytest.mark.skipif(not forked.FORGETS, reason="it is not built for this Python")
def test_one_child_is_enough_whoever_waits_for_the_gil() -> None:
    """Apps that often give the GIL up by themselves have asked for it back when a fork begins."""
    heap = b"x" * LARGE  # so the fork takes longer than they wait
    marks: list[int] = []

    def step() -> None:
        sum(range(200))
        os.stat("/")  # noqa: PTH116  # one call that gives it up, and nothing else

    with busy_with(step, 2), giving_way():
        for _ in range(10):
            forked.run(lambda: b"done", lambda: marks.append(1), seconds=60, memory_bytes=PLENTY)

    assert len(marks) == 10
    assert len(heap) == LARGE


def test_a_child_that_waits_for_another_thread_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says nothing, as it never runs; the mark is set again for the next one."""
    marks: list[int] = []
    monkeypatch.setattr(forked, "ALIVE_SECONDS", 0.05)
    child = forked._child

    def stillborn(*given: Any) -> Any:
        if len(marks) < 3:
            signal.pause()
        child(*given)

    monkeypatch.setattr(forked, "_child", stillborn)
    outcome = forked.run(
        lambda: b"third", lambda: marks.append(1), seconds=60, memory_bytes=PLENTY
    )
    assert (outcome.result, len(marks)) == (b"third", 3)

    monkeypatch.setattr(forked, "_child", lambda *given: signal.pause())
    with pytest.raises(forked.ForkError, match="waits for another thread"):
        run(lambda: b"never")


def test_a_child_that_is_not_let_run_at_once_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine with too much to do is no reason to fork another one."""
    marks: list[int] = []
    monkeypatch.setattr(forked, "ALIVE_SECONDS", 0.02)
    child = forked._child

    def starved(*given: Any) -> Any:
        late = time.monotonic() + 0.3
        while time.monotonic() < late:
            pass
        child(*given)

    monkeypatch.setattr(forked, "_child", starved)
    outcome = forked.run(lambda: b"late", lambda: marks.append(1), seconds=60, memory_bytes=PLENTY)
    assert (outcome.result, len(marks)) == (b"late", 1)


def test_a_process_without_descriptors_left_is_no_riddle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's words for it are in the error."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", refuse)
    with pytest.raises(forked.ForkError, match=os.strerror(errno.EMFILE)):
        run(lambda: b"")


@BOTH_WAYS
def test_it_works_from_any_thread() -> None:
    """In several at once, too: each gets its own bytes."""
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        results[number] = run(lambda: b"%d" % number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: b"%d" % number for number in range(4)}


def test_descriptors_are_closed_on_an_old_kernel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 5.9 there is no call that closes them all."""

    def task() -> bytes:
        return ",".join(fd.name for fd in Path("/proc/self/fd").iterdir()).encode()

    monkeypatch.setattr(forked, "_libc", Old)
    with socket.socket() as inherited:
        left = run(task).decode().split(",")
        assert str(inherited.fileno()) not in left
    assert len(left) == 2  # the pipe, and the folder that is listed


class Tells:
    """Counts its finalizers in memory that outlives the process."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared

    def __del__(self) -> None:
        self._shared[0] += 1


@BOTH_WAYS
def test_no_finalizer_of_another_threads_locals_runs_in_the_child(shared: mmap.mmap) -> None:
    """It does with os.fork, where a database driver would close its parent's connection."""
    local, ready, end = threading.local(), threading.Event(), threading.Event()

    def hold() -> None:
        local.connection = Tells(shared)
        ready.set()
        end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    assert run(lambda: b"done") == b"done"
    ours = shared[0]
    _fork_as_python_does()
    theirs = shared[0]
    end.set()
    thread.join()

    assert ours == 0
    assert theirs == 1


class Ring:
    """Garbage that only the collector frees, and that tells in which process it did."""

    def __init__(self, shared: mmap.mmap) -> None:
        self.ring = self
        self.parent = os.getpid()
        self.shared = shared

    def __del__(self) -> None:
        self.shared[os.getpid() != self.parent] = 1


@BOTH_WAYS
def test_the_collector_does_not_run_in_the_child(shared: mmap.mmap) -> None:
    """Wherever in the fork it is due; it does run in the parent, and with os.fork in both."""

    def mark() -> None:
        Ring(shared)

    thresholds = gc.get_threshold()
    try:
        for due in range(1, 60):
            gc.set_threshold(due, 1000, 1000)
            forked.run(lambda: b"", mark, seconds=60, memory_bytes=PLENTY)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert shared[:2] == bytes([1, 0])


def _fork_as_python_does() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


HOOKS = """
import atexit, mmap, os
from leakmw import forked
shared = mmap.mmap(-1, 2)
def hook(): shared[0] += 1
def leave(): shared[1] += 1
os.register_at_fork(before=hook, after_in_child=hook, after_in_parent=hook)
parent = os.getpid()
atexit.register(lambda: leave() if os.getpid() != parent else None)
forked.run(lambda: b"", lambda: None, seconds=60, memory_bytes=1 << 26)
print(shared[0], shared[1])
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(shared[0], shared[1])
"""


def test_no_hook_of_the_app_runs() -> None:
    """Neither at-fork nor at-exit hooks do; with os.fork all three of the former run."""
    done = subprocess.run(
        [sys.executable, "-c", HOOKS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "0", "3", "0"]


def test_a_connection_that_the_parent_closes_is_closed(shared: mmap.mmap) -> None:
    """The child keeps no copy of it open, however long it works."""
    ours, peer = socket.socketpair()

    def task() -> bytes:
        shared[1] = 1
        while not shared[2]:
            pass
        return b"done"

    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(run(task)))
    thread.start()
    while not shared[1]:
        time.sleep(0.001)
    time.sleep(0.05)  # the sign of life comes before the task, the closing before both
    ours.close()
    peer.settimeout(30)
    try:
        received = peer.recv(1)
    finally:
        shared[2] = 1
        thread.join()
        peer.close()

    assert received == b""
    assert results == [b"done"]


@BOTH_WAYS
@pytest.mark.parametrize("reason", [errno.EAGAIN, errno.ENOMEM])
def test_a_refused_fork_is_said_in_the_systems_words(
    monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """The process may have reached its limit of processes, or the host that of memory."""
    refuse_to_fork(monkeypatch, reason)
    with pytest.raises(forked.ForkError, match=os.strerror(reason)):
        run(lambda: b"")


def test_a_killed_child_is_noticed_and_reaped() -> None:
    """As the kernel kills it first when memory runs out."""

    def task() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(forked.ChildError, match="died"):
        run(task)


def test_a_child_that_hangs_is_killed_at_its_deadline() -> None:
    """It leaves no process behind, which the fixture around every test looks for."""

    def task() -> bytes:
        while True:
            pass

    with pytest.raises(forked.ChildError, match=r"not finished after 0\.5 s"):
        run(task, seconds=0.5)


def test_a_child_that_waits_for_a_lock_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread has held it at the fork, and will never give it back there."""
    monkeypatch.setattr(forked, "ALIVE_SECONDS", 0.02)
    monkeypatch.setattr(forked, "HUNG_SECONDS", 0.06)
    marks: list[int] = []
    held = threading.Lock()
    held.acquire()  # as if by a thread that is not in the child

    def task() -> bytes:
        if len(marks) < 3:
            held.acquire()
        return b"third"

    outcome = forked.run(task, lambda: marks.append(1), seconds=60, memory_bytes=PLENTY)
    assert (outcome.result, len(marks)) == (b"third", 3)
    with pytest.raises(forked.ChildError, match="waited for a lock of another thread"):
        run(lambda: bytes(held.acquire()))


def test_a_child_that_computes_is_let_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it says nothing."""
    monkeypatch.setattr(forked, "ALIVE_SECONDS", 0.02)
    marks: list[int] = []

    def task() -> bytes:
        late = time.monotonic() + 0.5
        while time.monotonic() < late:
            pass
        return b"late"

    outcome = forked.run(task, lambda: marks.append(1), seconds=60, memory_bytes=PLENTY)
    assert (outcome.result, len(marks)) == (b"late", 1)


def test_a_child_that_computes_for_long_gives_way() -> None:
    """Most have done their work before; other processes come first from then on."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    def task() -> bytes:
        began = niceness()
        late = time.process_time() + 60
        while niceness() == began and time.process_time() < late:
            pass
        return b"%d %d" % (began, niceness())

    began, later = map(int, run(task, seconds=120).split())
    assert began == niceness()
    assert later > began


def test_a_child_may_not_take_more_memory_than_it_was_given() -> None:
    """And one that stays below may."""
    with pytest.raises(forked.ChildError, match="MemoryError"):
        run(lambda: bytes(200 << 20)[:1], memory=64 << 20)
    assert run(lambda: bytes(20 << 20)[:1], memory=64 << 20) == b"\0"


def test_what_the_parent_gives_back_before_the_fork_is_not_the_childs_to_take() -> None:
    """Another thread may do so at any moment: only the child knows what it has inherited."""
    kept = [bytes(200 << 20)]
    with pytest.raises(forked.ChildError, match="MemoryError"):
        forked.run(lambda: bytes(200 << 20)[:1], kept.clear, seconds=60, memory_bytes=64 << 20)


def test_an_error_of_the_task_is_named_without_its_text() -> None:
    """The text of an exception may hold the app's values."""

    def task() -> bytes:
        raise ValueError("the password is tiger")

    with pytest.raises(forked.ChildError, match="ValueError") as caught:
        run(task)
    assert "tiger" not in str(caught.value)


def test_an_app_that_ignores_its_children_gets_its_snapshot() -> None:
    """The kernel then reaps the child before anybody can ask for it."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run(lambda: b"done") == b"done"
    finally:
        signal.signal(signal.SIGCHLD, before)


@BOTH_WAYS
def test_the_apps_switch_interval_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the fork was refused."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.007)
    try:
        chosen = sys.getswitchinterval()
        run(lambda: b"")
        after_success = sys.getswitchinterval()
        refuse_to_fork(monkeypatch)
        with pytest.raises(forked.ForkError):
            run(lambda: b"")
        after_failure = sys.getswitchinterval()
    finally:
        sys.setswitchinterval(before)

    assert after_success == chosen
    assert after_failure == chosen


ORPHAN = """
import mmap, os, threading, time
from leakmw import forked
shared = mmap.mmap(-1, 8)
def task():
    shared[:8] = os.getpid().to_bytes(8, "little")
    while True:
        pass
run = lambda: forked.run(task, lambda: None, seconds=600, memory_bytes=1 << 26)
threading.Thread(target=run, daemon=True).start()
while not any(shared[:8]):
    time.sleep(0.01)
print(int.from_bytes(shared[:8], "little"), flush=True)
os._exit(0)
"""


def test_the_child_dies_with_its_parent() -> None:
    """A worker that is killed leaves nothing behind that uses the CPU."""
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True
    )
    child = int(done.stdout)
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


STILLBORN = """
import ctypes, os, sys, threading, time
from leakmw import forked
def waits(*_):
    ctypes.PyDLL(None).pause()
forked._child = waits
run = lambda: forked.run(bytes, lambda: None, seconds=600, memory_bytes=1 << 26)
threading.Thread(target=run, daemon=True).start()
while not forked._children:
    time.sleep(0.001)
print(next(iter(forked._children))[1], flush=True)
"""


def test_a_child_that_does_not_live_yet_ends_with_its_parent(tmp_path: Path) -> None:
    """It has not asked for that, and would keep what it inherited open for ever."""
    said = tmp_path / "said"
    with said.open("w") as out:  # a pipe would be open as long as the child is
        subprocess.run([sys.executable, "-c", STILLBORN], stdout=out, check=True)
    child = int(said.read_text())
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


def test_no_child_is_forked_where_that_is_not_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said."""
    monkeypatch.setattr(forked, "AVAILABLE", False)
    with pytest.raises(forked.ForkError, match="not safe on this platform"):
        run(lambda: b"")
