"""The store of an app on this host, asked without any port.

What all workers know is read from it; what one of them has to do is left in it for that worker.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from leakmw import meters
from leakmw.records import ALL, Request, SnapshotError
from leakmw.report.document import replies_document, report_document, workers_document
from leakmw.shell.asking import Answered
from leakmw.shell.ending import UNREACHABLE, EndingError
from leakmw.store.commands import Commands
from leakmw.store.database import Database
from leakmw.store.view import last_words, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from leakmw.records import Reply, Worker
    from leakmw.store.view import View

TIMEOUT = 40.0
"""Seconds that an answer may take."""

POLL_SECONDS = 0.05

WORKER = "worker"
"""Names the worker that is asked."""


class StoreSource:
    """Asks the workers of an app through the file that they share.

    Args:
        file: The store.

        timeout: Seconds that an answer may take.
    """

    def __init__(self, file: Path, timeout: float = TIMEOUT) -> None:
        self.file = file
        self._database = Database(file, make=False)
        self._timeout = timeout

    def ask(self, method: str, path: str, query: Mapping[str, str] = {}) -> Answered:
        """Return the answer of the admin API.

        Raises:
            EndingError: If the store cannot be read, or no worker answers.
        """
        try:
            view = read(self._database)
            known = self._known(view, method, path, query)
            return known or self._carried(view, method, path, query)
        except (SnapshotError, ValueError) as error:
            raise EndingError(f"{self.file}: {error}", UNREACHABLE) from error
        finally:
            self._database.close()

    def _known(
        self, view: View, method: str, path: str, query: Mapping[str, str]
    ) -> Answered | None:
        """Return what stands in the store; ``None`` if a worker must be asked."""
        if (method, path) == ("GET", "api/workers"):
            return Answered(200, workers_document(view.workers(meters.lives)))
        if (method, path) == ("GET", "api/report") and query.get(WORKER, ALL) == ALL:
            report = view.report()
            if report is None:
                return _error(404, "no_report", "No worker has made a report yet.")
            return Answered(200, report_document(report))
        if (method, path) == ("GET", "api/report"):
            return self._last_words(view, query[WORKER])
        return None

    def _last_words(self, view: View, name: str) -> Answered | None:
        """Return the latest report that workers of this name have left; ``None`` without one."""
        reports = (last_words(self._database, worker) for worker in view.named(name))
        found = next((report for report in reports if report is not None), None)
        return Answered(200, report_document(found)) if found else None

    def _carried(self, view: View, method: str, path: str, query: Mapping[str, str]) -> Answered:
        """Return the answers of the workers that are asked, or of the first one that lives."""
        name = query.get(WORKER)
        living = sorted(  # the same one each time, where none is named
            (number, one.worker)
            for number, one in view.living(meters.lives)
            if name is None or one.worker.is_called(name)
        )
        chosen = dict(living if name == ALL else living[:1])
        if not chosen:
            said = "No worker lives." if name is None else "No such worker lives."
            return _error(404, "no_such_worker", f"{said} `leakmw workers` lists those there are.")
        others = {key: value for key, value in query.items() if key != WORKER}
        request = Request(method, f"/{path}", urlencode({**others, WORKER: "this"}))
        return _together(self._answers(chosen, request))

    def _answers(self, chosen: Mapping[int, Worker], request: Request) -> dict[Worker, Reply]:
        commands = Commands(self._database)
        left = dict(zip(commands.leave(list(chosen), request), chosen.values(), strict=True))
        deadline = time.monotonic() + self._timeout
        while True:
            replies = commands.replies(list(left))
            if len(replies) == len(left):
                return {left[command]: reply for command, reply in replies.items()}
            if time.monotonic() > deadline:
                raise SnapshotError(
                    f"no answer within {self._timeout:g} s; is the worker stopped, or very busy?"
                )
            time.sleep(POLL_SECONDS)


def _together(replies: Mapping[Worker, Reply]) -> Answered:
    """Return the one answer as it is, and several beside the workers that gave them."""
    if len(replies) == 1:
        (reply,) = replies.values()
        return Answered(reply.status, json.loads(reply.body))
    return Answered(200, replies_document(replies))


def _error(status: int, code: str, message: str) -> Answered:
    return Answered(status, {"error": {"code": code, "message": message}})
