"""Samples everything that a Python process allocates from its start, at the interval given."""

import os
from contextvars import ContextVar

if interval := os.environ.get("LEAKMW_TORTURE"):
    from leakmw.tracers import _sampler

    MEAN = float(interval)
    VISIT: ContextVar[object] = ContextVar("torture_visit", default=None)
    VISIT.set("a visit")

    def begin() -> None:
        """Begin sampling; also in a forked child, which has inherited its parent's samples."""
        _sampler.start(VISIT, object(), 32, 0.0, MEAN, os.getpid())

    begin()
    os.register_at_fork(after_in_child=begin)
