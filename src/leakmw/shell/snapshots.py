"""``leakmw snapshot`` and ``leakmw diff``: take one now, and say what grew between two."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from leakmw.report import humane, reading
from leakmw.report.terminal import printable
from leakmw.report.text import columned, grown, labelled, place
from leakmw.shell import asking, sources
from leakmw.shell.ending import FINE, STATUSES, USAGE, EndingError
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from leakmw.records import Growth

ERRORS = 400
"""Statuses from here on say that it failed."""

SITES = 30
"""Sites that are listed; the JSON has all."""


def offer(commands: Any) -> None:
    """Add both commands."""
    take = commands.add_parser(
        "snapshot",
        help="take a snapshot now",
        description=f"Take a snapshot now, and say what it shows. {STATUSES}",
    )
    sources.offer_worker(take, "in this worker instead of the one that answers", every=True)
    diff = commands.add_parser(
        "diff",
        help="say what grew between two snapshots",
        description="Say what grew between two snapshots, by endpoint and by site; without "
        f"arguments between the last two. {STATUSES}",
    )
    sources.offer_worker(diff, "of this worker, since each has snapshots of its own")
    diff.add_argument("older", nargs="?", metavar="FROM", help="id of the older one")
    diff.add_argument("newer", nargs="?", metavar="TO", help="id of the newer one")
    for parser, command, name in ((take, run, "snapshot"), (diff, compare, "diff")):
        parser.add_argument("--json", action="store_true", help="print the answer as JSON")
        sources.offer(parser)
        parser.set_defaults(command=command, name=name)


def run(options: Namespace) -> int:
    """Take a snapshot and print its figures."""
    screen = Screen()
    source = sources.chosen(options)
    document = asking.asked(source, "POST", "api/snapshots", sources.worker(options))
    if options.json:
        screen.json(document)
        return FINE
    screen.say(*asking.read(document, lambda taken: _listed(taken, screen.columns)))
    return FINE


def compare(options: Namespace) -> int:
    """Print what grew between two snapshots."""
    screen = Screen()
    source = sources.chosen(options)
    older, newer, worker = options.older, options.newer, _asked(source, options)
    if newer is None:
        if older is not None:
            raise EndingError("name two snapshots, or none for the last two", USAGE)
        older, newer = _last(source, worker)
    document = asking.asked(source, "GET", "api/diff", {"from": older, "to": newer, **worker})
    if options.json:
        screen.json(document)
    else:
        screen.say(*asking.read(document, lambda diff: _compared(diff, screen.columns)))
    return FINE


def _last(source: asking.Source, worker: Mapping[str, str]) -> tuple[str, str]:
    """Return the ids of the newest snapshot of a worker and of the one before it."""
    own = asking.read(asking.asked(source, "GET", "api/snapshots", worker), _ids)
    if len(own) > 1:
        return own[-2], own[-1]
    raise EndingError(
        f"{humane.count(len(own), 'snapshot')} so far, and growth is between two: "
        "run leakmw snapshot, or wait for the next"
    )


def _ids(document: Any) -> list[str]:
    return [str(one["id"]) for one in document["snapshots"]]


def _asked(source: asking.Source, options: Namespace) -> Mapping[str, str]:
    """Return the query that names one worker: each has snapshots of its own."""
    if options.worker is not None:
        return sources.worker(options)
    document = asking.asked(source, "GET", "api/workers")
    alive = asking.read(document, lambda known: [w for w in known["workers"] if w["alive"]])
    return {"worker": called(alive[0]["worker"])} if len(alive) > 1 else {}


def _listed(document: Any, columns: int) -> list[str]:
    """Return the snapshot of one worker, or of each."""
    if "workers" not in document:
        return _table([document], columns)
    answers = [
        (called(one["worker"]), one["status"], one["answer"]) for one in document["workers"]
    ]
    taken = [answer | {"worker": name} for name, status, answer in answers if status < ERRORS]
    failed = [
        f"{printable(name)}: {printable(answer['error']['message'])}"
        for name, status, answer in answers
        if status >= ERRORS
    ]
    return [*(_table(taken, columns) if taken else ()), *failed]


def called(worker: Any) -> str:
    """Return the name by which a worker is asked for."""
    return f"{worker['host']}:{worker['pid']}"


def _table(taken: Sequence[Any], columns: int) -> list[str]:
    figures = [
        ["requests", *(f"{one['visits']:,}" for one in taken)],
        ["RSS", *(humane.size(one["memory"]["rss_bytes"]) for one in taken)],
        ["live", *(humane.size(one["trace"]["bytes"]) for one in taken)],
        ["took", *(humane.duration(one["trace"]["seconds"]) for one in taken)],
        ["paused", *(humane.duration(one["trace"]["pause_seconds"]) for one in taken)],
        ["in flight", *(f"{one['in_flight']:,}" for one in taken)],
    ]
    return columned(["snapshot", *map(_named, taken)], figures, columns)


def _named(snapshot: Any) -> str:
    worker = snapshot.get("worker")
    return printable(f"{snapshot['id']} of {worker}" if worker else snapshot["id"])


def _compared(diff: Any, columns: int) -> list[str]:
    sites, totals = reading.growths(diff["sites"]), reading.totals(diff["endpoints"])
    span = f"{humane.count(diff['visits'], 'request')} in {humane.duration(diff['seconds'])}"
    facts = ("from", _moment(diff["from"])), ("to", _moment(diff["to"])), ("window", span)
    lines = list(labelled(facts, columns))
    if totals:
        names = ["endpoint", *(growth.endpoint for growth in totals)]
        lines += ["", *columned(names, grown(totals), columns)]
    if sites:
        lines += ["", *_sites(sites[:SITES], columns)]
    if len(sites) > SITES:
        lines.append(f"and {humane.count(len(sites) - SITES, 'site')} more")
    return lines if totals or sites else [*lines, "", "Nothing grew."]


def _moment(snapshot: Any) -> str:
    taken = datetime.fromisoformat(snapshot["taken_at"])
    return f"{printable(snapshot['id'])}, {humane.moment(taken)}"


def _sites(sites: Sequence[Growth], columns: int) -> list[str]:
    figures = [
        *grown(sites),
        ["endpoint", *(printable(growth.endpoint) for growth in sites)],
    ]
    # the first figure, requests, says nothing of a site that its endpoint has not said
    return columned(["site", *(_site(growth, columns) for growth in sites)], figures[1:], columns)


def _site(growth: Growth, columns: int) -> str:
    return "(unknown)" if growth.site is None else place(growth.site, columns)
