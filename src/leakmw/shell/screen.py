"""Where a command writes: as wide, as colorful and with such signs as the other side takes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Literal, TextIO

from leakmw.records import Verdict
from leakmw.report.text import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

Color = Literal["red", "yellow", "green", "faint", "bold", "reverse"]

_CODES: dict[Color, str] = {
    "red": "1;31",
    "yellow": "33",
    "green": "32",
    "faint": "2",
    "bold": "1",
    "reverse": "7",
}

COLORS: dict[Verdict, Color] = {
    Verdict.LEAK: "red",
    Verdict.SUSPECT: "yellow",
    Verdict.BOUNDED: "faint",
    Verdict.SETTLED: "green",
    Verdict.FRAGMENTATION: "faint",
}


class Screen:
    """A stream of text with the manners of a terminal, or of a file.

    Args:
        stream: Standard output where it is left out.

    Attributes:
        terminal: Whether somebody looks on.
        colorful: Whether to use colors: on a terminal that is not dumb, unless ``NO_COLOR`` is
            set; with ``FORCE_COLOR`` also elsewhere. An empty value counts as none.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.terminal = self._stream.isatty()
        self.colorful = _colorful(terminal=self.terminal)

    @property
    def columns(self) -> int:
        """The width: of the terminal, or what ``COLUMNS`` says, or that of a page."""
        if self.terminal or os.environ.get("COLUMNS"):
            return shutil.get_terminal_size((COLUMNS, 24)).columns
        return COLUMNS

    def paint(self, text: str, color: Color | None) -> str:
        """Return *text* in *color*, if colors are wanted."""
        if color is None or not self.colorful or not text:
            return text
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m"

    def say(self, *lines: str) -> None:
        """Write each of *lines*; what the encoding does not have is escaped."""
        self.write("".join(f"{line}\n" for line in lines))

    def write(self, text: str) -> None:
        """Write *text* as it stands."""
        self._stream.write(self.fitting(text))

    def fitting(self, text: str) -> str:
        """Return *text* in signs that the encoding has, the others escaped."""
        try:
            text.encode(self._stream.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            plain = text.replace("…", "~")  # as wide as it was
            return plain.encode("ascii", "backslashreplace").decode("ascii")
        return text

    def json(self, document: Any) -> None:
        """Write *document* and nothing else."""
        self.say(json.dumps(document, indent=2))

    def line(self, document: Any) -> None:
        """Write *document* on one line."""
        self.say(json.dumps(document))

    def findings(self, lines: Iterable[str]) -> None:
        """Write lines of a report, those in color that begin with a verdict."""
        for line in lines:
            word, gap, rest = line.partition("  ")
            verdict = _VERDICTS.get(word)
            painted = self.paint(word, COLORS[verdict]) + gap + rest if verdict else line
            self.say(painted)


_VERDICTS = {verdict.upper(): verdict for verdict in Verdict}


def _colorful(*, terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal and os.environ.get("TERM") != "dumb"
