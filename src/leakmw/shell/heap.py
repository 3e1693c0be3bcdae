"""``leakmw heap``: walk the heap of a worker for what holds what grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.report import humane, reading
from leakmw.report.terminal import wrap
from leakmw.report.text import columned, told
from leakmw.shell import asking, sources
from leakmw.shell.ending import FINE, STATUSES
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace

LISTED = 15
"""Containers and types that are listed; the JSON has all that were told."""


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "heap",
        help="walk the heap for what holds what grows",
        description="Walk the heap of a worker, on a copy of the process, for what holds what "
        f"grows. {STATUSES}",
    )
    sources.offer_worker(parser, "of this worker instead of the one that answers")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    sources.offer(parser)
    parser.set_defaults(command=run, name="heap")


def run(options: Namespace) -> int:
    """Walk, and print what was seen."""
    screen = Screen()
    source = sources.chosen(options)
    document = asking.asked(source, "POST", "api/heap", sources.worker(options))
    if options.json:
        screen.json(document)
    else:
        screen.findings(asking.read(document, lambda seen: _said(seen, screen.columns)))
    return FINE


def _said(seen: Any, columns: int) -> list[str]:
    pause = seen["pause_seconds"]
    stood = "" if pause is None else f", the process standing still for {humane.duration(pause)}"
    objects, took = humane.count(seen["objects"], "object"), humane.duration(seen["seconds"])
    lines = wrap(f"{objects} seen in {took}{stood}", columns)
    for finding in reading.findings(seen):
        lines += ["", *told(finding, columns)]
    containers = seen["containers"][:LISTED]
    if containers:
        caps = ["" if one["cap"] is None else f"{one['cap']:,}" for one in containers]
        figures = [
            ["entries", *(f"{one['length']:,}" for one in containers)],
            ["grown", *(_grown(one["grown"]) for one in containers)],
            ["cap", *caps],
            ["kind", *(one["kind"] for one in containers)],
        ]
        names = ["container", *(one["path"] for one in containers)]
        lines += ["", *columned(names, figures, columns)]
    types = seen["types"][:LISTED]
    if types:
        figures = [
            ["bytes", *(humane.size(one["bytes"]) for one in types)],
            ["objects", *(f"{one['count']:,}" for one in types)],
        ]
        lines += ["", *columned(["type", *(one["type"] for one in types)], figures, columns)]
    return lines


def _grown(entries: int | None) -> str:
    return "new" if entries is None else f"{entries:+,}"
