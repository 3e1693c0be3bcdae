"""What is answered under which address."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING

from leakmw.admin import page
from leakmw.admin.access import page_from, parameters
from leakmw.admin.collector import LOOK_TIMEOUT, Collector
from leakmw.admin.exports import Exports
from leakmw.admin.forwarding import WORKER
from leakmw.admin.messages import (
    CSS,
    HTML,
    MARKDOWN,
    TEXT,
    AdminError,
    AdminRequest,
    AdminResponse,
    document,
    redirect,
    written,
)
from leakmw.admin.negotiation import preferred, wants_page
from leakmw.admin.openapi import description
from leakmw.records import ALL, SnapshotError
from leakmw.report.document import (
    diff_document,
    holdings_document,
    report_document,
    snapshot_document,
    workers_document,
)
from leakmw.report.markdown import markdown
from leakmw.report.text import text

if TYPE_CHECKING:
    from leakmw.records import Diff, Heap, Holdings, Monitored
    from leakmw.settings import Settings

SNAPSHOT_TIMEOUT = 20.0
"""Seconds that a request waits for its snapshot: less than the 30 that gunicorn gives a worker."""


Handler = Callable[[AdminRequest], AdminResponse]


class Routes:
    """The table of addresses below the admin path, and what answers them.

    Args:
        settings: What a page says of when the next snapshot comes.

        monitored: What is shown.
    """

    def __init__(self, settings: Settings, monitored: Monitored) -> None:
        self._settings = settings
        self._monitored = monitored
        self._collector = Collector(monitored)
        self._collecting = threading.Lock()
        exports = Exports(settings, monitored)
        self._table: Mapping[str, Mapping[str, Handler]] = {
            "": {"GET": self._to_page},
            "/": {"GET": self._page},
            "/diff": {"GET": self._diff_page},
            "/style.css": {"GET": self._style},
            "/api/report": {"GET": self._report},
            "/api/workers": {"GET": self._workers},
            "/api/snapshots": {"GET": self._snapshots, "POST": self._take_snapshot},
            "/api/snapshots/{id}": {"GET": self._snapshot},
            "/api/diff": {"GET": self._diff},
            "/api/gc": {"GET": self._gc},
            "/api/gc/collect": {"POST": self._collect},
            "/api/gc/inspect": {"POST": self._inspect},
            "/api/heap": {"POST": self._heap},
            "/api/openapi.json": {"GET": self._openapi},
            "/api/profile": {"GET": exports.profile},
            "/metrics": {"GET": exports.metrics},
            "/debug/pprof": {"GET": self._to_page},
            "/debug/pprof/": {"GET": exports.index},
            "/debug/pprof/heap": {"GET": exports.pprof},
            "/debug/pprof/allocs": {"GET": exports.pprof},
        }

    def methods(self, path: str) -> Mapping[str, Handler]:
        """Return what answers at *path*, below the admin path, by method.

        Raises:
            AdminError: If nothing does.
        """
        parent, _, name = path.rpartition("/")
        route = self._table.get(path) or (name and self._table.get(f"{parent}/{{id}}"))
        if not route:
            message = "There is nothing here. api/openapi.json below the page lists what there is."
            raise AdminError(404, "not_found", message)
        return route

    def _to_page(self, request: AdminRequest) -> AdminResponse:
        return redirect(page_from(request.path))

    def _page(self, request: AdminRequest) -> AdminResponse:
        media_type = preferred(request.headers.get("accept", ""), (HTML, TEXT, MARKDOWN))
        report, workers = self._monitored.report(), self._monitored.workers()
        if media_type == HTML:
            kept = self._monitored.snapshots()
            if report is None:
                return written(page.waiting_page(self._waiting(), kept), HTML)
            collecting = self._monitored.collecting()
            return written(page.report_page(report, kept, collecting, workers), HTML)
        if report is None:
            return written(f"{self._waiting()}\n", media_type)
        said = text(report, workers) if media_type == TEXT else markdown(report)
        return written(said, media_type)

    def _waiting(self) -> str:
        return (
            "This worker has made no report yet. It takes a snapshot every "
            f"{self._settings.every:,} requests and whenever it is asked to, and reports what "
            f"grew between them. So far it keeps {len(self._monitored.snapshots())}."
        )

    def _style(self, _request: AdminRequest) -> AdminResponse:
        style = resources.files("leakmw.admin").joinpath("style.css")
        return written(style.read_text(encoding="utf-8"), CSS)

    def _report(self, request: AdminRequest) -> AdminResponse:
        # of all workers it is this one that is asked
        alone = parameters(request, WORKER) not in ([], [ALL])
        report = self._monitored.own_report() if alone else self._monitored.report()
        if report is None:
            raise AdminError(404, "no_report", self._waiting())
        return document(report_document(report))

    def _workers(self, _request: AdminRequest) -> AdminResponse:
        return document(workers_document(self._monitored.workers()))

    def _snapshots(self, _request: AdminRequest) -> AdminResponse:
        kept = self._monitored.snapshots()
        return document({"snapshots": [snapshot_document(snapshot) for snapshot in kept]})

    def _snapshot(self, request: AdminRequest) -> AdminResponse:
        wanted = request.path.rpartition("/")[2]
        for snapshot in self._monitored.snapshots():
            if snapshot.id == wanted:
                return document(snapshot_document(snapshot))
        raise _no_such_snapshot()

    def _take_snapshot(self, request: AdminRequest) -> AdminResponse:
        try:
            snapshot = self._monitored.take_snapshot(SNAPSHOT_TIMEOUT)
        except SnapshotError as error:
            raise AdminError(503, "no_snapshot", str(error)) from error
        if wants_page(request):
            return redirect("../")
        location = (("Location", f"snapshots/{snapshot.id}"),)
        return document(snapshot_document(snapshot), status=201, headers=location)

    def _diff(self, request: AdminRequest) -> AdminResponse:
        return document(diff_document(self._compared(request)))

    def _diff_page(self, request: AdminRequest) -> AdminResponse:
        return written(page.diff_page(self._compared(request)), HTML)

    def _compared(self, request: AdminRequest) -> Diff:
        older, newer = parameters(request, "from"), parameters(request, "to")
        if len(older) != 1 or len(newer) != 1:
            raise AdminError(400, "bad_query", "Name two snapshots by their ids: ?from=ID&to=ID.")
        try:
            return self._monitored.diff(older[0], newer[0])
        except KeyError as error:
            raise _no_such_snapshot() from error
        except SnapshotError as error:
            raise AdminError(409, "not_comparable", str(error)) from error

    def _gc(self, _request: AdminRequest) -> AdminResponse:
        return document(self._collector.state())

    def _collect(self, _request: AdminRequest) -> AdminResponse:
        if not self._collecting.acquire(blocking=False):
            raise AdminError(409, "collecting", "A collection is under way. Try again after it.")
        try:
            return document(self._collector.collect())
        finally:
            self._collecting.release()

    def _inspect(self, _request: AdminRequest) -> AdminResponse:
        try:
            return document(self._collector.inspect())
        except SnapshotError as error:
            raise AdminError(503, "no_inspection", str(error)) from error

    def _heap(self, _request: AdminRequest) -> AdminResponse:
        try:
            seen = self._monitored.look(_holdings, LOOK_TIMEOUT)
        except SnapshotError as error:
            raise AdminError(503, "no_look", str(error)) from error
        return document(holdings_document(seen))

    def _openapi(self, request: AdminRequest) -> AdminResponse:
        return document(description(f"{request.prefix}{self._settings.path}"))


def _holdings(heap: Heap) -> Holdings:
    return heap.holdings()


def _no_such_snapshot() -> AdminError:
    message = "No such snapshot is kept, or no longer. api/snapshots lists those that are."
    return AdminError(404, "no_such_snapshot", message)
