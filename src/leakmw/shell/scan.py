"""``leakmw scan``: serve an app in this process, visit it again and again, and say what leaks.

For a laptop or a build: no server and no store, and the traffic is the same each time.
"""

from __future__ import annotations

import importlib
import os
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from leakmw.records import Verdict
from leakmw.report.document import report_document
from leakmw.report.text import text
from leakmw.settings import SettingsError
from leakmw.shell import routes, visiting
from leakmw.shell.ending import FINE, FOUND, USAGE, EndingError
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from leakmw.records import Report
    from leakmw.shell.visiting import Visitor

REQUESTS = 3000
"""Visits of each path: with them a leak of 100 bytes is found as a rule."""

WINDOWS = 12
"""Snapshots over them, of which eight must show a leak."""

ENABLED = "LEAKMW_ENABLED"

NEVER = 10**9
"""Visits: the snapshots are asked for."""

SAMPLE_BYTES = 1024
"""Between two samples: nobody waits for this app, so that much may be looked at."""

SNAPSHOT_SECONDS = 120.0


def offer(commands: Any) -> None:
    """Add the command."""
    parser: ArgumentParser = commands.add_parser(
        "scan",
        help="visit an app in this process, and say what leaks",
        description="Import an app, visit those of its routes that take no parameter with GET, "
        "again and again, and say what leaks. Exit status: 0 if nothing does, 1 if something "
        "does, 2 if the app cannot be imported or visited.",
    )
    parser.add_argument("app", metavar="MODULE:APP", type=_named, help="such as shop.wsgi:app")
    parser.add_argument(
        "--path",
        action="append",
        metavar="PATH",
        help="visit this, with its query, instead of what the app's router has; may be repeated",
    )
    parser.add_argument(
        "--requests", type=_count, default=REQUESTS, metavar="N", help="of each path (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(command=run, name="scan")


def run(options: Namespace) -> int:
    """Visit the app and print the report."""
    screen = Screen()
    app = _imported(*options.app)
    paths = options.path or routes.without_parameters(app)
    if not paths:
        raise EndingError("no route of the app is known: give some with --path", USAGE)
    try:
        visitor = visiting.of(app, every=NEVER, sample_bytes=SAMPLE_BYTES, store="memory")
    except SettingsError as error:
        raise EndingError(str(error), USAGE) from error
    with visitor:
        report, failed = _visited(visitor, paths, options.requests)
    if options.json:
        screen.json(report_document(report))
    else:
        screen.findings(text(report, (), screen.columns).splitlines())
    for path, status in failed.items():
        sys.stderr.write(f"leakmw scan: {path} was answered with {status}\n")
    return FOUND if Verdict.LEAK in {one.verdict for one in report.findings} else FINE


def _visited(
    visitor: Visitor, paths: list[str], requests: int
) -> tuple[Report, dict[str, int | str]]:
    """Return the report, and what was answered by the paths that do not work."""
    statuses: dict[str, int | str] = {}
    each = max(1, requests // WINDOWS)
    for _ in range(WINDOWS):
        for _ in range(each):
            for path in paths:
                statuses[path] = visitor.visit(path)
        visitor.monitor.take_snapshot(SNAPSHOT_SECONDS)
    report = visitor.monitor.report()
    if report is None:
        raise EndingError("there is no report; look for leakmw.self_error in the log")
    failed = {path: status for path, status in statuses.items() if not _is_fine(status)}
    return report, failed


def _is_fine(status: int | str) -> bool:
    return isinstance(status, int) and status < 400  # noqa: PLR2004  # where errors begin


def _imported(module: str, name: str) -> Any:
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # as servers do
    before = os.environ.get(ENABLED)
    os.environ[ENABLED] = "no"  # an app that is watched already is watched once
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise EndingError(f"{module}:{name} cannot be imported: {error}", USAGE) from error
    finally:
        del os.environ[ENABLED]
        if before is not None:
            os.environ[ENABLED] = before
    return found


def _named(text: str) -> tuple[str, str]:
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ArgumentTypeError(f"{text!r} names no app: use MODULE:APP, such as shop.wsgi:app")
    return module, name


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < WINDOWS:
        raise ArgumentTypeError(f"{text!r} is no whole number from {WINDOWS} on")
    return int(text)
