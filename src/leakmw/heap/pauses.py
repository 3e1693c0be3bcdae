"""What collections take and bring, by generation and endpoint, from ``gc.callbacks``.

That list is the app's. What stands in it of leakmw's is one callable, added at its end while
somebody watches; whatever else is in there stays as and where it is.
"""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from leakmw.background import process
from leakmw.records import BACKGROUND, OTHER, Collecting, Collections

try:
    from leakmw.heap import _collector
except ImportError:
    _built = False
else:
    _built = True

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextvars import ContextVar


class _Watch:
    """The one callback of a process, which all who watch in it share.

    Attributes:
        since: When it began to count.
    """

    def __init__(self) -> None:
        self.since = datetime.now(UTC)
        self._pid = 0
        self._users: set[Pauses] = set()

    def join(self, user: Pauses, visit: ContextVar[Any] | None, ours: object) -> None:
        """Count from now on, unless this process does."""
        if self._pid != process.pid:  # a forked child inherits what its parent has counted
            self._pid, self._users = process.pid, set()
        if not self._users:
            _collector.watch(visit, ours)
            self.since = datetime.now(UTC)
        self._users.add(user)
        if _place() is None:  # also if somebody has emptied the list meanwhile
            gc.callbacks.append(_collector.collected)

    def leave(self, user: Pauses) -> None:
        """End counting when nobody needs it any more."""
        if self._pid != process.pid:
            return
        self._users.discard(user)
        if not self._users:
            _remove()
            _collector.unwatch()


def _place() -> int | None:
    """Return where the callback stands. By identity: another's comparison is code of the app."""
    ours = _collector.collected
    return next((place for place, one in enumerate(gc.callbacks) if one is ours), None)


def _remove() -> None:
    while (place := _place()) is not None:
        taken = gc.callbacks.pop(place)
        if taken is not _collector.collected:  # the list has moved between the look and the hand
            gc.callbacks.insert(place, taken)


_watch = _Watch()


class Pauses:
    """Counts collections of this process.

    Args:
        visit: Holds the current visit; ``None`` where nobody sets it.

        ours: Its value on leakmw's own thread.
    """

    def __init__(self, visit: ContextVar[Any] | None, ours: object) -> None:
        self._visit = visit
        self._ours = ours
        self._joined = False

    def start(self) -> None:
        """Begin to count, where this Python can; safe to call again."""
        if not _built:
            return
        try:
            _watch.join(self, self._visit, self._ours)
        except RuntimeError:  # not in the main interpreter
            return
        self._joined = True

    def stop(self) -> None:
        """End it, if nobody else in this process counts."""
        if self._joined:
            self._joined = False
            _watch.leave(self)

    def read(self) -> Collecting | None:
        """Return what was counted so far; ``None`` where nobody counts."""
        if not self._joined:
            return None
        since = _watch.since
        totals, accounts = _collector.read()
        endpoints = None if self._visit is None else _by_name(accounts)
        return Collecting(since, _collections(totals), endpoints)


def _by_name(
    accounts: Iterable[tuple[Any, _collector.Sums]],
) -> dict[str | None, tuple[Collections, ...]]:
    """Add up what has the same name: each monitor has its own record of an endpoint."""
    unnamed = iter((BACKGROUND, None, OTHER))
    found: dict[str | None, tuple[Collections, ...]] = {}
    for tally, sums in accounts:
        name = next(unnamed) if tally is None else tally.name
        new = _collections(sums)
        found[name] = tuple(map(_sum, found[name], new)) if name in found else new
    return {name: sums for name, sums in found.items() if any(one.times for one in sums)}


def _collections(sums: _collector.Sums) -> tuple[Collections, ...]:
    return tuple(Collections(generation, *one) for generation, one in enumerate(sums))


def _sum(one: Collections, other: Collections) -> Collections:
    return Collections(
        one.generation,
        one.times + other.times,
        one.seconds + other.seconds,
        max(one.longest_seconds, other.longest_seconds),
        one.collected + other.collected,
        one.uncollectable + other.uncollectable,
    )
