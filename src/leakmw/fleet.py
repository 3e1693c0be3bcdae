"""All workers of an app as one, through the store they share; or this one alone, without it.

Lives on the background thread. Whatever fails with the store is said once, and this worker then
goes on alone until the store is there again.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from leakmw import meters
from leakmw.analysis.wire import packed, unpacked
from leakmw.records import Live, Profile, WorkerStatus
from leakmw.store.cadence import Cadence
from leakmw.store.commands import Commands
from leakmw.store.database import Database
from leakmw.store.failure import StoreError
from leakmw.store.files import located
from leakmw.store.memory import MemoryStore
from leakmw.store.release import release
from leakmw.store.shared import SharedStore, Told
from leakmw.store.view import View
from leakmw.tracers.functions import described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from leakmw.analysis.together import Seen
    from leakmw.records import Endpoint, Memory, Remembered, Report, Snapshot, Traceback, Worker
    from leakmw.settings import Settings

Outcome = TypeVar("Outcome")
Concluded_co = TypeVar("Concluded_co", covariant=True)


class Conclude(Protocol[Concluded_co]):
    """Says what follows from what is remembered."""

    def __call__(
        self,
        known: Mapping[str, Remembered],
        visits: Mapping[str, int],
        lately: Mapping[str, int] | None,
        /,
    ) -> tuple[Mapping[str, Remembered], Report, Concluded_co]:
        """Return what is to be remembered, the report on all workers, and anything.

        Args:
            known: What is remembered of findings, by fingerprint.

            visits: Of each endpoint, since anything is remembered.

            lately: Of each endpoint, of this version of the app; ``None`` where that is the same.
        """


SPEAK_SHARE = 10
"""Part of a window after which a worker tells how many visits it has had: it may end before its
first snapshot, and the next one must know."""

SPEAK_SECONDS = 60.0
"""The same where nobody visits, and once there is a snapshot: it takes about 1 ms."""

AGAIN_SECONDS = 1.0
"""After which it is looked whether it is a worker's turn, where it was another's."""

FRESH_SECONDS = 0.2
"""Age of what was heard up to which it is of now."""


class Fleet:
    """What one worker has to do with the others.

    Args:
        settings: Where the store is, and which app this is.

        worker: This process.

        failed: Told of what fails.

        counts: Count the visits of every endpoint, and leakmw's own errors, in this process.

    Attributes:
        worker: This process.
        store: Its own history; may be read from any thread.
        commands: Asks and answers through the store; ``None`` where there is none.
    """

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        failed: Callable[[str, BaseException], None],
        counts: tuple[Callable[[], Mapping[str, Endpoint]], Callable[[], int]],
    ) -> None:
        self._endpoints, self._errors = counts
        self.worker = worker
        self.store = MemoryStore()
        self._settings = settings
        self._failed = failed
        self._known: Mapping[str, Remembered] = {}
        self._seen: dict[int, tuple[int, Seen]] = {}
        self._cadence = Cadence(settings.every, 1)
        self._status = WorkerStatus(
            worker=worker,
            alive=True,
            seen_at=worker.started_at,
            service=settings.service,
            version=settings.version,
        )
        self._spoken_at, self._spoken_visits = time.monotonic(), 0
        self._heard_at = -math.inf
        self._again: float | None = None
        self._cut_off = False
        self._shared: SharedStore | None = None
        self.commands: Commands | None = None
        if settings.store != "memory":
            database = Database(located(settings.store, settings.service, os.environ))
            self._shared = SharedStore(
                database, release(settings.version), meters.lives, described
            )
            self.commands = Commands(database)

    @property
    def alone(self) -> bool:
        """Whether there is no store to share."""
        return self._shared is None

    @property
    def known(self) -> Mapping[str, Remembered]:
        """What is remembered of findings, as it was read last."""
        return self._known

    @property
    def every(self) -> int:
        """Visits between two snapshots."""
        return self._cadence.every

    @property
    def size(self) -> int:
        """Workers alive of this version of the app, as far as is known."""
        return self._cadence.workers

    def close(self) -> None:
        """Close the store."""
        if self._shared is not None:
            self._shared.close()

    def publish(self, last: Snapshot, seen: Seen | None, report: Report) -> bool:
        """Tell the others of a snapshot.

        Args:
            last: The snapshot.

            seen: The windows up to it, as far as they matter to others.

            report: This worker's own.

        Returns:
            Whether it is this worker's turn to report on all of them.
        """
        self._status = replace(
            self._status,
            seen_at=last.taken_at,
            visits=last.visits,
            errors=self._errors(),
            snapshots=last.number,
            engine=last.engine,
            memory=_with_older(report.memory, self._status.memory),
            snapshot_seconds=last.trace.seconds,
            pause_seconds=last.trace.pause_seconds,
        )
        shared = self._shared
        if shared is None:
            return True
        told = Told(
            status=self._status,
            visits={name: endpoint.visits for name, endpoint in last.endpoints.items()},
            seen=seen and packed(seen),
            report=report,
            profile=profile(report.worker, last),
        )
        self._spoken_at, self._spoken_visits = time.monotonic(), last.visits
        turn = self._done(lambda: shared.publish(told), fallback=True)
        self._keep_pace(shared)
        return self._planned(turn)

    def others(self, engine: str) -> list[Seen]:
        """Return what the others have seen with the same kind of tracer."""
        shared = self._shared
        if shared is None:
            return []
        known = {worker: number for worker, (number, _) in self._seen.items()}
        self._hear(shared)
        none: list[tuple[int, int, bytes | None]] = []
        told = self._done(lambda: shared.others(known, engine), none)
        now: dict[int, tuple[int, Seen]] = {}
        for worker, number, content in told:
            if content is None:
                now[worker] = self._seen[worker]
                continue
            with suppress(ValueError):  # another version's: it looks at its own workers
                now[worker] = number, unpacked(content)
        self._seen = now
        return [seen for _, seen in now.values()]

    def unite(
        self,
        conclude: Conclude[Outcome],
        visits: Mapping[str, int],
        seconds: float,
    ) -> Outcome:
        """Change what is remembered of findings, and the report on all workers, in one step.

        Args:
            conclude: Says what follows.

            visits: Of this worker, by endpoint: what counts where it is alone.

            seconds: What it took to look at all workers together.
        """
        outcome: Outcome
        if self._shared is not None:
            try:
                outcome = self._shared.unite(self._keeping(conclude), seconds)
            except StoreError as error:
                self._cut_off = True
                self._failed("store", error)
            else:
                self._cut_off = False
                return outcome
        self._known, _, outcome = conclude(self._known, visits, None)
        return outcome

    def _keeping(self, conclude: Conclude[Outcome]) -> Conclude[Outcome]:
        """Return *conclude*, and remember here what it says."""

        def concluded(*given: Any) -> Any:
            concluded = conclude(*given)
            self._known = concluded[0]
            return concluded

        return concluded

    def tick(self, *, asked: bool) -> bool:
        """Speak, about once in a second.

        Args:
            asked: Whether somebody waits for what the others have said.

        Returns:
            Whether it is this worker's turn to report on all of them.
        """
        shared = self._shared
        if shared is None:
            return False
        speaks = self._is_to_speak()
        if speaks:
            self._speak(shared)
            self._keep_pace(shared)
        if speaks or asked:
            self._hear(shared)
        if self._again is None or time.monotonic() < self._again:
            return False
        return self._has_turn(shared)

    def _has_turn(self, shared: SharedStore) -> bool:
        """Say whether it is this worker's turn at last; if not, when to ask again, if at all."""
        seconds = self._done(shared.turn_in, AGAIN_SECONDS)
        if seconds == 0:
            return self._planned(self._done(shared.has_turn, fallback=False))
        if seconds < math.inf:
            self._again = time.monotonic() + seconds
            return False
        self._again = None  # somebody else has reported on all that this worker has told
        self._known = self._done(shared.remembered, self._known)
        return False

    def part(self) -> None:
        """Tell the others the last visits of this worker, which ends."""
        if self._shared is not None:
            self._speak(self._shared, ends=True)

    @property
    def is_fresh(self) -> bool:
        """Whether what is known of the others is of now; from any thread."""
        return self._shared is None or time.monotonic() - self._heard_at < FRESH_SECONDS

    def _speak(self, shared: SharedStore, *, ends: bool = False) -> None:
        endpoints = self._endpoints()
        visits = {name: one.visits for name, one in endpoints.items()}
        self._spoken_at, self._spoken_visits = time.monotonic(), sum(visits.values())
        self._status = replace(
            self._status,
            seen_at=datetime.now(UTC),
            visits=self._spoken_visits,
            errors=self._errors(),
        )
        self._done(lambda: shared.speak(self._status, visits, ends=ends), None)

    def _hear(self, shared: SharedStore) -> None:
        self._done(shared.look, fallback=False)
        self._heard_at = time.monotonic()

    def _keep_pace(self, shared: SharedStore) -> None:
        """Take snapshots as often as tells most."""
        self._cadence = self._done(lambda: shared.cadence(self._settings.every), self._cadence)

    def _planned(self, turn: bool) -> bool:  # noqa: FBT001  # it is handed on
        """Return *turn*; if it is another's, have it looked at again soon."""
        self._again = None if turn else time.monotonic() + AGAIN_SECONDS
        return turn

    def _visits(self) -> int:
        return sum(endpoint.visits for endpoint in self._endpoints().values())

    def _is_to_speak(self) -> bool:
        if not self.me or time.monotonic() - self._spoken_at >= SPEAK_SECONDS:
            return True
        if self._status.snapshots:
            return False
        return (self._visits() - self._spoken_visits) * SPEAK_SHARE >= self.every

    @property
    def me(self) -> int:
        """The id of this worker in the store; 0 before it has one."""
        return self._shared.me if self._shared is not None else 0

    def named(self, name: str) -> dict[int, Worker]:
        """Return the live workers that *name* stands for: a pid, ``host:pid``, or ``all``.

        Raises:
            StoreError: If they cannot be read now.
        """
        if self._shared is None:
            return {}
        self._shared.refresh()
        return {
            number: one.worker
            for number, one in self._shared.view.living(meters.lives)
            if one.worker.is_called(name)
        }

    def profiles(self) -> tuple[Profile, ...]:
        """Return the latest profile of each live worker.

        Raises:
            StoreError: If they cannot be read now.
        """
        return () if self._shared is None else self._shared.profiles()

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return every worker that is known, those alive first; from any thread.

        Of this one it is what is true now, of others what they said last.
        """
        return self._with_own(self._view.workers(meters.lives))

    def living(self) -> tuple[WorkerStatus, ...]:
        """Return the workers that live, without a look at those that have ended."""
        return self._with_own(one for _, one in self._view.living(meters.lives))

    def _with_own(self, known: Iterable[WorkerStatus]) -> tuple[WorkerStatus, ...]:
        own = replace(self._status, visits=self._visits(), errors=self._errors())
        return tuple(own if one.worker == own.worker else one for one in known) or (own,)

    @property
    def _view(self) -> View:
        return View() if self._shared is None else self._shared.view

    def report(self) -> Report | None:
        """Return the latest report on all workers; from any thread.

        ``None`` where this worker is alone, or has had to make its latest one without the store.
        """
        if self._shared is None or self._cut_off:
            return None
        return self._shared.view.report()

    def _done(self, step: Callable[[], Outcome], fallback: Outcome) -> Outcome:
        try:
            return step()
        except StoreError as error:
            self._failed("store", error)
            return fallback


def _with_older(memory: Memory, before: Memory | None) -> Memory:
    """Return *memory* with what is read more seldom as it was read before."""
    if before is None:
        return memory
    return replace(
        memory,
        pss_bytes=before.pss_bytes if memory.pss_bytes is None else memory.pss_bytes,
        uss_bytes=before.uss_bytes if memory.uss_bytes is None else memory.uss_bytes,
    )


def _as_it_is(traceback: Traceback) -> Traceback:
    return traceback


def profile(
    worker: Worker,
    last: Snapshot,
    describe: Callable[[Traceback], Traceback] = _as_it_is,
) -> Profile:
    """Return the live memory that a snapshot shows."""
    return Profile(
        worker=worker,
        snapshot=last.id,
        taken_at=last.taken_at,
        sample_bytes=last.engine.sample_bytes,
        rows=tuple(
            Live(row.endpoint, describe(row.traceback), row.bytes, row.blocks)
            for row in last.trace.rows
        ),
    )
