"""Tells workers that something was left for them: reading that from the store costs more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 4096
"""Of the file, which has a byte for each ring; then it is begun anew."""

Sound = tuple[int, int, int] | None


class Bell:
    """A file that is another one for whoever looks at it after each ring.

    Args:
        store: The file of the store, beside which it lies.
    """

    def __init__(self, store: Path) -> None:
        self._file = store.with_name(f"{store.name}-bell")

    def ring(self) -> None:
        """Ring it, after what is to be found is there.

        Raises:
            OSError: If that cannot be.
        """
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size >= MOST_BYTES:
                os.ftruncate(descriptor, 0)
            # its time alone may be the same for two rings
            os.write(descriptor, b".")
        finally:
            os.close(descriptor)

    def sound(self) -> Sound:
        """Return what is another one after each ring; ``None`` if it was never rung."""
        try:
            facts = os.stat(self._file)  # noqa: PTH116  # each second, in each worker
        except OSError:
            return None
        return facts.st_ino, facts.st_size, facts.st_mtime_ns
