"""Names for apps without routes: their paths, as long as there are few of them."""

from __future__ import annotations

from functools import lru_cache

from leakmw.records import METHODS, OTHER, OTHER_METHOD, Route

CAP = 50
"""Paths of one app that become names of their own."""

MAX_LENGTH = 150
"""Longest path, in characters, that becomes a name."""


class Paths:
    """The first paths that an app answered; whatever a scanner sends, they stay few.

    Takes no lock, as a visit may be named in a finalizer: a slot is claimed by one step of an
    iterator, which no other thread can share.
    """

    __slots__ = ("_known", "_slots")

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._slots = iter(range(CAP))

    def route(self, method: str, path: str, *, found: bool) -> Route:
        """Return what stands for a route.

        Args:
            method: HTTP method, or ``WS`` for a websocket.

            path: Path below the app, percent-decoded, with its first slash.

            found: Whether the app knew it: ``False`` when it answered 404 or 405.

        Returns:
            One with the path itself as its template, ``(other)`` once there are too many, or
            ``None`` when it was not found.
        """
        known = method if method in METHODS else OTHER_METHOD
        return _route(known, self._template(path) if found else None)

    def _template(self, path: str) -> str:
        if path in self._known:
            return path
        if not _is_plain(path) or next(self._slots, None) is None:
            return OTHER
        self._known.add(path)
        return path


@lru_cache(maxsize=1024)
def _route(method: str, template: str | None) -> Route:
    # the same few again and again, and a named tuple takes as long to make as all else here
    return Route(method, template)


def _is_plain(path: str) -> bool:
    """Return whether *path* can stand in a log line: a client may send anything."""
    return path.startswith("/") and len(path) <= MAX_LENGTH and path.isprintable()
