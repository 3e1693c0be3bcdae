"""The one background thread per process: a real thread in any process model."""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Outward = Callable[[Callable[[], object]], object]
    """Calls a function, maybe later and elsewhere."""

THREAD_NAME = "leakmw"


class Process:
    """The process that this code runs in, without a system call for each look.

    Attributes:
        pid: Its id, also after a fork.
    """

    __slots__ = ("pid",)

    def __init__(self) -> None:
        self.look()
        os.register_at_fork(after_in_child=self.look)

    def look(self) -> None:
        """Ask the system; all that may safely be done in a forked child."""
        self.pid = os.getpid()


process = Process()


def native(module: str, name: str) -> Any:
    """Return *name* of *module* as it was before gevent patched it.

    Under gevent a patched thread is a greenlet: analysis on it would stop every request.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(__import__(module), name)


_app_interval: dict[None, float] = {}
"""The app's own switch interval while it is another: a process that the app forks just then, and
another monitor's thread, know by it what to put back."""

BRISK_SECONDS = 0.0005
"""How long a thread of the app waits until it asks leakmw's for the GIL."""


@contextmanager
def switching(
    choose: Callable[[float], float], before: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Have threads ask for the GIL sooner or later than the app has it, for the time of a block.

    Args:
        choose: Returns the seconds from those of the app.

        before: Called immediately before the change.
    """
    interval = _app_interval.setdefault(None, sys.getswitchinterval())
    chosen, change = choose(interval), sys.setswitchinterval
    before()
    change(chosen)
    try:
        yield
    finally:
        # Python cuts it to whole microseconds: without the half each time would take one off
        sys.setswitchinterval(interval + 5e-7)
        _app_interval.pop(None, None)


def giving_way() -> AbstractContextManager[None]:
    """Compute for the time of a block such that the app's threads hardly wait for the GIL."""
    return switching(lambda interval: min(interval, BRISK_SECONDS))


def outward() -> Outward:
    """Return what calls a function that takes locks of the app, as logging does.

    Under gevent they are gevent's, and a greenlet that waits for one which a native thread gives
    back may never be woken. The function is called in a greenlet then, beside the one that asks.
    """
    if not _patched():
        return lambda call: call()
    gevent = sys.modules["gevent"]
    loop = gevent.get_hub().loop
    return lambda call: loop.run_callback_threadsafe(gevent.spawn, call)


def _patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class Background:
    """A daemon thread that runs one callable whenever it is woken.

    The thread ends when its owner is collected or calls :meth:`stop`: an app that is thrown away,
    as test suites do by the hundred, leaves no thread behind.

    Args:
        owner: Passed to *work*, and only held weakly.

        work: Called on the thread with the owner after each :meth:`wake`.

        tick: Called on the thread with the owner from time to time; returns in how many seconds
            again, ``None`` for not before the next work.

        end: Called on the thread at its end, without the owner.
    """

    def __init__(
        self,
        owner: Any,
        work: Callable[[Any], None],
        tick: Callable[[Any], float | None],
        end: Callable[[], None],
    ) -> None:
        # SimpleQueue.put takes no Python lock: finalizers and signal handlers may call it
        self._calls = native("queue", "SimpleQueue")()
        finalizer = weakref.finalize(owner, self._calls.put, False)
        finalizer.atexit = False
        native("_thread", "start_new_thread")(
            _loop, (self._calls, weakref.ref(owner), work, tick, end)
        )

    def wake(self) -> None:
        """Have the work done once, soon."""
        self._calls.put(True)

    def stop(self) -> None:
        """End the thread after the work it is at."""
        self._calls.put(False)


def _next(calls: Any, seconds: float | None) -> bool | None:
    """Wait for a call; those that have piled up meanwhile are answered by the same work.

    Returns:
        Whether to go on; ``None`` if nobody has called for so many *seconds*.
    """
    try:
        go_on: bool = calls.get(timeout=seconds)
    except native("queue", "Empty"):
        return None
    while go_on and not calls.empty():
        go_on = calls.get()
    return go_on


def _loop(
    calls: Any,
    owner: weakref.ref[Any],
    work: Callable[[Any], None],
    tick: Callable[[Any], float | None],
    end: Callable[[], None],
) -> None:
    # the app's signals go to the app's threads, and a child forked from here inherits the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if not _patched():  # finding the current thread takes a lock
        threading.current_thread().name = THREAD_NAME
    seconds: float | None = None
    try:
        while (called := _next(calls, seconds)) is not False:
            alive = owner()
            if alive is None:
                return
            if called:
                work(alive)
            seconds = tick(alive)
            del alive
    finally:
        end()
