"""Looks at the heap: for what holds what grows, for garbage, and for whoever asks."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import TYPE_CHECKING

from leakmw import allocators, meters
from leakmw.analysis.findings import ranked
from leakmw.analysis.history import visited
from leakmw.heap.child import Child
from leakmw.heap.explaining import explained
from leakmw.heap.garbage import Garbage
from leakmw.heap.inspector import Inspector
from leakmw.heap.search import Asked, Search
from leakmw.records import Holdings, SnapshotError
from leakmw.tracers.births import untraced
from leakmw.tracers.functions import described, short
from leakmw.tracers.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from leakmw.heap.search import Looked
    from leakmw.records import Answer, Births, Endpoint, Finding, Frame, Heap, Tracer


class Looking:
    """What is known of the heap beside what the tracer says.

    Args:
        tracer: Tells where things were born.

        endpoints: Counts the visits of every endpoint.

        failed: Told of errors that need not stop the work.

        top: Findings whose holders are looked for.

        sampled: Whether the tracer samples, so that a look needs no hook of tracemalloc's.
    """

    def __init__(
        self,
        tracer: Tracer,
        endpoints: Callable[[], Mapping[str, Endpoint]],
        failed: Callable[[str, BaseException], None],
        top: int,
        *,
        sampled: bool,
    ) -> None:
        self._tracer = tracer
        self._endpoints = endpoints
        self._failed = failed
        self._top = top
        self._garbage = Garbage(meters.rss_bytes, meters.room_bytes, failed)
        self._search = Search(meters.rss_bytes, meters.room_bytes, short)
        self._trim = allocators.Trim(failed)
        self._growing: list[Finding] = []
        self._collecting = True
        self._inspector = Inspector(
            Child(meters.rss_bytes, meters.room_bytes),
            tracer.born,
            tracemalloc.stop if sampled else untraced,
            _described,
            self._holdings,
        )

    @property
    def cpu_seconds(self) -> float:
        """CPU time that all looks have used."""
        lookers = (self._garbage, self._search, self._inspector, self._trim)
        return sum(one.cpu_seconds for one in lookers)

    def garbage(self, number: int) -> int | None:
        """Return the bytes of garbage in this process, looked for once at each snapshot.

        Args:
            number: Of the snapshot.
        """
        return self._garbage.waiting_at(number)

    def trimmed(self, number: int) -> int | None:
        """Return what the C heap would give back, tried in a child; ``None`` if not known.

        Args:
            number: Of the snapshot.
        """
        return self._trim.given_back(number)

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the tracer's figures must know, in plain sentences."""
        return self._tracer.notes()

    def explained(self, every: Sequence[Finding], *, collecting: bool) -> tuple[Finding, ...]:
        """Return findings with what is known of what holds them, worst first.

        Args:
            every: Worst first.

            collecting: Whether the garbage collector is on.
        """
        self._collecting = collecting
        self._growing = [one for one in every[: self._top] if one.grows and one.born]
        return tuple(ranked(self._told(one) if one.grows else one for one in every))

    def look_for_holders(self, known: Collection[str]) -> bool:
        """Look at the heap for what holds the latest findings, where that is due.

        It may take a child some seconds: the report is out by then, and the next one says it.

        Args:
            known: Fingerprints of those of which other workers know it.

        Returns:
            Whether it was looked at.
        """
        births = self._births()
        asked = [one for one in self._asked() if one.fingerprint not in known]
        if not births.told or not self._search.due(asked):
            return False
        try:
            self._look(births)
        except SnapshotError as error:
            self._failed("heap", error)
            return False
        return True

    def look(self, question: Callable[[Heap], Answer]) -> Answer:
        """Ask the heap.

        Raises:
            SnapshotError: If it cannot be told now.
        """
        return question(self._inspector)

    def _told(self, finding: Finding) -> Finding:
        known = self._search.known(finding.fingerprint)
        return explained(finding, known, collecting=self._collecting)

    def _asked(self) -> list[Asked]:
        return [Asked(one.fingerprint, partial(self._visited, one)) for one in self._growing]

    def _visited(self, finding: Finding) -> int:
        counts = {name: endpoint.visits for name, endpoint in self._endpoints().items()}
        return visited(finding, counts)

    def _births(self) -> Births:
        wanted: dict[tuple[str, int], dict[str, str]] = {}
        for one in self._growing:
            if one.born is not None:
                place = wanted.setdefault((one.born.file, one.born.line), {})
                place[one.growth.endpoint] = one.fingerprint
        return self._tracer.births(wanted, views(self._endpoints()))

    def _look(self, births: Births, *, types: bool = False) -> Looked:
        own = Ownership(views(self._endpoints())).own
        return self._search.look(self._asked(), births, own, types=types)

    def _holdings(self) -> Holdings:
        """Look at the heap because somebody asks for it.

        Raises:
            SnapshotError: If it cannot be looked at.
        """
        looked = self._look(self._births(), types=True)
        return Holdings(
            objects=looked.seen.objects,
            containers=tuple(looked.seen.containers),
            types=tuple(looked.seen.types),
            findings=tuple(map(self._told, self._growing)),
            seconds=looked.seconds,
            pause_seconds=looked.pause_seconds,
        )


def views(endpoints: Mapping[str, Endpoint]) -> frozenset[str]:
    """Return the files in which the app's views stand."""
    return frozenset(span.file for endpoint in endpoints.values() for span in endpoint.views)


def _described(frames: Iterable[Frame]) -> Sequence[Frame]:
    return described(tuple(frames))
