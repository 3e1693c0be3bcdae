"""What callers wait for that the background thread alone does: all who wait get the same."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from leakmw.records import Failure, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.01
"""How often a caller looks whether its answer is there. Sleeping is what every process model can
do: a lock of the background thread would stop all greenlets of gevent."""


class Ticket:
    """What somebody waits for: it, or why there is none.

    Attributes:
        question: What is asked; tickets with the same one are answered together.
    """

    __slots__ = ("answer", "failure", "question", "settled")

    def __init__(self, question: object) -> None:
        self.question = question
        self.answer: Any = None
        self.failure: Failure | None = None
        self.settled = False


class Tickets:
    """Those that wait. Nothing here takes a lock.

    Args:
        noun: What is waited for.
    """

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._waiting: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def questions(self) -> list[Any]:
        """Return what is asked, each question once."""
        return list(dict.fromkeys(ticket.question for ticket in tuple(self._waiting)))

    def wait(
        self,
        question: object,
        wake: Callable[[], object],
        alive: Callable[[], bool],
        timeout: float,
    ) -> Any:
        """Return the answer to *question*.

        Args:
            question: What is asked.

            wake: Wakes the thread that answers.

            alive: Says whether there is one.

            timeout: Longest wait in seconds.

        Raises:
            SnapshotError: If there is none, or not in time.
        """
        deadline = time.monotonic() + timeout
        ticket = Ticket(question)
        self._waiting.append(ticket)
        wake()
        while not ticket.settled and alive() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if ticket.settled and ticket.failure is None:
            return ticket.answer
        self._remove(ticket)
        raise SnapshotError(self._refusal(ticket.failure, timeout))

    def settle(self, question: object, answer: Any, failure: Failure | None = None) -> None:
        """Give all who ask *question* the answer, or say why there is none."""
        for ticket in tuple(self._waiting):
            if ticket.question is question:
                self._remove(ticket)
                ticket.answer, ticket.failure = answer, failure
                ticket.settled = True

    def _remove(self, ticket: Ticket) -> None:
        with suppress(ValueError):  # whoever waited may have given up
            self._waiting.remove(ticket)

    def _refusal(self, failure: Failure | None, timeout: float) -> str:
        if failure is None:
            return (
                f"no {self._noun} within {timeout:g} s; ask again, or look for leakmw.self_error"
            )
        return failure.message or f"no {self._noun}: it failed with {failure.kind}"
