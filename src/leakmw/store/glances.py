"""The glances at the C heap between snapshots."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from leakmw.records import MAX_GLANCES, Glance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leakmw.records import Endpoint


class Glances:
    """Keeps the first glances that were wanted, each with the visits since the one before.

    Attributes:
        taken: Oldest first.
    """

    def __init__(self) -> None:
        self.taken: tuple[Glance, ...] = ()
        self._wanted = False
        self._visits: Mapping[str, int] = {}

    @property
    def wanted(self) -> bool:
        """Whether more of them may tell something."""
        return self._wanted and len(self.taken) < MAX_GLANCES

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        if wanted and not self._wanted:
            self.taken = ()  # nobody has counted the visits since the last one
        self._wanted = wanted

    def take(self, native_bytes: int | None, endpoints: Mapping[str, Endpoint]) -> None:
        """Keep a glance.

        Args:
            native_bytes: The C heap in use; ``None`` if it was not read.

            endpoints: Every endpoint with its visits so far.
        """
        if native_bytes is None:
            return
        visits = {name: endpoint.visits for name, endpoint in endpoints.items()}
        before = self._visits if self.taken else visits
        since = {
            name: more for name, count in visits.items() if (more := count - before.get(name, 0))
        }
        self.taken = (*self.taken, Glance(time.monotonic(), since, native_bytes))
        self._visits = visits
