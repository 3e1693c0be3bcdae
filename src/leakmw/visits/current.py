"""Whose visit this is: it follows a request through tasks, and threads that copy context."""

from __future__ import annotations

from contextvars import ContextVar

from leakmw.records import Visit

CURRENT: ContextVar[Visit | None] = ContextVar("leakmw_visit", default=None)
"""The visit being served; ``None`` outside of visits."""

OURS = Visit()
"""What stands for a visit on leakmw's own thread, where nothing is sampled."""


def enter(visit: Visit) -> None:
    """Make *visit* the current one, also when it begins in the middle of another."""
    outer = CURRENT.get()
    if outer is not None and not outer.finished:
        visit.outer = outer
    CURRENT.set(visit)


def leave(visit: Visit) -> None:
    """Make the visit that *visit* began in the current one again.

    It may end in another context than it began in, such as a finalizer's: that one keeps its own.
    """
    if CURRENT.get() is visit:
        CURRENT.set(visit.outer)
    visit.outer = None
