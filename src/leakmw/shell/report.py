"""``leakmw report``: the latest report, as text, Markdown or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.records import Verdict
from leakmw.report import reading
from leakmw.report.markdown import markdown
from leakmw.report.text import text
from leakmw.shell import asking, sources
from leakmw.shell.ending import FINE, FOUND
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

FAILING = {"leak": {Verdict.LEAK}, "suspect": {Verdict.LEAK, Verdict.SUSPECT}}
"""Verdicts with which ``--fail-on`` makes the exit status 1."""


def offer(commands: Any) -> None:
    """Add the command."""
    parser: ArgumentParser = commands.add_parser(
        "report",
        help="say which endpoint leaks, from which line",
        description="Say which endpoint leaks, from which line. Exit status: 0 if there is a "
        "report, whatever it says; 1 if there is none yet, or if --fail-on finds what it is told; "
        "2 if the command was wrong, 3 if nobody could be asked.",
    )
    sources.offer_worker(parser, "the report of this worker alone")
    parser.add_argument(
        "--format", choices=["text", "markdown", "json"], default="text", help="default: text"
    )
    parser.add_argument(
        "--json",
        action="store_const",
        const="json",
        dest="format",
        help="the same as --format json",
    )
    offer_failing(parser)
    sources.offer(parser)
    parser.set_defaults(command=run, name="report")


def offer_failing(parser: ArgumentParser) -> None:
    """Add the option that makes a finding an exit status."""
    parser.add_argument(
        "--fail-on",
        choices=list(FAILING),
        help="exit with 1 if a leak is confirmed, or with 'suspect' if one is suspected",
    )


def failing(options: Namespace, verdicts: Iterable[Verdict]) -> int:
    """Return the exit status after *verdicts*."""
    return FOUND if FAILING.get(options.fail_on, set()) & set(verdicts) else FINE


def run(options: Namespace) -> int:
    """Print the report."""
    screen = Screen()
    source = sources.chosen(options)
    document = asking.asked(source, "GET", "api/report", sources.worker(options))
    report = asking.read(document, reading.report)
    if options.format == "json":
        screen.json(document)
    elif options.format == "markdown":
        screen.write(markdown(report))
    else:
        known = () if options.worker else _workers(source)
        screen.findings(text(report, known, screen.columns).splitlines())
    return failing(options, [finding.verdict for finding in report.findings])


def _workers(source: asking.Source) -> Any:
    return asking.read(asking.asked(source, "GET", "api/workers"), reading.workers)
