"""How often may be done what costs."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """Lets at most *calls* pass in any *seconds*; remembers that many moments, no callers.

    It takes no lock, so that a fork cannot leave one held: two threads in the same instant may
    both pass where one should, which costs one call more.
    """

    def __init__(
        self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._passed: deque[float] = deque(maxlen=calls)
        self._seconds = seconds
        self._clock = clock

    def wait(self) -> float:
        """Return 0 and count a call that may pass; else return the seconds until one may."""
        now = self._clock()
        if len(self._passed) == self._passed.maxlen:
            remaining = self._passed[0] + self._seconds - now
            if remaining > 0:
                return remaining
        self._passed.append(now)
        return 0.0
