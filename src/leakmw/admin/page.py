"""The page: the report and the snapshots as HTML that needs no script and nothing from elsewhere.

Every address in it is relative, so that it works below any prefix and behind any proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw.admin import tables
from leakmw.admin.findings import findings, labelled
from leakmw.admin.markup import Markup, element
from leakmw.report import humane, wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Collecting, Diff, Report, Snapshot, WorkerStatus

_API = {
    "report": "api/report",
    "workers": "api/workers",
    "snapshots": "api/snapshots",
    "garbage collector": "api/gc",
    "description": "api/openapi.json",
}


def report_page(
    report: Report,
    kept: Sequence[Snapshot],
    collecting: Collecting | None = None,
    workers: Sequence[WorkerStatus] = (),
) -> str:
    """Return the page that shows *report*, the snapshots that are *kept*, and collections.

    One worker alone is told of with the process, several have a table.
    """
    facts = wording.facts(report)
    return _document(
        wording.title(report),
        element("h1", wording.summary(report)),
        element("p", dict(facts)["window"], class_="muted"),
        *(element("p", note, class_="note") for note in report.notes),
        findings(report.findings),
        _section("Endpoints", tables.endpoints(report.endpoints) if report.endpoints else None),
        _section("Process", labelled(facts)),
        _section("Workers", tables.workers(workers) if len(workers) > 1 else None),
        _section("Garbage collector", tables.collections(collecting) if collecting else None),
        _snapshots(kept),
    )


def waiting_page(message: str, kept: Sequence[Snapshot]) -> str:
    """Return the page of a worker without a report; *message* says what it waits for."""
    return _document(
        "waiting", element("h1", "No report yet"), element("p", message), _snapshots(kept)
    )


def diff_page(diff: Diff) -> str:
    """Return the page that shows what grew between two snapshots."""
    older, newer = diff.older, diff.newer
    span = labelled(
        (
            ("from", humane.moment(older.taken_at)),
            ("to", humane.moment(newer.taken_at)),
            ("requests", f"{newer.visits - older.visits:,}"),
        )
    )
    return _document(
        "growth",
        element("h1", f"Growth from snapshot {older.number} to {newer.number}"),
        span,
        element(
            "p", element("a", "As JSON", href=f"api/diff?{tables.compare(older.id, newer.id)}")
        ),
        _section("Sites", tables.sites(diff.sites) if diff.sites else None),
        _section("Endpoints", tables.endpoints(diff.endpoints) if diff.endpoints else None),
    )


def failure_page(message: str) -> str:
    """Return what a browser shows when the page's own button failed."""
    return _document(
        "failure", element("h1", "That did not work"), element("p", message), root="../"
    )


def _snapshots(kept: Sequence[Snapshot]) -> Markup | None:
    return _section("Snapshots", tables.snapshots(kept) if kept else None)


def _section(title: str, content: Markup | None) -> Markup | None:
    return content and element("section", element("h2", title), content)


def _document(title: str, *body: str | None, root: str = "./") -> str:
    """Return a whole document; *root* leads from its address to the admin page's."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title} · leakmw"),
        element("link", rel="stylesheet", href=f"{root}style.css"),
    )
    links = (element("a", name, href=root + path) for name, path in _API.items())
    footer = element("footer", "As JSON: ", *links)
    content = element("body", _banner(title, root), element("main", *body), footer)
    return "<!DOCTYPE html>\n" + element("html", head, content, lang="en")


def _banner(title: str, root: str) -> Markup:
    action = f"{root}api/snapshots"
    return element(
        "header",
        element("a", "leakmw", href=root, class_="brand"),
        element("span", title),
        element("form", element("button", "Take a snapshot"), method="post", action=action),
        class_="banner",
    )
