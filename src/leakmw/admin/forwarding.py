"""Requests that are for another worker, or for all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from leakmw.admin.access import parameters
from leakmw.admin.messages import JSON, AdminError, document, written
from leakmw.records import ALL, Request, SnapshotError
from leakmw.report.document import replies_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leakmw.admin.messages import AdminRequest, AdminResponse
    from leakmw.records import Monitored, Reply, Worker

FORWARD_TIMEOUT = 25.0
"""Seconds that a request waits for another worker: less than the 30 that gunicorn gives."""

THIS = "this"
"""The worker that is asked, whichever it is."""

TOGETHER = "/api/report"
"""What speaks of all workers without being asked of each."""

_NAME = re.compile(r"all|([\w.-]{1,253}:)?[1-9][0-9]{0,9}", re.ASCII)

WORKER = "worker"
"""The query's parameter."""


def elsewhere(monitored: Monitored, request: AdminRequest, path: str) -> AdminResponse | None:
    """Return the answer of the workers that *request* is for, if it is not for this one.

    Args:
        monitored: Knows the workers.

        request: What is asked.

        path: Its path below the admin path.

    Raises:
        AdminError: If there is no such worker, or it does not answer.
    """
    names = parameters(request, WORKER)
    if not names or names == [THIS] or (names == [ALL] and path == TOGETHER):
        return None
    if len(names) > 1 or not _NAME.fullmatch(names[0]):
        raise AdminError(400, "bad_query", "Name one worker: ?worker=PID, HOST:PID or all.")
    others = [(name, value) for name, value in parse_qsl(request.query) if name != WORKER]
    asked = Request(request.method, path, urlencode([*others, (WORKER, THIS)]))
    try:
        replies = monitored.ask(names[0], asked, FORWARD_TIMEOUT)
    except KeyError as error:
        message = "No such worker lives. api/workers lists those that do."
        raise AdminError(404, "no_such_worker", message) from error
    except SnapshotError as error:
        raise AdminError(503, "no_answer", str(error)) from error
    if replies is None:
        return None
    return _answered(replies)


def _answered(replies: Mapping[Worker, Reply]) -> AdminResponse:
    """Return the one answer as it is, and several beside the workers that gave them."""
    if len(replies) == 1:
        (reply,) = replies.values()
        return written(reply.body, JSON, status=reply.status)
    return document(replies_document(replies))
