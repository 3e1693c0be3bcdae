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


class NoChildError(SnapshotError):
    """None can be forked."""


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

    def run(
        self,
        task: Callable[[], bytes],
        seconds: float,
        mark: Callable[[], object] = bool,
        tables_bytes: int = TABLES_BYTES,
    ) -> Outcome:
        """Return what *task* says in the child.

        Args:
            task: As :func:`leakmw.forked.run` wants it.

            seconds: After which the child is killed.

            mark: Called at the moment of the fork.

            tables_bytes: What the child may take for its tables.

        Raises:
            NoChildError: If the platform does not allow it, now or ever.
            SnapshotError: If memory or time do not.
        """
        needed = self._affordable(tables_bytes)
        try:
            outcome = forked.run(task, mark, seconds=seconds, memory_bytes=needed)
        except forked.ForkError as error:
            raise NoChildError(str(error)) from error
        except forked.ChildError as error:
            raise SnapshotError(str(error)) from error
        self.cpu_seconds += outcome.cpu_seconds
        return outcome

    def _affordable(self, tables_bytes: int) -> int:
        """Return the bytes that the child may take; raise if the limits leave less."""
        needed = (self._rss_bytes() or 0) + tables_bytes
        room = self._room_bytes()
        if room < needed:
            raise SnapshotError(
                f"the heap is not looked at: it takes up to {needed >> 20} MiB for a moment and "
                f"the memory limit leaves {room >> 20} MiB"
            )
        return needed
