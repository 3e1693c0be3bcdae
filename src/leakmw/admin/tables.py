"""The tables of the page: growth by endpoint and by site, and the snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from leakmw.admin.findings import fold, place, traceback
from leakmw.admin.markup import Markup, element, join
from leakmw.report import humane, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leakmw.records import Collecting, Collections, Growth, Snapshot, WorkerStatus

ROWS_SHOWN = 15
"""Rows that are open to view; the rest is folded."""

_FIGURES = ("Requests", "Growth", "Per request", "95 % interval")


def endpoints(growths: Sequence[Growth]) -> Markup:
    """Return growth by endpoint."""
    rows = [_row(element("td", element("code", growth.endpoint)), growth) for growth in growths]
    return _table(("Endpoint",), _FIGURES, rows)


def sites(growths: Sequence[Growth]) -> Markup:
    """Return growth by site and endpoint."""
    rows = [
        _row(
            join(
                element("td", _site(growth)),
                element("td", element("code", growth.endpoint)),
            ),
            growth,
        )
        for growth in growths
    ]
    return _table(("Site", "Endpoint"), _FIGURES, rows)


def collections(collecting: Collecting) -> Markup:
    """Return what collections took and brought, by generation."""
    rows = [_collections(one) for one in collecting.generations]
    since = f"Since {humane.moment(collecting.since)}"
    return _table((since,), ("Collections", "Time", "Longest", "Freed", "Not to be freed"), rows)


def snapshots(kept: Sequence[Snapshot]) -> Markup:
    """Return the snapshots, newest first, each with links to what grew until it was taken."""
    pairs = list(zip(kept, (None, *kept), strict=False))
    rows = [_snapshot(snapshot, previous, kept[0]) for snapshot, previous in reversed(pairs)]
    return _table(("Taken", "How", "Growth since"), ("Requests", "In flight", "RSS"), rows)


def workers(known: Sequence[WorkerStatus]) -> Markup:
    """Return the workers in the order given, with what each has done and takes."""
    rows = [_worker(status) for status in known]
    return _table(("Worker", "Version", "Seen"), ("Requests", "Snapshots", "Errors", "RSS"), rows)


def compare(older: str, newer: str) -> str:
    """Return the query that asks for the growth between two snapshots, given by their ids."""
    return urlencode({"from": older, "to": newer})


def _row(names: Markup, growth: Growth) -> Markup:
    rate = growth.bytes_per_request
    return element(
        "tr",
        names,
        _number(f"{growth.visits:,}"),
        _number(humane.size(growth.bytes)),
        _number(rate and humane.size(rate.estimate)),
        _number(rate and wording.interval(growth)),
    )


def _number(figure: str | None) -> Markup:
    return element("td", figure, class_="number")


def _site(growth: Growth) -> Markup:
    if growth.site is None:
        return element("span", "no line of the app is known", class_="muted")
    if not growth.traceback:
        return place(growth.site)
    return fold(place(growth.site), traceback(growth.traceback))


def _collections(one: Collections) -> Markup:
    return element(
        "tr",
        element("td", f"generation {one.generation}"),
        _number(f"{one.times:,}"),
        _number(humane.duration(one.seconds)),
        _number(humane.duration(one.longest_seconds)),
        _number(f"{one.collected:,}"),
        _number(f"{one.uncollectable:,}"),
    )


def _worker(status: WorkerStatus) -> Markup:
    worker = status.worker
    memory = status.memory
    return element(
        "tr",
        element("td", element("code", f"{worker.host}:{worker.pid}")),
        element("td", status.version),
        element("td", wording.seen(status)),
        _number(f"{status.visits:,}"),
        _number(f"{status.snapshots:,}"),
        _number(f"{status.errors:,}"),
        _number(None if memory is None else humane.size(memory.rss_bytes)),
    )


def _snapshot(snapshot: Snapshot, previous: Snapshot | None, first: Snapshot) -> Markup:
    trace = snapshot.trace
    older = {first.id: "the first", previous.id: "the one before"} if previous else {}
    links = (
        element("a", title, href=f"diff?{compare(other, snapshot.id)}")
        for other, title in older.items()
    )
    took = f"{trace.how} in {humane.duration(trace.seconds)}"
    return element(
        "tr",
        element("td", f"{snapshot.number:,}: {humane.moment(snapshot.taken_at)}"),
        element("td", took, f", standing still for {humane.duration(trace.pause_seconds)}"),
        element("td", *links, class_="links"),
        _number(f"{snapshot.visits:,}"),
        _number(f"{snapshot.in_flight:,}"),
        _number(humane.size(snapshot.memory.rss_bytes)),
    )


def _table(names: Iterable[str], figures: Iterable[str], rows: Sequence[Markup]) -> Markup:
    """Return a table that scrolls by itself where the window is too narrow for it."""
    head = element(
        "tr",
        *(element("th", title, scope="col") for title in names),
        *(element("th", title, scope="col", class_="number") for title in figures),
    )
    rest = len(rows) - ROWS_SHOWN
    return join(
        _body(head, rows[:ROWS_SHOWN]),
        fold(f"{rest:,} more", _body(head, rows[ROWS_SHOWN:])) if rest > 0 else None,
    )


def _body(head: Markup, rows: Iterable[Markup]) -> Markup:
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("div", table, class_="wide")
