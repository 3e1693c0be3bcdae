"""Start, stop, read and fork at once, from several threads, while all of them allocate.

python tests/torture/loop.py [--seconds 300]

Exit status 0 if nothing crashed, hung, was lost or freed twice.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import random
import signal
import sys
import threading
import time
import tracemalloc
import warnings
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING

from leakmw.heap import _collector
from leakmw.tracers import _sampler
from leakmw.tracers.samples import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable

VISIT: ContextVar[object] = ContextVar("torture_visit", default=None)
OURS = object()
CHILD_SECONDS = 60
"""After which a child counts as hung."""

chance = random.Random(1)
done: Counter[str] = Counter()


def allocate() -> None:
    """Make, grow and free blocks of many sizes, in visits and outside of them."""
    VISIT.set(chance.choice([None, OURS, object()]))
    kept = [bytearray(number % 700) for number in range(300)]
    for one in kept:
        one.extend(b"x" * 50)
    scope: dict[str, object] = {}
    exec("def made_at_run_time(): return [[n] for n in range(50)]", scope)  # noqa: S102
    made: Callable[[], object] = scope["made_at_run_time"]  # type: ignore[assignment]
    made()


def restart() -> None:
    """Begin anew, now and then with an end before."""
    if chance.random() < 0.3:
        _sampler.stop()
    interval = chance.choice([64.0, 256.0, 4096.0])
    _sampler.start(VISIT, OURS, 32, chance.choice([0.0, 0.01]), interval, chance.getrandbits(64))


def read() -> None:
    """Read all samples and look up their frames."""
    records, visits = _sampler.read()
    if len(records) != RECORD.size * len(visits):
        raise AssertionError("records and visits differ in number")
    for node, _, size, interval, _ in RECORD.iter_unpack(records):
        if size < 0 or interval <= 0:
            raise AssertionError("a record makes no sense")
        while node:
            node = _sampler.frame(node)[0]  # noqa: PLW2901  # up the traceback
    _sampler.release(records)


class Thing:
    """Something that knows where it was born."""


def births() -> None:
    """Ask many things where they were born, while samples come and go."""
    for one in [Thing() for _ in range(500)]:
        for frame in _sampler.birth(one) or ():
            if len(frame) != 3:
                raise AssertionError("a frame makes no sense")


def collections() -> None:
    """Collect in visits of all kinds, and read what was counted; begin anew now and then."""
    if chance.random() < 0.05:
        _collector.watch(VISIT, OURS)
    for _ in range(300):
        VISIT.set(chance.choice([None, OURS, object()]))
        gc.collect(0)
    totals, of_endpoints = _collector.read()
    if len(totals) != 3 or len(of_endpoints) < 3:
        raise AssertionError("what was counted makes no sense")


ALONE = threading.Lock()
"""Held by who is in the raw domain without the GIL. Python itself is not made for others there
while tracemalloc sets its functions one by one, or while a fork copies tracemalloc's lock."""


def fork() -> None:
    """Have a child do all of it once."""
    with ALONE:
        pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_SECONDS)
        try:
            for step in (restart, allocate, births, collections, read, _sampler.stop):
                step()
        except BaseException:  # noqa: BLE001  # the status says it
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if status:
        raise AssertionError(f"a child ended with {status}")


def cover() -> None:
    """Put tracemalloc on top, and take it away."""
    with ALONE:
        tracemalloc.start(3)
        time.sleep(0.005)
        tracemalloc.stop()
    time.sleep(0.02)


LIBRARY = ctypes.CDLL(None)
LIBRARY.PyMem_RawMalloc.restype = ctypes.c_void_p
LIBRARY.PyMem_RawMalloc.argtypes = (ctypes.c_size_t,)
LIBRARY.PyMem_RawFree.argtypes = (ctypes.c_void_p,)


def unlocked() -> None:
    """Allocate and free beside all that is sampled, without the GIL."""
    with ALONE:
        for one in [LIBRARY.PyMem_RawMalloc(chance.randrange(1, 2000)) for _ in range(3)]:
            LIBRARY.PyMem_RawFree(one)
    time.sleep(0.02)  # or nobody else would get in


def main() -> int:
    """Run for the time given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    until = time.monotonic() + parser.parse_args().seconds
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, as meant here
    failed: list[str] = []

    def repeat(step: Callable[[], None]) -> None:
        while time.monotonic() < until and not failed:
            try:
                step()
            except BaseException as error:  # noqa: BLE001  # of any thread
                failed.append(f"{step.__name__}: {error!r}")
            done[step.__name__] += 1

    steps = (
        *(allocate, allocate, allocate, restart, restart, read, read),
        *(births, collections, fork, cover, unlocked, unlocked),
    )
    gc.callbacks.append(_collector.collected)
    threads = [threading.Thread(target=repeat, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.callbacks.remove(_collector.collected)
    _collector.unwatch()
    _sampler.stop()
    figures = _sampler.figures()
    left = {name: figures[name] for name in ("live", "nodes")}
    said = f"{dict(done)}; left {left}; {failed or 'nothing failed'}"
    sys.stdout.write(f"{sys.version.split()[0]}: {said}\n")
    return 1 if failed or any(left.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
