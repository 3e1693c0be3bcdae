"""``leakmw logs``: what a fleet has logged, as one table."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from leakmw.records import Verdict
from leakmw.report import humane
from leakmw.report.terminal import printable, wrap
from leakmw.report.text import columned
from leakmw.shell.ending import FOUND, USAGE, EndingError
from leakmw.shell.fleet import FIELDS, Fleet, Row
from leakmw.shell.lines import BadLineError, events
from leakmw.shell.report import failing, offer_failing
from leakmw.shell.screen import COLORS, Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

LONGEST = 4 * 1024 * 1024
"""Bytes of a line that are read; an event has 8 KiB, an answer of Elasticsearch many of them."""

_GZIP = b"\x1f\x8b"


def offer(commands: Any) -> None:
    """Add the command."""
    parser: ArgumentParser = commands.add_parser(
        "logs",
        help="fold what a fleet has logged into one table",
        description="Fold the events of leakmw in log files into one table. Exit status: 0, or 1 "
        "if there is no event, if a file cannot be read, or if --fail-on finds what it is told; 2 "
        "if the command was wrong.",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="JSON lines, also gzipped; - is standard input"
    )
    parser.add_argument(
        "--by",
        type=_fields,
        default=FIELDS,
        metavar="FIELDS",
        help=f"what tells the rows apart (default: {','.join(FIELDS)})",
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    offer_failing(parser)
    parser.set_defaults(command=run, name="logs")


def _fields(text: str) -> tuple[str, ...]:
    from argparse import ArgumentTypeError

    named = tuple(text.split(","))
    if not set(named) <= set(FIELDS) or len(set(named)) < len(named):
        raise ArgumentTypeError(f"{text!r}: use some of {','.join(FIELDS)}")
    return tuple(field for field in FIELDS if field in named)


class Reading:
    """What is read from files, line by line: nothing is kept but the table.

    Attributes:
        fleet: The table.
        lines: How many were read.
        bad: How many of them name an event and are broken, or are too long.
        failed: Files that could not be read to their end.
    """

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.lines = 0
        self.bad = 0
        self.failed = 0

    def read(self, name: str) -> None:
        """Read the file *name*; one that cannot be is said on standard error."""
        try:
            with _opened(name) as stream:
                for line in _lines(stream):
                    self._take(line)
        except (OSError, EOFError, zlib.error) as error:
            self.failed += 1
            reason = getattr(error, "strerror", None) or str(error)
            sys.stderr.write(f"leakmw logs: {printable(name)}: {reason}\n")

    def _take(self, line: bytes | None) -> None:
        self.lines += 1
        if line is None:
            self.bad += 1
        elif b"leakmw." in line:
            try:
                for event in events(line.decode("utf-8", "replace")):
                    self.fleet.fold(event)
            except BadLineError:
                self.bad += 1


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open a file, which may be gzipped; ``-`` is standard input."""
    if name == "-":
        yield _plain(sys.stdin.buffer)
        return
    with Path(name).open("rb") as stream:
        yield _plain(stream)


