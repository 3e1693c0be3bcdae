"""From a snapshot to the report on this worker, to the one on all of them, and into the log."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from leakmw import allocators
from leakmw.analysis.findings import findings, ranked
from leakmw.analysis.forecast import Level, seconds_to_limit
from leakmw.analysis.fragmentation import fragmentation
from leakmw.analysis.growths import joined
from leakmw.analysis.history import History, standing
from leakmw.analysis.native_findings import with_company
from leakmw.meters import summed
from leakmw.pace import presses
from leakmw.records import Report, State, Verdict
from leakmw.tracers.functions import described

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leakmw.analysis.growths import Analysis
    from leakmw.background import Outward
    from leakmw.fleet import Fleet
    from leakmw.looking import Looking
    from leakmw.records import (
        Change,
        Estimate,
        Failure,
        Finding,
        Memory,
        Remembered,
        Snapshot,
    )
    from leakmw.report.events import Events
    from leakmw.settings import Settings


class Reporting:
    """Makes reports and says them.

    Args:
        settings: What the user chose.

        events: Says them.

        outward: Calls what takes locks of the app.

        looking: Knows the heap.

        fleet: Knows the history of this worker, and all others.
    """

    def __init__(
        self,
        settings: Settings,
        events: Events,
        outward: Outward,
        looking: Looking,
        fleet: Fleet,
    ) -> None:
        self._settings = settings
        self._events = events
        self._outward = outward
        self._looking = looking
        self._fleet = fleet
        self._last: Snapshot | None = None
        self._found: tuple[Finding, ...] = ()
        self._limit_in: Estimate | None = None

    @property
    def in_question(self) -> bool:
        """Whether something grows of which nobody knows yet whether it is a leak, and presses."""
        known = self._fleet.known.values()
        suspected = [one.finding for one in known if one.state is State.SUSPECTED]
        found = [one for one in self._found if one.verdict is Verdict.SUSPECT]
        return any(presses(one.growth) for one in (*found, *suspected))

    @property
    def calm(self) -> bool:
        """Whether nothing is known, of any worker, that grows without end or may do so."""
        return not self._fleet.known and not any(one.grows for one in self._found)

    def report(self, last: Snapshot, *, wanted: bool = False) -> None:
        """Report on this worker, and on all of them if it is its turn.

        Args:
            last: The latest snapshot, with its digest.

            wanted: Whether somebody waits for the report on all of them.
        """
        analysis: Analysis = last.trace.digest
        self._last, self._found = last, self._judged(analysis, last.number, 1)
        self._limit_in = self._forecast()
        known = self._fleet.known
        shown = [standing(one, known.get(one.fingerprint)) for one in self._found]
        own = self._made(last, analysis, ranked(shown)[: self._settings.top])
        turn = self._fleet.publish(last, analysis.seen, own)
        self._fleet.store.own = own
        if turn or wanted:
            self.unite()
        said = self._fleet.store.report if self._fleet.alone else own
        self._outward(partial(self._events.report, said or own))

    def unite(self) -> None:
        """Report on all workers together, and say what has changed."""
        last = self._last
        if last is None:
            return
        started = time.thread_time()
        analysis: Analysis = last.trace.digest
        others = self._fleet.others(last.engine.name)
        found, whole = self._found, joined(analysis, others)
        if others:
            found = self._judged(whole, last.number, 1 + len(others))
        present = {finding.fingerprint for finding in found}

        def conclude(
            known: Mapping[str, Remembered],
            visits: Mapping[str, int],
            lately: Mapping[str, int] | None,
        ) -> tuple[Mapping[str, Remembered], Report, tuple[Report, Sequence[Change]]]:
            history = History(known)
            shown, changes = history.update(found[: self._settings.top], present, visits, lately)
            reported = ranked(shown)[: self._settings.top]
            report = self._made(last, whole, reported, 1 + len(others))
            return history.known, report, (report, changes)

        visits = {name: endpoint.visits for name, endpoint in last.endpoints.items()}
        seconds = time.thread_time() - started
        report, changes = self._fleet.unite(conclude, visits, seconds)
        self._fleet.store.report = report
        if changes:
            self._outward(partial(self._events.changes, report, changes))

    def look_for_holders(self) -> None:
        """Look for what holds the latest findings where no worker knows; tell all of them."""
        known = {
            fingerprint
            for fingerprint, one in self._fleet.known.items()
            if one.finding.holder is not None and one.finding.holder.grows_per_request is not None
        }
        last, company = self._last, not self._fleet.alone
        looked = self._looking.look_for_holders(known if company else ())
        if looked and company and last is not None:
            self._found = self._judged(last.trace.digest, last.number, 1)
            self.unite()

    def say(self, failure: Failure, count: int) -> None:
        """Log an error of leakmw's own."""
        self._outward(partial(self._events.self_error, failure, count))

    def _judged(self, analysis: Analysis, number: int, workers: int) -> tuple[Finding, ...]:
        """Return all findings, worst first."""
        confirmed = {
            fingerprint
            for fingerprint, known in self._fleet.known.items()
            if known.state is State.CONFIRMED
        }

        def garbage() -> int | None:
            here = self._looking.garbage(number)
            return here and here * workers  # nobody has looked at that of the others

        every = findings(analysis, self._settings, described, confirmed, garbage)
        every = self._looking.explained(every, collecting=analysis.collecting)
        return with_company([*every, *self._unused(analysis, number)], sys.modules)

    def _unused(self, analysis: Analysis, number: int) -> tuple[Finding, ...]:
        """Return what is to be said of memory that nothing uses."""
        if analysis.idle is None:
            return ()
        trimmed = self._looking.trimmed(number) if analysis.idle.c_heap else None
        return (fragmentation(analysis.idle, trimmed, allocators.arenas()),)

    def _made(
        self, last: Snapshot, analysis: Analysis, found: Sequence[Finding], workers: int = 1
    ) -> Report:
        return Report(
            id=last.id,
            taken_at=last.taken_at,
            service=self._settings.service,
            version=self._settings.version,
            worker=self._fleet.worker,
            engine=last.engine,
            window=analysis.window,
            memory=self._memory(last, workers),
            endpoints=analysis.endpoints,
            findings=tuple(found),
            notes=self._looking.notes(),
            workers=workers,
        )

    def _memory(self, last: Snapshot, workers: int) -> Memory:
        living = self._fleet.living() if workers > 1 else ()
        every = [one.memory for one in living if one.memory]
        return summed(every) if every else replace(last.memory, seconds_to_limit=self._limit_in)

    def _forecast(self) -> Estimate | None:
        """Return when the limit is met, as far as the same one left least room all the time."""
        levels: list[Level] = []
        for snapshot in self._fleet.store.snapshots:
            memory = snapshot.memory
            if memory.used_bytes is not None and memory.room_bytes is not None:
                level = Level(
                    snapshot.visits, snapshot.clock, memory.used_bytes, memory.room_bytes
                )
                levels.append(level)
        return seconds_to_limit(levels)
