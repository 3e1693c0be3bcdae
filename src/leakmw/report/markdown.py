"""The report for tickets: Markdown in which no name can act."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakmw.report import humane, wording
from leakmw.report.terminal import printable, shorten
from leakmw.report.text import endpoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakmw.records import Finding, Frame, Report

LONGEST = 200
"""Columns of a name or a frame: the JSON report has the whole of it."""

_MARKS = re.compile(r"[\\`*_\[\]<>&|~$]")
_LINKS = re.compile(r"@|:(?=//)|www(?=\.)", re.IGNORECASE)
_TICKS = re.compile("`+")


def markdown(report: Report) -> str:
    """Return *report* as Markdown: names in code spans, tracebacks folded away.

    Nothing in it mentions a user, links, or becomes HTML, whatever the names are.
    """
    lines = [
        f"# leakmw report on {prose(wording.title(report))}",
        "",
        prose(wording.summary(report)),
        "",
        *_items(("taken", humane.moment(report.taken_at)), *wording.facts(report)),
        *_items(*(("note", note) for note in report.notes)),
    ]
    for finding in report.findings:
        lines += ["", *_finding(finding)]
    table = endpoints(report)
    if table:
        lines += ["", "## Endpoints", "", *_block(table)]
    return "\n".join(lines) + "\n"


def prose(text: str) -> str:
    """Return *text* so that Markdown shows it as it stands, within a line."""
    escaped = _MARKS.sub(r"\\\g<0>", printable(text))
    return _LINKS.sub(r"\g<0><!-- -->", escaped)


def code(text: str) -> str:
    """Return *text* as a code span, fenced by more backticks than it has in a row."""
    shown = shorten(text, LONGEST) or " "
    fence = "`" * (_longest_ticks(shown) + 1)
    gap = " " if "`" in shown or shown != shown.strip() else ""
    return f"{fence}{gap}{shown}{gap}{fence}"


def _finding(finding: Finding) -> Iterator[str]:
    growth = finding.growth
    pace = prose(wording.pace(finding))
    yield f"## {finding.verdict.capitalize()}: {code(growth.endpoint)}, {pace}"
    yield ""
    yield f"- **at:** {_place(growth.site) if growth.site else 'no line of the app is known'}"
    yield from _items(("grew", wording.grown(growth)), ("why", "; ".join(finding.evidence)))
    yield from _items(*wording.details(finding), ("means", wording.MEANINGS[finding.verdict]))
    yield f"- **id:** {code(finding.fingerprint)}"
    if growth.traceback:
        frames = humane.count(len(growth.traceback), "frame")
        yield ""
        yield f"<details><summary>Traceback, {frames}, innermost last</summary>"
        yield ""
        yield from _block(_plain(frame) for frame in growth.traceback)
        yield ""
        yield "</details>"


def _items(*sentences: tuple[str, str]) -> Iterator[str]:
    for label, sentence in sentences:
        if sentence:
            yield f"- **{label}:** {prose(sentence)}"


def _place(frame: Frame) -> str:
    place = code(f"{frame.file}:{frame.line}")
    return f"{place} in {code(frame.function)}" if frame.function else place


def _plain(frame: Frame) -> str:
    return f"{frame.file}:{frame.line}" + (f" in {frame.function}" if frame.function else "")


def _block(lines: Iterable[str]) -> list[str]:
    shown = [shorten(line, LONGEST) for line in lines]
    fence = "`" * max(3, *(_longest_ticks(line) + 1 for line in shown))
    return [f"{fence}text", *shown, fence]


def _longest_ticks(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)
