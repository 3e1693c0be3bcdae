"""What ``leakmw top`` shows: the worst endpoints and the workers, in the lines that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Verdict
from leakmw.report import humane, wording
from leakmw.report.terminal import shorten, width, wrap
from leakmw.report.text import columned, place
from leakmw.shell.screen import COLORS
from leakmw.shell.workers import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakmw.records import Finding, Growth, Report, WorkerStatus
    from leakmw.shell.screen import Screen

ROOMY = 16
"""Rows of a screen on which sentences need not be cut."""

LISTED = 20
"""Endpoints and workers where no screen limits them."""


class Overview(NamedTuple):
    """An app at one moment.

    Attributes:
        report: The latest; ``None`` before the first.
        workers: Those that are known.
        message: What went wrong, or is waited for.
    """

    report: Report | None
    workers: tuple[WorkerStatus, ...]
    message: str | None


class _Endpoint(NamedTuple):
    """One endpoint with the worst of its findings."""

    growth: Growth
    finding: Finding | None

    @property
    def rank(self) -> int:
        """Place of its verdict in the order of reports; the last without one."""
        return len(Verdict) if self.finding is None else list(Verdict).index(self.finding.verdict)

    @property
    def rate(self) -> float:
        """Bytes per request."""
        rate = self.growth.bytes_per_request
        return 0.0 if rate is None else rate.estimate


ORDERS: dict[str, Callable[[_Endpoint], tuple[float | str, ...]]] = {
    "verdict": lambda one: (one.rank, -one.growth.bytes),
    "growth": lambda one: (-one.growth.bytes,),
    "per-request": lambda one: (-one.rate,),
    "requests": lambda one: (-one.growth.visits,),
    "endpoint": lambda one: (one.growth.endpoint,),
}
"""How the endpoints may be sorted, the first by default."""


class Section(NamedTuple):
    """The part of an overview that is shown.

    Attributes:
        columns: Width of each line at most.
        rows: How many lines at most; ``None`` for no limit but that of the lists.
        order: Of the endpoints, one of ``ORDERS``.
        first: Endpoints that are scrolled away.
    """

    columns: int
    rows: int | None
    order: str
    first: int = 0


def lines(view: Overview, section: Section, screen: Screen) -> list[str]:
    """Return *section* of *view* as lines, painted where *screen* is colorful."""
    columns, rows, order, first = section
    head = [said for line in _head(view) for said in wrap(line, columns)[: _wrapped(rows)]]
    if view.message is not None:
        head.append(screen.paint(shorten(view.message, columns), "yellow"))
    endpoints = _endpoints(view.report, order)[first:] if view.report else []
    alive = sorted(view.workers, key=lambda one: (not one.alive, -_rss(one)))
    room = 2 * LISTED + 4 if rows is None else max(rows - len(head), 0)
    below = min(len(alive), LISTED, max(room // 3 - 2, 0)) if alive else 0
    above = min(len(endpoints), LISTED if rows is None else room - 2 - (below + 2 if below else 0))
    shown = head
    if above > 0:
        shown = [*shown, "", *_table(endpoints[:above], columns, screen)]
    if below > 0:
        title, *rest = listed(alive[:below], columns)
        shown = [*shown, "", screen.paint(title, "bold"), *rest]
    return shown if rows is None else shown[:rows]


def _wrapped(rows: int | None) -> int | None:
    """Return how many lines a sentence may take on a screen of so many *rows*."""
    return 1 if rows is not None and rows < ROOMY else None


def _head(view: Overview) -> list[str]:
    if view.report is None:
        return ["leakmw: no report yet"]
    report = view.report
    alive = sum(one.alive for one in view.workers)
    memory = dict(wording.facts(report))
    title = f"{wording.title(report)}, {humane.count(alive, 'worker')} alive"
    return [
        f"{title}, report of {humane.moment(report.taken_at)}",
        wording.summary(report),
        f"RSS {humane.size(report.memory.rss_bytes)}, limit {memory['limit']}",
    ]


def _rss(worker: WorkerStatus) -> int:
    return (worker.memory and worker.memory.rss_bytes) or 0


def _endpoints(report: Report, order: str) -> list[_Endpoint]:
    worst: dict[str, Finding] = {}
    for finding in report.findings:  # worst first
        worst.setdefault(finding.growth.endpoint, finding)
    known = [_Endpoint(growth, worst.pop(growth.endpoint, None)) for growth in report.endpoints]
    known += [_Endpoint(finding.growth, finding) for finding in worst.values()]
    return sorted(known, key=ORDERS[order])


def _table(endpoints: Sequence[_Endpoint], columns: int, screen: Screen) -> list[str]:
    growths = [one.growth for one in endpoints]
    figures = [
        ["verdict", *(one.finding.verdict if one.finding else "" for one in endpoints)],
        ["per request", *(wording.rate(one).removesuffix("/request") for one in growths)],
        ["growth", *(humane.size(one.bytes) for one in growths)],
        ["requests", *(f"{one.visits:,}" for one in growths)],
        ["at", *(_site(one.finding, columns) for one in endpoints)],
    ]
    title, *rest = columned(["endpoint", *(one.endpoint for one in growths)], figures, columns)
    painted = [
        screen.paint(line, COLORS[one.finding.verdict] if one.finding else None)
        for one, line in zip(endpoints, rest, strict=True)
    ]
    return [screen.paint(title, "bold"), *painted]


def _site(finding: Finding | None, columns: int) -> str:
    site = finding.growth.site if finding else None
    return "" if site is None else place(site, max(columns // 3, 20))


def help_line(order: str, columns: int, screen: Screen) -> str:
    """Return the line that names the keys."""
    said = f" q quit  up down scroll  left right sort: {order}"
    said = shorten(said, columns)
    return screen.paint(said + " " * (columns - width(said)), "reverse")
