"""The end of a visit as something that a framework can call, or forget to."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leakmw.records import Visit


class Droppable:
    """What should end a visit, and does so at the latest when it is dropped.

    Some servers forget to close what they have sent, and a visit must not stay in flight for ever.
    It has no constructor, which would cost each visit a call.

    Attributes:
        finish: Ends a visit, however often it is called.

        visit: The visit.
    """

    __slots__ = ()

    finish: Callable[..., None]
    visit: Visit

    def __del__(self) -> None:
        if not self.visit.finished:
            self.finish(self.visit)


class NamedEnding(Droppable):
    """Ends a visit that has a name when it is called, or when whoever should have drops it."""

    __slots__ = ("finish", "visit")

    def __call__(self) -> None:
        """End the visit, however often this is called."""
        self.finish(self.visit)

    def __reduce__(self) -> tuple[type, tuple[type]]:
        # a cache pickles a response with all that is to be called at its end: nothing is, later
        return functools.partial, (int,)


class Ending(NamedEnding):
    """The same for a visit that may have no name yet, behind something else to be closed.

    Args:
        finish: Ends a visit, named from its environ, however often it is called.

        visit: The visit.

        environ: Of its request.

        close: What to call first, once: it often holds the very object that holds this one.
    """

    __slots__ = ("_close", "_environ")

    def __init__(
        self,
        finish: Callable[[Visit, Mapping[str, Any]], None],
        visit: Visit,
        environ: Mapping[str, Any],
        close: Callable[[], object] | None,
    ) -> None:
        self.finish = finish
        self.visit = visit
        self._environ = environ
        self._close = close

    def __call__(self) -> None:
        """Close what there is to close, then end the visit."""
        close, self._close = self._close, None
        try:
            if close is not None:
                close()
        finally:
            self.finish(self.visit, self._environ)

    def __del__(self) -> None:
        if not self.visit.finished:
            self.finish(self.visit, self._environ)
