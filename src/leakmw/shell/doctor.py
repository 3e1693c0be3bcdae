"""``leakmw doctor``: whether leakmw can do its work here, and whether a deployment lets it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from leakmw import doctor
from leakmw.report.terminal import wrap
from leakmw.shell import deployment, sources
from leakmw.shell.ending import FINE, FOUND
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

_LABEL = 14


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="look whether leakmw can do its work here",
        description="Look whether this Python can do all that leakmw needs, and with --url "
        "whether a running app can be asked, and say what to do. Exit status: 0 if all is well, "
        "1 if not, 2 if the command was wrong.",
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    sources.offer(parser)
    parser.set_defaults(command=run, name="doctor")


def run(options: Namespace) -> int:
    """Look, and print what was found."""
    screen = Screen()
    checks = [*doctor.examine(), _store(options)]
    if deployment.asks(options):
        checks += deployment.examine(options)
    if options.json:
        screen.json([check._asdict() for check in checks])
    else:
        for check in checks:
            screen.say(*_lines(check, screen))
    return FINE if all(check.good for check in checks) else FOUND


def _store(options: Namespace) -> doctor.Check:
    """Look whether history can be written where an app of this folder would."""
    from leakmw.store.database import usable
    from leakmw.store.files import located

    given = options.store or os.environ.get(sources.STORE)
    if given == "memory":
        return doctor.Check("store", True, "history is kept in each worker alone, as asked for")
    file = located(given, options.service or os.environ.get(sources.SERVICE), os.environ)
    problem = usable(file)
    if problem is None:
        return doctor.Check("store", True, str(file))
    return doctor.Check(
        "store", False, problem, f"give {sources.STORE} a file that can be written"
    )


def _lines(check: doctor.Check, screen: Screen) -> Iterator[str]:
    room = max(screen.columns, 40) - _LABEL
    word = screen.paint("ok", "green") + "  " if check.good else screen.paint("bad", "red") + " "
    label = f"{check.name:{_LABEL - 4}}"
    said = wrap(check.found, room) + (wrap(check.remedy, room) if check.remedy else [])
    for line in said:
        yield f"{word}{label}{line}"
        word, label = " " * 4, " " * (_LABEL - 4)
