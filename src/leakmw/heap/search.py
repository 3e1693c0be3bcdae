"""Looks for what holds each growth, at a bounded rate, and remembers what was found."""

from __future__ import annotations

import pickle
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from leakmw.background import giving_way
from leakmw.heap.child import Child, NoChildError
from leakmw.heap.roots import frames
from leakmw.heap.walk import Ask, Look, look
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from leakmw.heap.walk import Found
    from leakmw.records import Births

DEADLINE_SECONDS = 120.0
"""After which the child that walks the heap is killed."""

BLOCK_BYTES = 64
"""What its tables take for each block that Python has; 40 to 50 measured."""

LEAST_BYTES = 128 << 20
"""What the child may take however small the heap is."""

FREE_LOOKS = 3
"""Looks that are taken whatever they cost."""

SHARE = 0.01
"""Of the CPU time of the process, that further looks may take."""

IN_PROCESS_BLOCKS = 1_000_000
"""Blocks of Python up to which the heap may be walked in this process, where it cannot fork."""

REMEMBERED = 100
"""Findings whose holders are known; those found longest ago go first."""


class Reading(NamedTuple):
    """The length of a holder at one look.

    Attributes:
        address: Of the container.
        length: Its entries.
        visits: Of the endpoint, so far.
    """

    address: int
    length: int | None
    visits: int


class Known(NamedTuple):
    """What is known of what holds a growth.

    Attributes:
        found: At the last look.
        first: Its length when this holder was first seen.
        last: At the last look.
    """

    found: Found
    first: Reading
    last: Reading

    @property
    def grows_per_request(self) -> float | None:
        """Entries that a request of the endpoint adds; ``None`` where one look alone was taken."""
        visits = self.last.visits - self.first.visits
        if self.first.length is None or self.last.length is None or visits <= 0:
            return None
        return (self.last.length - self.first.length) / visits


class Asked(NamedTuple):
    """A growth whose holder is to be found.

    Attributes:
        fingerprint: Of the finding.
        visits: Counts those of its endpoint.
    """

    fingerprint: str
    visits: Callable[[], int]


class Looked(NamedTuple):
    """A look at the heap.

    Attributes:
        seen: What was seen.
        seconds: How long it took.
        pause_seconds: How long the process stood still for it; ``None`` where it did not fork.
    """

    seen: Look
    seconds: float
    pause_seconds: float | None


class Search:
    """Finds holders, and remembers them.

    Args:
        rss_bytes: Says what the process takes: to look at an object copies its page.

        room_bytes: Says what it may take more.

        shorten: Shortens the name of a file.
    """

    def __init__(
        self,
        rss_bytes: Callable[[], int | None],
        room_bytes: Callable[[], int],
        shorten: Callable[[str], str],
    ) -> None:
        self._child = Child(rss_bytes, room_bytes)
        self._shorten = shorten
        self._lengths: Mapping[str, int] = {}
        self._known: dict[str, Known] = {}
        self._looks = 0
        self._own_seconds = 0.0

    @property
    def cpu_seconds(self) -> float:
        """What looking has used."""
        return self._child.cpu_seconds + self._own_seconds

    def known(self, fingerprint: str) -> Known | None:
        """Return what is known of what holds a finding."""
        return self._known.get(fingerprint)

    def due(self, asked: Sequence[Asked]) -> bool:
        """Say whether the heap is to be looked at now for what is *asked*."""
        if not asked:
            return False
        if self._looks >= FREE_LOOKS:
            return self.cpu_seconds <= SHARE * time.process_time()
        return any(self._is_open(one) for one in asked)

    def _is_open(self, one: Asked) -> bool:
        known = self._known.get(one.fingerprint)
        return known is None or known.grows_per_request is None

    def look(
        self,
        asked: Sequence[Asked],
        births: Births,
        own: Callable[[str], bool],
        *,
        types: bool = False,
    ) -> Looked:
        """Look at the heap, and remember what holds what is *asked*.

        Args:
            asked: Most important first.

            births: Tells by fingerprint whose an object is.

            own: Says whether a file is the app's.

            types: Whether to count objects by type, too.

        Raises:
            SnapshotError: If it cannot be looked at.
        """
        self._looks += 1
        started = time.perf_counter()
        stacks: dict[int, FrameType] = {}
        visits: dict[str, int] = {}

        def mark() -> None:
            visits.update((one.fingerprint, one.visits()) for one in asked)
            stacks.clear()
            stacks.update(frames())

        origins = [one.fingerprint for one in asked]
        ask = Ask(births, own, self._shorten, stacks, self._lengths, origins, types=types)
        try:
            seen, pause = self._taken(ask, mark)
        finally:
            stacks.clear()  # frames of the app: not kept
        self._lengths = seen.lengths
        for fingerprint, found in seen.found:
            self._remember(fingerprint, found, visits[fingerprint])
        return Looked(seen, time.perf_counter() - started, pause)

    def _remember(self, fingerprint: str, found: Found, visits: int) -> None:
        last = Reading(found.address, found.length, visits)
        before = self._known.pop(fingerprint, None)
        same = before is not None and (
            before.last.address == last.address and before.found.kind == found.kind
        )
        self._known[fingerprint] = Known(found, before.first if before and same else last, last)
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def _taken(self, ask: Ask, mark: Callable[[], object]) -> tuple[Look, float | None]:
        """Return what was seen, and how long the process stood still for it."""

        def work() -> bytes:
            return pickle.dumps(look(ask))

        tables = max(LEAST_BYTES, BLOCK_BYTES * sys.getallocatedblocks())
        try:
            outcome = self._child.run(work, DEADLINE_SECONDS, mark, tables)
        except NoChildError as error:
            return self._here(ask, mark, str(error)), None
        seen: Look = pickle.loads(outcome.result)  # noqa: S301  # our own child's
        return seen, outcome.pause_seconds

    def _here(self, ask: Ask, mark: Callable[[], object], reason: str) -> Look:
        """Look without a copy of the process, giving way to its threads all the time."""
        blocks = sys.getallocatedblocks()
        if blocks > IN_PROCESS_BLOCKS:
            raise SnapshotError(
                f"the heap is not looked at: {reason}, and a walk through {blocks:,} blocks in "
                "this process would disturb it for too long"
            )
        started = time.thread_time()
        with giving_way():
            mark()
            try:
                return look(ask._replace(copied=False))
            except RuntimeError as error:  # a dictionary has changed while it was looked at
                raise SnapshotError(
                    f"the heap is not looked at: {reason}, and it has changed meanwhile"
                ) from error
            finally:
                self._own_seconds += time.thread_time() - started