def _plain(stream: Any) -> Any:
    peeked = stream if hasattr(stream, "peek") else BufferedReader(stream)
    return gzip.GzipFile(fileobj=peeked) if peeked.peek(2)[:2] == _GZIP else peeked


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of *stream*, ``None`` for one that is too long."""
    while line := stream.readline(LONGEST):
        whole = len(line) < LONGEST or line.endswith(b"\n")
        while len(line) == LONGEST and not line.endswith(b"\n"):
            line = stream.readline(LONGEST)
        yield line if whole else None


def run(options: Namespace) -> int:
    """Read the files and print the table."""
    screen = Screen()
    files = options.files or ["-"]
    if not options.files and sys.stdin.isatty():
        raise EndingError("name a file, or let a log come in by standard input", USAGE)
    reading = Reading()
    for name in files:
        reading.read(name)
    rows = reading.fleet.rows(options.by)
    if options.json:
        screen.json(_document(reading, rows, options.by))
    else:
        _say(screen, reading, rows, options.by)
    if reading.failed or not reading.fleet.counts:
        return FOUND
    return failing(options, [Verdict(row.verdict) for row in rows if row.verdict])


def _document(reading: Reading, rows: Sequence[Row], by: Sequence[str]) -> dict[str, Any]:
    fleet = reading.fleet
    return {
        "rows": [
            {
                **dict(zip(by, row.key, strict=True)),
                "verdict": row.verdict,
                "bytes_per_request": row.rate,
                "visits": row.visits,
                "growth_bytes": row.growth,
                "workers": row.workers,
                "fingerprint": row.fingerprint,
                "site": row.place,
            }
            for row in rows
        ],
        "workers": fleet.workers,
        "events": dict(fleet.counts),
        "left_out": fleet.left_out,
        "lines": reading.lines,
        "bad_lines": reading.bad,
        "failed_files": reading.failed,
    }


def _say(screen: Screen, reading: Reading, rows: Sequence[Row], by: Sequence[str]) -> None:
    columns = max(screen.columns, 40)
    if rows:
        same = _same(rows, by)
        of = " ".join(str(value) for value in same.values() if value is not None)
        workers = humane.count(reading.fleet.workers, "worker")
        screen.say(*wrap(f"{of}: {workers}" if of else workers, columns))
        head, *lines = columned(*_table(rows, by, same), columns)
        screen.say(head)
        for row, line in zip(rows, lines, strict=True):
            color = COLORS[Verdict(row.verdict)] if row.verdict else None
            screen.say(screen.paint(line, color))
        screen.say("")
    for line in _summary(reading):
        screen.say(*wrap(line, columns))


def _same(rows: Sequence[Row], by: Sequence[str]) -> dict[str, str | None]:
    """Return what all rows share, but for the endpoint: said once above the table."""
    return {
        field: rows[0].key[index]
        for index, field in enumerate(by)
        if field != "endpoint" and len({row.key[index] for row in rows}) == 1
    }


def _table(
    rows: Sequence[Row], by: Sequence[str], same: dict[str, str | None]
) -> tuple[list[str], list[list[str]]]:
    values = {
        field: [field, *(printable(row.key[index] or "") for row in rows)]
        for index, field in enumerate(by)
        if field not in same
    }
    names = values.pop("endpoint", None)
    if names is None:
        names = next(iter(values.values()), ["fleet"] + ["all"] * len(rows))
        values = dict(list(values.items())[1:])
    named = [names[0], *(name or "(no finding)" for name in names[1:])]
    figures = [
        ["verdict", *(row.verdict or "" for row in rows)],
        ["per request", *("" if row.verdict is None else humane.size(row.rate) for row in rows)],
        ["workers", *(f"{row.workers:,}" for row in rows)],
        ["requests", *(_count(row.visits) for row in rows)],
        *values.values(),
        ["at", *(printable(row.place or "") for row in rows)],
    ]
    return named, figures


def _count(figure: int | None) -> str:
    return humane.UNKNOWN if figure is None else f"{figure:,}"


def _summary(reading: Reading) -> Iterator[str]:
    counts = reading.fleet.counts
    errors = counts["leakmw.self_error"]
    reports = counts["leakmw.report"]
    changes = counts.total() - errors - reports
    yield (
        f"{humane.count(reading.lines, 'line')}: {humane.count(reports, 'report')}, "
        f"{humane.count(changes, 'change')} of findings."
    )
    if reading.bad:
        yield (
            f"{humane.count(reading.bad, 'line')} could not be read: broken or too long, or JSON "
            "over several lines, of which `jq -c` makes one."
        )
    if errors:
        yield f"{humane.count(errors, 'error')} of leakmw's own (leakmw.self_error)."
    if reading.fleet.left_out:
        yield f"{humane.count(reading.fleet.left_out, 'event')} past the cap left out."
