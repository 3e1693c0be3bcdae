"""The Monitor: what counts visits, and does everything else on a thread of its own.

The only place that knows the whole flow, and the only one that swallows leakmw's own errors.
Nothing is imported on the thread: a worker forked meanwhile would have half a module for good.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from leakmw.background import Background, giving_way, outward, process
from leakmw.pipeline import Pipeline, samples
from leakmw.records import (
    ALL,
    Failure,
    Reply,
    Request,
    Snapshot,
    SnapshotError,
    kind_of,
)
from leakmw.relay import Relay
from leakmw.tickets import POLL_SECONDS, Tickets
from leakmw.visits.counting import Counting
from leakmw.visits.current import CURRENT, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from leakmw.records import (
        Answer,
        Collecting,
        Diff,
        Endpoint,
        Frame,
        Heap,
        Profile,
        Report,
        Route,
        Worker,
        WorkerStatus,
    )
    from leakmw.settings import Settings

TICK_SECONDS = 1.0
"""How often the thread looks for what is asked of this worker."""

ARRIVAL_SECONDS = 10.0
"""How long a request waits for a thread that has never run."""

HEARING_SECONDS = 5.0
"""The same for news of other workers, while the thread may be at something else."""

FAREWELL_SECONDS = 2.0
"""How long the end of the process waits for the last visits to be told."""

ANSWER_SECONDS = 0.02
"""The same while somebody waits for an answer."""

MAX_FAILURES = 64
"""Kinds of own errors that are told apart."""


MONITORS: weakref.WeakValueDictionary[int, Monitor] = weakref.WeakValueDictionary()
"""Those of this process by their identity, for what exports the figures of all of them."""


class _Count:
    """How often something has failed."""

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times = 0


class Monitor(Counting):
    """Watches one app in one process at a time; a forked worker starts anew by itself.

    Args:
        settings: What the user chose.

        route: How this face names a visit from its environ or scope.

    Raises:
        SettingsError: If this Python cannot do what they ask for.
    """

    def __init__(self, settings: Settings, route: Callable[[Mapping[str, Any]], Route]) -> None:
        super().__init__(settings, route, follows=samples(settings))
        self._settings = settings
        self._answerer: Callable[[], Callable[[Request], Reply] | None] = _nobody
        self._claims: dict[int, object] = {}
        self._forget()
        MONITORS[id(self)] = self

    def _forget(self) -> None:
        self._seen = 0  # visits at the latest snapshot
        self._tickets = Tickets("snapshot")
        self._questions = Tickets("answer")
        self._profiles = Tickets("profile")
        self._arrivals = Tickets("store")
        self._farewells = Tickets("farewell")
        self._relay = Relay(_weakly(self.failed), self._answered, self._wake)
        self._failures: dict[tuple[str, str], _Count] = {}
        self._unsaid: deque[Failure] = deque()
        self._background: Background | None = None
        self._pipeline: Pipeline | None = None

    def _settle_in(self) -> None:
        """Start anew in this process: the thread and the history stayed in the parent."""
        pid, claim = process.pid, object()
        if self._claims.setdefault(pid, claim) is not claim:
            return  # another thread is at it
        if self._pid:
            self._count_anew(self._settings)
            self._forget()
        self._at_end = ExitStack()
        self._outward = outward()
        try:
            self._background = Background(self, Monitor._work, Monitor._tick, self._at_end.close)
        except Exception as error:  # noqa: BLE001  # no thread to be had: the app serves on
            self.failed("start", error)
            self._speak()
        atexit.unregister(_part)
        atexit.register(_part)  # a fork by multiprocessing has forgotten its parent's
        self._pid = pid
        self._claims = {pid: claim}
        self._wake()

    def _wake(self) -> None:
        if self._background is not None:
            self._background.wake()

    # what others may ask

    @property
    def settings(self) -> Settings:
        """What the user chose."""
        return self._settings

    @property
    def begun(self) -> bool:
        """Whether anything runs here yet: it does from the first visit on."""
        return self._pipeline is not None and self._pid == process.pid

    def endpoints(self) -> Mapping[str, Endpoint]:
        """Return every endpoint with its visits so far, by name."""
        return self._endpoints.count()

    def report(self) -> Report | None:
        """Return the latest report on all workers."""
        pipeline = self._heard()
        return pipeline.all_reported() if pipeline else None

    def own_report(self) -> Report | None:
        """Return the latest report on this worker alone."""
        return self._pipeline.store.own if self._pipeline else None

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the snapshots kept, oldest first."""
        return self._pipeline.store.snapshots if self._pipeline else ()

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return every worker of this app on this host that is known, those alive first."""
        pipeline = self._heard()
        return pipeline.fleet.workers() if pipeline else ()

    def profiles(self, timeout: float) -> tuple[Profile, ...]:
        """Return the latest profile of each live worker.

        Args:
            timeout: Longest wait in seconds.

        Raises:
            SnapshotError: If they cannot be read, or not in time.
        """
        found: tuple[Profile, ...] = self._awaited(self._profiles, None, timeout)
        return found

    def ask(self, workers: str, request: Request, timeout: float) -> Mapping[Worker, Reply] | None:
        """Return the answers of other workers to a request.

        Args:
            workers: A pid, ``host:pid``, or ``all``.

            request: To their admin API.

            timeout: Longest wait in seconds.

        Returns:
            ``None`` if *workers* is this one.

        Raises:
            KeyError: If no such worker lives.

            SnapshotError: If there is no answer, or not in time.
        """
        here = self._pipeline and self._pipeline.worker
        if here and workers != ALL and here.is_called(workers):
            return None
        self._settled_in(timeout)
        return self._relay.ask(workers, request, self._has_thread, timeout)

    def serve(self, answer: Callable[[Request], Reply]) -> None:
        """Have *answer*, a bound method that is only held weakly, answer other workers."""
        self._answerer = weakref.WeakMethod(answer)

    def take_snapshot(self, timeout: float) -> Snapshot:
        """Take a snapshot now; callers that come while one is under way get the same.

        Args:
            timeout: Longest wait in seconds.

        Raises:
            SnapshotError: If it cannot be taken, or not in time.
        """
        snapshot: Snapshot = self._awaited(self._tickets, None, timeout)
        return snapshot

    def look(self, question: Callable[[Heap], Answer], timeout: float) -> Answer:
        """Ask the heap; callers that ask the same while that is under way get the same answer.

        Args:
            question: One that is known by its name: what is the same is told by that.

            timeout: Longest wait in seconds.

        Raises:
            SnapshotError: If it cannot be told, or not in time.
        """
        answer: Answer = self._awaited(self._questions, question, timeout)
        return answer

    def _awaited(self, tickets: Tickets, question: object, timeout: float) -> Any:
        self._settled_in(timeout)
        return tickets.wait(question, self._wake, self._has_thread, timeout)

    def _heard(self) -> Pipeline | None:
        """Return the pipeline, once it has heard of the other workers: also before any visit."""
        pipeline = self._pipeline
        if pipeline is None or not self.begun or not pipeline.fleet.is_fresh:
            seconds = HEARING_SECONDS if self.begun else ARRIVAL_SECONDS
            with suppress(SnapshotError):
                self._awaited(self._arrivals, object(), seconds)
        return self._pipeline

    def _settled_in(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if self._pid != process.pid:
            self._settle_in()
        while self._pid != process.pid and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)  # another thread is at it

    def _has_thread(self) -> bool:
        return self._background is not None

    def collecting(self) -> Collecting | None:
        """Return what collections have taken; ``None`` where nobody counts them."""
        return self._pipeline.collecting() if self._pipeline else None

    def births(self, things: Sequence[object]) -> Sequence[Frame | None]:
        """Return where each of *things* was born, as far as it is known."""
        return self._pipeline.births(things) if self._pipeline else [None] * len(things)

    def diff(self, older: str, newer: str) -> Diff:
        """Compare two kept snapshots by their ids.

        Raises:
            KeyError: If one of them is not kept.
            SnapshotError: If they cannot be compared.
        """
        if self._pipeline is None:
            raise KeyError(older)
        return self._pipeline.compare(older, newer)

    def failed(self, where: str, error: BaseException) -> None:
        """Count an error of leakmw's own and have it said once.

        Args:
            where: The step that failed.

            error: What it raised; only its type and place are kept.
        """
        kind = (where, kind_of(error))
        if kind not in self._failures and len(self._failures) >= MAX_FAILURES:
            return
        new = _Count()
        count = self._failures.setdefault(kind, new)
        count.times += 1
        if count is new:
            self._unsaid.append(Failure.of(where, error))
            self._wake()

    def close(self) -> None:
        """End the thread and stop the tracer if leakmw started it."""
        MONITORS.pop(id(self), None)
        background, self._background = self._background, None
        if background is not None:
            background.stop()

    def part(self) -> None:
        """Have other workers told the last visits of this process, which ends."""
        pipeline = self._pipeline
        if pipeline is not None and self.begun and not pipeline.fleet.alone:
            with suppress(SnapshotError):
                self._awaited(self._farewells, None, FAREWELL_SECONDS)

    # the background thread

    def _work(self) -> None:
        outcome: Snapshot | Failure | None = None
        # the visit that was to wake this thread: some more have ended meanwhile
        finished = self._finished()
        finished -= finished % self._step
        try:
            pipeline = self._built()
            pipeline.start()
            if self._tickets or pipeline.due(finished - self._seen):
                outcome = pipeline.snapshot(self._in_flight)
            else:
                pipeline.glance()
            self._wake_each(pipeline.step)
        except Exception as error:  # noqa: BLE001  # the app and the thread go on
            self.failed("snapshot", error)
            outcome = Failure.of("snapshot", error)
        if outcome is not None:
            # failed or not: trying may cost as much
            every = self._pipeline.fleet.every if self._pipeline else self._settings.every
            self._seen = finished - finished % every
        if isinstance(outcome, Snapshot):
            self._report(outcome)
        self._speak()  # whoever has waited may end the process next
        if isinstance(outcome, Failure):
            self._tickets.settle(None, None, outcome)
        elif outcome is not None:
            self._tickets.settle(None, outcome)
        if isinstance(outcome, Snapshot):
            self._look_for_holders()
        self._answer()
        self._speak()

    def _tick(self) -> float | None:
        """Hear and answer other workers; return in how many seconds again."""
        pipeline, asked = self._pipeline, self._arrivals.questions()
        if pipeline is None:
            return None
        ends = bool(self._farewells)
        try:
            pipeline.tick(asked=bool(asked))
            self._wake_each(pipeline.step)
            self._relay.turn(pipeline.fleet)
            if ends:
                pipeline.fleet.part()
        except Exception as error:  # noqa: BLE001  # the app and the thread go on
            self.failed("store", error)
        for one in asked:
            self._arrivals.settle(one, None)
        if ends:
            self._farewells.settle(None, None)
        if pipeline.fleet.alone:
            return None
        return ANSWER_SECONDS if self._relay.busy else TICK_SECONDS

    def _answered(self, request: Request) -> Reply:
        """Answer another worker; on a thread of its own."""
        answer = self._answerer()
        if answer is None:
            return Reply.refusal(503, "no_admin", "This worker has no admin service.")
        return answer(request)

    def _look_for_holders(self) -> None:
        try:
            self._built().look_for_holders()
        except Exception as error:  # noqa: BLE001  # the app and the thread go on
            self.failed("heap", error)

    def _answer(self) -> None:
        """Read and ask what somebody waits for, each question once."""
        if self._profiles:
            try:
                self._profiles.settle(None, self._built().profiles())
            except Exception as error:  # noqa: BLE001  # the app and the thread go on
                self.failed("store", error)
                self._profiles.settle(None, None, Failure.of("store", error))
        for question in self._questions.questions():
            try:
                self._questions.settle(question, self._built().look(question))
            except Exception as error:  # noqa: BLE001  # the app and the thread go on
                self.failed("heap", error)
                self._questions.settle(question, None, Failure.of("heap", error))

    def _built(self) -> Pipeline:
        if self._pipeline is None:
            CURRENT.set(OURS)  # on this thread
            self._pipeline = Pipeline(
                self._settings,
                _weakly(self.failed),
                self._outward,
                (CURRENT, OURS),
                (self._endpoints.count, _errors(self._failures)),
            )
            self._at_end.callback(self._pipeline.close)
        return self._pipeline

    def _report(self, snapshot: Snapshot) -> None:
        try:
            with giving_way():
                self._built().report(snapshot, wanted=bool(self._tickets))
        except Exception as error:  # noqa: BLE001  # the app and the thread go on
            self.failed("report", error)

    def _speak(self) -> None:
        """Say the failures that nobody has said yet."""
        while self._unsaid:
            failure = self._unsaid.popleft()
            try:
                count = self._failures[failure.where, failure.kind].times
                self._built().say(failure, count)
            except Exception:  # noqa: BLE001, S112  # there is nowhere left to say it
                continue


def _part() -> None:
    """Have all monitors of this process say their last words."""
    for monitor in list(MONITORS.values()):
        monitor.part()


def _nobody() -> None:
    return None


def _errors(failures: Mapping[tuple[str, str], _Count]) -> Callable[[], int]:
    return lambda: sum(count.times for count in tuple(failures.values()))


def _weakly(method: Callable[[str, BaseException], None]) -> Callable[[str, BaseException], None]:
    """Return *method* without a hold on its monitor: the thread that gets it must not keep it."""
    reference = weakref.WeakMethod(method)

    def call(where: str, error: BaseException) -> None:
        alive = reference()
        if alive is not None:
            alive(where, error)

    return call
