"""Starts what others offer, as their documentation says, around an app of the benchmarks."""

from __future__ import annotations

import tempfile
import tracemalloc
from typing import Any

FRAMES = 32
INTERVAL = 512 << 10
"""Mean bytes between two samples: the default of those that sample."""

_kept: list[Any] = []


def _tracemalloc(frames: int) -> None:
    tracemalloc.start(frames)


def _ddtrace() -> None:
    from ddtrace.profiling.collector import _memalloc

    _memalloc.start(FRAMES, INTERVAL, True)  # as its own collector calls it


def _pyroscope() -> None:
    import pyroscope

    pyroscope.configure(
        application_name="benchmark",
        server_address="http://127.0.0.1:9",  # nobody listens: what is sent is not the question
        cpu_enabled=False,
        mem_enabled=True,
        mem_max_nframe=FRAMES,
        mem_heap_sample_size=INTERVAL,
    )


def _memray() -> None:
    import memray

    folder = tempfile.TemporaryDirectory()  # removed when the worker ends
    tracker = memray.Tracker(f"{folder.name}/memray.bin")
    tracker.__enter__()
    _kept.append((folder, tracker))


STARTS = {
    "tracemalloc 1": lambda: _tracemalloc(1),
    "tracemalloc 25": lambda: _tracemalloc(25),
    "ddtrace": _ddtrace,
    "pyroscope": _pyroscope,
    "memray": _memray,
}


def wrapped(app: Any, variant: str) -> Any:
    """Return the WSGI app with a peer at work."""
    if variant == "dozer":
        from dozer import Dozer

        return Dozer(app)
    if variant in STARTS:
        STARTS[variant]()
    return app
