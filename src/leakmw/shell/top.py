"""``leakmw top``: the worst endpoints and the workers, drawn anew every other second."""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from leakmw.report import reading
from leakmw.shell import asking, overview, sources
from leakmw.shell.ending import FINE, EndingError
from leakmw.shell.fullscreen import QUIT, FullScreen
from leakmw.shell.overview import ORDERS, Overview, Section
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace

    from leakmw.shell.asking import Source

SECONDS = 2.0
"""Between two looks."""

TIMEOUT = 10.0
"""Seconds for which an app may be silent: as long no key is looked at."""


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "top",
        help="watch the worst endpoints and the workers",
        description="Watch the worst endpoints and the workers. Where standard output is no "
        "terminal the same is printed again and again. Exit status: 0 after q, 130 after Ctrl-C; "
        "with --once 1 if there is no report yet; 2 if the command was wrong, 3 if nobody could "
        "be asked at the beginning.",
    )
    parser.add_argument("--once", action="store_true", help="print it once, and end")
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=SECONDS,
        metavar="SECONDS",
        help="between two looks (default: 2)",
    )
    parser.add_argument("--sort", choices=list(ORDERS), default=next(iter(ORDERS)))
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each look")
    sources.offer(parser)
    parser.set_defaults(command=run, name="top", timeout=TIMEOUT)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 86_400:  # noqa: PLR2004  # a day
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to a day")
    return seconds


def run(options: Namespace) -> int:
    """Watch until told to end."""
    screen = Screen()
    source = sources.chosen(options)
    if options.once or options.json or not screen.terminal:
        return _print(source, screen, options)
    first = _look(source)
    keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    with FullScreen(sys.stdout, keys).opened() as full:
        _watch(_Watch(source, screen, full, options), first)
    return FINE


def _print(source: Source, screen: Screen, options: Namespace) -> int:
    """Print what is seen, once or again and again."""
    if options.json:
        return _print_json(source, screen, options)
    while True:
        try:
            view = _look(source)
        except EndingError as ending:
            if options.once:
                raise
            view = Overview(None, (), ending.message)
        if options.once and view.report is None:
            raise EndingError(view.message or "no report yet")
        section = Section(max(screen.columns, 40), None, options.sort)
        screen.say(*overview.lines(view, section, screen))
        if options.once:
            return FINE
        screen.say("")
        sys.stdout.flush()
        time.sleep(options.interval)


def _print_json(source: Source, screen: Screen, options: Namespace) -> int:
    while True:
        screen.line(
            {
                "report": asking.asked(source, "GET", "api/report"),
                **asking.asked(source, "GET", "api/workers"),
            }
        )
        if options.once:
            return FINE
        sys.stdout.flush()
        time.sleep(options.interval)


def _look(source: Source) -> Overview:
    """Return what the app tells now; that it has no report yet is no error.

    Raises:
        EndingError: If nobody answers, or not leakmw.
    """
    answered = source.ask("GET", "api/report")
    workers = asking.read(asking.asked(source, "GET", "api/workers"), reading.workers)
    if answered.status < 400:  # noqa: PLR2004  # where errors begin
        return Overview(asking.read(answered.document, reading.report), workers, None)
    message = asking.read(answered.document, lambda document: str(document["error"]["message"]))
    return Overview(None, workers, message)


class _Watch:
    """What is watched, and how.

    Attributes:
        order: In which the endpoints stand.
        first: How many of them are scrolled away.
    """

    def __init__(
        self, source: Source, screen: Screen, full: FullScreen, options: Namespace
    ) -> None:
        self.source, self.screen, self.full = source, screen, full
        self.interval: float = options.interval
        self.order: str = options.sort
        self.first = 0

    def draw(self, view: Overview) -> None:
        """Fill the screen."""
        columns, rows = self.full.size
        most = len(view.report.endpoints) - 1 if view.report else 0
        self.first = max(0, min(self.first, most))
        section = Section(columns, max(rows - 1, 0), self.order, self.first)
        shown = overview.lines(view, section, self.screen)
        shown += [""] * (rows - 1 - len(shown))
        self.full.draw(
            [
                *map(self.screen.fitting, shown),
                overview.help_line(self.order, columns, self.screen),
            ]
        )

    def press(self, key: str) -> bool:
        """Do what *key* asks for; return whether that was to end."""
        orders = list(ORDERS)
        steps = {"left": -1, "right": 1, "s": 1}
        scroll = {"up": -1, "k": -1, "down": 1, "j": 1}
        if key in steps:
            self.order = orders[(orders.index(self.order) + steps[key]) % len(orders)]
        self.first += scroll.get(key, 0)
        return key in {QUIT, "Q"}


def _watch(watch: _Watch, view: Overview) -> None:
    """Draw and look again until a key ends it."""
    due = time.monotonic() + watch.interval
    while True:
        watch.draw(view)
        keys = watch.full.keys(due - time.monotonic())
        if keys is not None and any(map(watch.press, keys)):
            return
        if time.monotonic() >= due:
            try:
                view = _look(watch.source)
            except EndingError as ending:  # the app may be starting anew
                view = view._replace(message=ending.message)
            due = time.monotonic() + watch.interval
