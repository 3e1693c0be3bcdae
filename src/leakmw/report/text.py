"""The report for people at a terminal: at most 100 columns, worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw.report import humane, wording
from leakmw.report.terminal import pad, shorten, width, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakmw.records import Finding, Frame, Growth, Report

COLUMNS = 100
LISTED = 20
"""Endpoints in the table; the JSON report has all."""

_LABEL = 10
_ROOM = COLUMNS - _LABEL - 2  # the rest of a sentence hangs two columns in


def text(report: Report) -> str:
    """Return *report* as lines of at most 100 columns, without any control character but newlines.

    What is shown of names that strangers can choose is escaped.
    """
    sections = [
        _head(report),
        *map(_finding, report.findings),
        wording.meanings(report),
        endpoints(report),
        _said("note", *report.notes),
    ]
    return (
        "\n\n".join(
            "\n".join(shorten(line, COLUMNS).rstrip() for line in lines)
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


def endpoints(report: Report) -> list[str]:
    """Return the table of the endpoints that grew most, as aligned lines."""
    if not report.endpoints:
        return []
    rows = [("requests", "growth", "per request", "95 % interval")]
    rows += [
        (
            f"{growth.visits:,}",
            humane.size(growth.bytes),
            wording.rate(growth).removesuffix("/request"),
            wording.interval(growth),
        )
        for growth in report.endpoints[:LISTED]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    figures = [
        "".join(f"  {cell:>{columns}}" for cell, columns in zip(row, widths, strict=True))
        for row in rows
    ]
    names = ["endpoint", *(growth.endpoint for growth in report.endpoints[:LISTED])]
    room = min(COLUMNS - width(figures[0]), max(width(shorten(name, COLUMNS)) for name in names))
    table = [pad(name, room) + cells for name, cells in zip(names, figures, strict=True)]
    return table + _rest(report.endpoints[LISTED:])


def _rest(left_out: tuple[Growth, ...]) -> list[str]:
    if not left_out:
        return []
    total = humane.size(sum(growth.bytes for growth in left_out))
    return [f"and {humane.count(len(left_out), 'endpoint')} more, {total} together"]


def _head(report: Report) -> Iterator[str]:
    yield f"leakmw report on {wording.title(report)}, {humane.moment(report.taken_at)}"
    yield from wrap(wording.summary(report), COLUMNS)
    yield from _labelled(wording.facts(report))


def _finding(finding: Finding) -> Iterator[str]:
    growth = finding.growth
    verdict = f"{finding.verdict.upper()}  "
    pace = wording.pace(finding)
    room = COLUMNS - width(verdict) - width(pace) - 2
    yield f"{verdict}{pad(growth.endpoint, room)}  {pace}"
    at = "no line of the app is known" if growth.site is None else place(growth.site, _ROOM)
    yield from _lines("at", [at])
    yield from _said("grew", wording.grown(growth))
    yield from _said("why", *finding.evidence)
    yield from _labelled(wording.details(finding))
    frames = wording.nearest(growth)
    if frames != (growth.site,):
        yield from _lines("through", [place(frame, _ROOM) for frame in frames])
    yield from _lines("id", [finding.fingerprint])


def _labelled(sentences: wording.Labelled) -> Iterator[str]:
    for label, sentence in sentences:
        yield from _said(label, sentence)


def _said(label: str, *sentences: str) -> Iterator[str]:
    return _lines(label, [line for sentence in sentences for line in _hanging(sentence)])


def _hanging(sentence: str) -> Iterator[str]:
    first, *rest = wrap(sentence, _ROOM)
    yield first
    for line in rest:
        yield f"  {line}"


def _lines(label: str, lines: Iterable[str]) -> Iterator[str]:
    """Put *label* before the first of *lines* and indent the rest as far."""
    for line in lines:
        yield pad(f"  {label}", _LABEL) + line
        label = ""
