"""A look at the heap in a forked child, where memory allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw import forked
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.forked import Outcome

TABLES_BYTES = 256 << 20
"""What the child may take for its tables on top of a copy of the process."""


class Child:
    """Forks for each look.

    Args:
        rss_bytes: Says what the process takes: to look at an object copies its page.

        room_bytes: Says what it may take more.

    Attributes:
        cpu_seconds: What the children have used.
    """

    def __init__(self, rss_bytes: Callable[[], int | None], room_bytes: Callable[[], int]) -> None:
        self._rss_bytes = rss_bytes
        self._room_bytes = room_bytes
        self.cpu_seconds = 0.0

    def run(self, task: Callable[[], bytes], seconds: float) -> Outcome:
        """Return what *task* says in the child.

        Args:
            task: As :func:`leakmw.forked.run` wants it.

            seconds: After which the child is killed.

        Raises:
            SnapshotError: If memory, time or the platform do not allow it now.
        """
        needed = self._affordable()
        try:
            outcome = forked.run(task, _nothing, seconds=seconds, memory_bytes=needed)
        except (forked.ForkError, forked.ChildError) as error:
            raise SnapshotError(str(error)) from error
        self.cpu_seconds += outcome.cpu_seconds
        return outcome

    def _affordable(self) -> int:
        """Return the bytes that the child may take; raise if the limits leave less."""
        needed = (self._rss_bytes() or 0) + TABLES_BYTES
        room = self._room_bytes()
        if room < needed:
            raise SnapshotError(
                f"garbage is not looked for: it takes up to {needed >> 20} MiB for a moment and "
                f"the memory limit leaves {room >> 20} MiB"
            )
        return needed


def _nothing() -> None:
    """Nothing is counted at the moment of this fork."""
