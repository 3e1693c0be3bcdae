"""The end of a visit as something that a framework can call, or forget to."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Ending:
    """Ends a visit when it is called, or when whoever should have called it drops it.

    Args:
        end: Ends the visit, however often it is called.

        close: What to call first, once: it often holds the very object that holds this one.
    """

    __slots__ = ("_close", "_end")

    def __init__(self, end: Callable[[], None], close: Callable[[], object] | None = None) -> None:
        self._end = end
        self._close = close

    def __call__(self) -> None:
        """Close what there is to close, then end the visit."""
        close, self._close = self._close, None
        try:
            if close is not None:
                close()
        finally:
            self._end()

    def __del__(self) -> None:
        self._end()

    def __reduce__(self) -> tuple[type, tuple[type]]:
        # a cache pickles a response with all that is to be called at its end: nothing is, later
        return functools.partial, (int,)
