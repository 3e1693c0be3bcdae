"""``leakmw workers``: every worker of the app that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.report import humane, reading
from leakmw.report.terminal import printable
from leakmw.report.text import columned
from leakmw.shell import asking, sources
from leakmw.shell.ending import FINE, FOUND, EndingError
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from leakmw.records import WorkerStatus


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "workers",
        help="list the workers of the app, and what each takes",
        description="List the workers of the app, and what each takes. Exit status: 0, or 1 if "
        "none is known; 2 if the command was wrong, 3 if nobody could be asked.",
    )
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    sources.offer(parser)
    parser.set_defaults(command=run, name="workers")


def run(options: Namespace) -> int:
    """Print the workers."""
    screen = Screen()
    document = asking.asked(sources.chosen(options), "GET", "api/workers")
    known = asking.read(document, reading.workers)
    if options.json:
        screen.json(document)
        return FINE if known else FOUND
    if not known:
        raise EndingError("no worker has taken a snapshot yet")
    screen.say(*listed(known, screen.columns))
    return FINE


def listed(known: Sequence[WorkerStatus], columns: int) -> list[str]:
    """Return a table of the workers, as aligned lines."""
    memories = [None if one.memory is None else one.memory.rss_bytes for one in known]
    shares = [None if one.engine is None else one.engine.cost_ratio for one in known]
    figures = [
        ["state", *("alive" if one.alive else "gone" for one in known)],
        ["requests", *(f"{one.visits:,}" for one in known)],
        ["RSS", *map(humane.size, memories)],
        ["CPU", *map(humane.share, shares)],
        ["snapshots", *(f"{one.snapshots:,}" for one in known)],
        ["paused", *(humane.duration(one.pause_seconds) for one in known)],
        ["errors", *(f"{one.errors:,}" for one in known)],
        ["version", *(printable(one.version or "") for one in known)],
    ]
    names = ["worker", *(f"{one.worker.host}:{one.worker.pid}" for one in known)]
    return columned(names, figures, columns)
