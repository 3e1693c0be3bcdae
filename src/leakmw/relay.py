"""Carries requests from one worker to others, and their answers back, through the store.

Whoever asks waits on its own thread; the background thread alone touches the store; and what
others ask is answered on a thread of its own, since it may wait for the background thread itself.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from leakmw.background import native
from leakmw.records import Failure, Reply, Request, SnapshotError, Worker
from leakmw.tickets import Tickets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leakmw.fleet import Fleet
    from leakmw.store.commands import Commands


class _Errand:
    """A request on its way; each is one, however alike they are."""

    def __init__(self, workers: str, request: Request) -> None:
        self.workers = workers
        self.request = request
        self.left: Mapping[int, Worker] = {}


class _Outgoing(NamedTuple):
    """An answer that nobody has left in the store yet."""

    command: int
    reply: Reply


class Relay:
    """The requests that this process sends, and those that it gets.

    Args:
        failed: Told of what fails.

        answer: Answers a request that another worker has sent.

        wake: Wakes the background thread.
    """

    def __init__(
        self,
        failed: Callable[[str, BaseException], None],
        answer: Callable[[Request], Reply],
        wake: Callable[[], object],
    ) -> None:
        self._failed = failed
        self._answer = answer
        self._wake = wake
        self._tickets = Tickets("answer of another worker")
        self._errands: dict[_Errand, None] = {}
        self._running: dict[int, None] = {}  # a count would be changed by several threads at once
        self._outgoing: deque[_Outgoing] = deque()

    @property
    def busy(self) -> bool:
        """Whether anybody waits for something."""
        return bool(self._tickets or self._running or self._outgoing)

    def ask(
        self, workers: str, request: Request, alive: Callable[[], bool], timeout: float
    ) -> Mapping[Worker, Reply]:
        """Return the answers of *workers*; from any thread but the background one.

        Args:
            workers: A pid, ``host:pid``, or ``all``.

            request: What is asked.

            alive: Says whether there is a background thread.

            timeout: Longest wait in seconds.

        Raises:
            KeyError: If no such worker lives.

            SnapshotError: If there is no answer, or not in time.
        """
        answers: Mapping[Worker, Reply] | None
        answers = self._tickets.wait(_Errand(workers, request), self._wake, alive, timeout)
        if answers is None:
            raise KeyError(workers)
        return answers

    def turn(self, fleet: Fleet) -> None:
        """Send, receive and answer; on the background thread.

        Args:
            fleet: Has the store.
        """
        commands = fleet.commands
        if commands is None:
            for errand in self._tickets.questions():
                self._tickets.settle(errand, None)
            return
        try:
            if self.busy:
                self._send(fleet, commands)
                self._fetch(commands)
                self._leave(commands)
            self._take(commands, fleet.me)
        except SnapshotError as error:
            self._failed("store", error)
            for errand in self._tickets.questions():
                self._tickets.settle(errand, None, Failure.of("store", error))

    def _send(self, fleet: Fleet, commands: Commands) -> None:
        asked = self._tickets.questions()
        self._errands = {errand: None for errand in self._errands if errand in asked}
        for errand in asked:
            if errand in self._errands:
                continue
            workers = fleet.named(errand.workers)
            if not workers:
                self._tickets.settle(errand, None)
                continue
            left = commands.leave(list(workers), errand.request)
            errand.left = dict(zip(left, workers.values(), strict=True))
            self._errands[errand] = None

    def _fetch(self, commands: Commands) -> None:
        for errand in list(self._errands):
            replies = commands.replies(list(errand.left))
            if len(replies) == len(errand.left):
                del self._errands[errand]
                by_worker = {errand.left[command]: reply for command, reply in replies.items()}
                self._tickets.settle(errand, by_worker)

    def _leave(self, commands: Commands) -> None:
        while self._outgoing:
            commands.answer(*self._outgoing[0])
            self._outgoing.popleft()

    def _take(self, commands: Commands, me: int) -> None:
        for command, request in commands.take(me):
            self._running[command] = None
            native("_thread", "start_new_thread")(self._answered, (command, request))

    def _answered(self, command: int, request: Request) -> None:
        """Answer on a thread of its own."""
        try:
            reply = self._answer(request)
        except Exception as error:  # noqa: BLE001  # the app and the thread go on
            self._failed("relay", error)
            reply = Reply.refusal(500, "failed", f"It failed with {type(error).__name__}.")
        self._outgoing.append(_Outgoing(command, reply))
        del self._running[command]
        self._wake()
