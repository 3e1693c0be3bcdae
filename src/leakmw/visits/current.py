"""Whose visit this is: it follows a request through tasks, and threads that copy context."""

from __future__ import annotations

from contextvars import ContextVar

from leakmw.records import Visit

CURRENT: ContextVar[Visit | None] = ContextVar("leakmw_visit", default=None)
"""The visit being served; ``None`` outside of visits."""

OURS = Visit()
"""What stands for a visit on leakmw's own thread, where nothing is sampled."""
OURS.finished = True
