"""The report for people at a terminal: as wide as theirs is, worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw.report import humane, wording
from leakmw.report.terminal import pad, shorten, width, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leakmw.records import Finding, Frame, Growth, Report, WorkerStatus

COLUMNS = 100
"""Where nobody says how wide it may be."""

NARROWEST = 40
"""Columns that it takes at least: no table gets along with fewer."""

LISTED = 20
"""Endpoints and workers in the tables; the JSON has all."""

_LABEL = 10
_NAME = 20  # columns of a name that still tell something


def text(report: Report, workers: Sequence[WorkerStatus] = (), columns: int = COLUMNS) -> str:
    """Return *report* as lines of at most *columns*, without control characters but newlines.

    What is shown of names that strangers can choose is escaped.

    Args:
        report: What is said.

        workers: Those that are known; several are listed.

        columns: Room in a line, from 40.
    """
    columns = max(columns, NARROWEST)
    sections = [
        _head(report, columns),
        *(told(finding, columns) for finding in report.findings),
        (line for said in wording.meanings(report) for line in wrap(said, columns)),
        endpoints(report, columns),
        listed(workers, columns) if len(workers) > 1 else (),
        _said("note", report.notes, columns),
    ]
    return (
        "\n\n".join(
            "\n".join(shorten(line, columns).rstrip() for line in lines)
            for section in sections
            if (lines := list(section))
        )
        + "\n"
    )


def place(frame: Frame, columns: int) -> str:
    """Return ``shop/views.py:42 in login`` in *columns*: the path gives way first."""
    function = f" in {shorten(frame.function, columns // 3)}" if frame.function else ""
    end = f":{frame.line}{function}"
    return shorten(frame.file, columns - width(end)) + end


def endpoints(report: Report, columns: int = COLUMNS) -> list[str]:
    """Return the table of the endpoints that grew most, as aligned lines."""
    if not report.endpoints:
        return []
    shown = report.endpoints[:LISTED]
    names = ["endpoint", *(growth.endpoint for growth in shown)]
    return columned(names, grown(shown), columns) + _rest(report.endpoints[LISTED:])


def grown(growths: Sequence[Growth]) -> list[list[str]]:
    """Return the columns of figures of *growths*; intervals only where there are any."""
    intervals = list(map(wording.interval, growths))
    figures = [
        ["requests", *(f"{growth.visits:,}" for growth in growths)],
        ["growth", *(humane.size(growth.bytes) for growth in growths)],
        ["per request", *(wording.rate(growth).removesuffix("/request") for growth in growths)],
    ]
    known = any(said != humane.UNKNOWN for said in intervals)
    return [*figures, ["95 % interval", *intervals]] if known else figures


def listed(workers: Sequence[WorkerStatus], columns: int = COLUMNS) -> list[str]:
    """Return the table of the workers, as aligned lines."""
    shown = workers[:LISTED]
    memories = [None if one.memory is None else one.memory.rss_bytes for one in shown]
    table = columned(
        ["worker", *(f"{one.worker.host}, pid {one.worker.pid}" for one in shown)],
        [
            ["requests", *(f"{one.visits:,}" for one in shown)],
            ["RSS", *map(humane.size, memories)],
            ["snapshots", *(f"{one.snapshots:,}" for one in shown)],
            ["errors", *(f"{one.errors:,}" for one in shown)],
            ["seen", *map(wording.seen, shown)],
        ],
        columns,
    )
    left = len(workers) - len(shown)
    return table + ([f"and {humane.count(left, 'worker')} more"] if left else [])


def columned(names: Sequence[str], figures: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Return a table of *columns*: names at the left, figures at the right, each under its title.

    Names are shortened where they must be; the last columns of figures are left out where even
    that is not enough.

    Args:
        names: The first column, its title first.

        figures: The other columns, likewise, the most important one first.

        columns: Room in a line.
    """
    longest = max(width(shorten(name, columns)) for name in names)
    least = min(longest, _NAME, columns // 3)
    widths = [max(map(width, column)) for column in figures]
    while len(widths) > 1 and sum(widths) + 2 * len(widths) > columns - least:
        widths.pop()
    room = max(min(columns - sum(widths) - 2 * len(widths), longest), 1)
    lines = []
    for name, *cells in zip(names, *figures, strict=True):
        said = zip(cells, widths, strict=False)
        shown = ("  " + " " * (wide - width(cell)) + cell for cell, wide in said)
        lines.append((pad(name, room) + "".join(shown)).rstrip())
    return lines


def _rest(left_out: tuple[Growth, ...]) -> list[str]:
    if not left_out:
        return []
    total = humane.size(sum(growth.bytes for growth in left_out))
    return [f"and {humane.count(len(left_out), 'endpoint')} more, {total} together"]


def _head(report: Report, columns: int) -> Iterator[str]:
    title = f"leakmw report on {wording.title(report)}, {humane.moment(report.taken_at)}"
    yield from wrap(title, columns)
    yield from wrap(wording.summary(report), columns)
    yield from labelled(wording.facts(report), columns)


def told(finding: Finding, columns: int) -> Iterator[str]:
    """Yield the lines of one finding, most important first."""
    growth = finding.growth
    yield from _opening(finding, columns)
    room = columns - _LABEL
    at = "no line of the app is known" if growth.site is None else place(growth.site, room - 2)
    yield from _lines("at", [at])
    yield from _said("grew", [wording.grown(growth)], columns)
    yield from _said("why", finding.evidence, columns)
    yield from labelled(wording.details(finding), columns)
    frames = wording.nearest(growth)
    if frames != (growth.site,):
        yield from _lines("through", [place(frame, room - 2) for frame in frames])
    yield from _lines("id", [finding.fingerprint])


def _opening(finding: Finding, columns: int) -> Iterator[str]:
    """Yield verdict, endpoint and pace; the pace on a line of its own where it is too narrow."""
    verdict = f"{finding.verdict.upper()}  "
    pace = wording.pace(finding)
    room = columns - width(verdict) - width(pace) - 2
    endpoint = finding.growth.endpoint
    if room >= min(_NAME, width(endpoint)):
        yield f"{verdict}{pad(endpoint, room)}  {pace}"
    else:
        yield verdict + shorten(endpoint, columns - width(verdict))
        yield from _lines("pace", [pace])


def labelled(sentences: wording.Labelled, columns: int) -> Iterator[str]:
    """Yield sentences, each behind its label and wrapped."""
    for label, sentence in sentences:
        yield from _said(label, [sentence], columns)


def _said(label: str, sentences: Iterable[str], columns: int) -> Iterator[str]:
    room = columns - _LABEL - 2  # the rest of a sentence hangs two columns in
    return _lines(label, [line for sentence in sentences for line in _hanging(sentence, room)])


def _hanging(sentence: str, room: int) -> Iterator[str]:
    first, *rest = wrap(sentence, room)
    yield first
    for line in rest:
        yield f"  {line}"


def _lines(label: str, lines: Iterable[str]) -> Iterator[str]:
    """Put *label* before the first of *lines* and indent the rest as far."""
    for line in lines:
        yield pad(f"  {label}", _LABEL) + line
        label = ""
