"""The end of a visit as something that a framework can call, or forget to."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leakmw.records import Visit


class Ending:
    """Ends a visit when it is called, or when whoever should have called it drops it.

    Args:
        finish: Ends a visit, named from its environ, however often it is called.

        visit: The visit.

        environ: Of its request; ``None`` where it has a name by now.

        close: What to call first, once: it often holds the very object that holds this one.
    """

    __slots__ = ("_close", "_environ", "_finish", "_visit")

    def __init__(
        self,
        finish: Callable[[Visit, Mapping[str, Any] | None], None],
        visit: Visit,
        environ: Mapping[str, Any] | None = None,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._finish = finish
        self._visit = visit
        self._environ = environ
        self._close = close

    def __call__(self) -> None:
        """Close what there is to close, then end the visit."""
        close, self._close = self._close, None
        try:
            if close is not None:
                close()
        finally:
            self._finish(self._visit, self._environ)

    def __del__(self) -> None:
        if not self._visit.finished:
            self._finish(self._visit, self._environ)

    def __reduce__(self) -> tuple[type, tuple[type]]:
        return _NOTHING


class NamedEnding:
    """The same for a visit that has a name, with nothing else to close.

    It has no constructor of its own, which would cost each visit a call.

    Attributes:
        finish: Ends a visit, however often it is called.

        visit: The visit.
    """

    __slots__ = ("finish", "visit")

    finish: Callable[[Visit], None]
    visit: Visit

    def __call__(self) -> None:
        """End the visit, however often this is called."""
        self.finish(self.visit)

    def __del__(self) -> None:
        if not self.visit.finished:
            self.finish(self.visit)

    def __reduce__(self) -> tuple[type, tuple[type]]:
        return _NOTHING


_NOTHING = functools.partial, (int,)
"""What is left of an ending when it is pickled, as a cache does with a response and all that is to
be called at its end: something that does nothing."""
