"""The function around a line, found in the source, and the short name of a file."""

from __future__ import annotations

import re
import sys
import tokenize
from array import array
from functools import lru_cache
from hashlib import blake2b
from os import getcwd
from os.path import abspath, sep
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import Frame, Traceback

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES_KEPT = 64
"""Source files whose definitions are remembered."""

MAX_SOURCE_CHARACTERS = 4 << 20
"""Of one file; what follows has no names."""

CONTINUATION = 200
"""Columns by which a line is taken to be indented that goes on behind a string."""

_DEFINITION = re.compile(r"[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)(.*)")

_STRING_OR_COMMENT = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'{3}(?:\\.|[^\\])*?\'{3}'''
    r"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|\#[^\n]*""",
    re.DOTALL,
)


class _Source(NamedTuple):
    """A file, strings and comments taken out; few objects, as tracemalloc may watch each of them.

    Attributes:
        indents: Columns before the first character of each line; ``_NO_INDENT`` where that says
            nothing.
        names: Of the functions and classes, by the line that they are defined in.
        whole: Those of the lines in which their bodies stand, too.
    """

    indents: array[int]
    names: Mapping[int, str]
    whole: frozenset[int]


_NO_INDENT = -1


def described(traceback: Traceback) -> Traceback:
    """Fill in the functions of *traceback* and shorten its files to what imports call them."""
    roots = _roots()
    return tuple(
        Frame(_short(frame.file, roots), frame.line, _function(frame)) for frame in traceback
    )


def _function(frame: Frame) -> str | None:
    return None if _is_generated(frame.file) else frame.function or function(frame)


def short(file: str) -> str:
    """Return what imports call a file; of code made at run time, no name that it was given."""
    return _short(file, _roots())


def function(frame: Frame) -> str | None:
    """Return the dotted name of the function around the line of *frame*, if the source says it.

    tracemalloc keeps no function names. Parsing a large file would hold the GIL for tens of
    milliseconds; the lines' indentation tells the same.
    """
    indents, defined, whole = _source(frame.file)
    if not 0 <= (line := frame.line - 1) < len(indents):
        return None
    indent = indents[line]
    if indent == _NO_INDENT:  # inside a string, or behind a bracket
        return None
    names = [defined[line]] if line in whole else []
    while indent > 0 and line > 0:
        line -= 1
        if _NO_INDENT < indents[line] < indent:
            indent = indents[line]
            names += [defined[line]] if line in defined else []
    return ".".join(reversed(names)) or "<module>"


@lru_cache(FILES_KEPT)
def _source(file: str) -> _Source:
    try:
        with tokenize.open(file) as source:
            text = source.read(MAX_SOURCE_CHARACTERS)
    except (OSError, SyntaxError, ValueError):
        text = ""
    lines = _STRING_OR_COMMENT.sub(_blank, text).expandtabs().split("\n")
    found = {
        number: definition
        for number, line in enumerate(lines)
        if (definition := _DEFINITION.match(line))
    }
    return _Source(
        array("l", map(_indent, lines)),
        {number: definition[1] for number, definition in found.items()},
        frozenset(
            number
            for number in found
            if not lines[number].rstrip().endswith((":", ",", "(", "[", "\\"))
        ),
    )


def _blank(match: re.Match[str]) -> str:
    """Return what stands for a string or comment: what follows one of many lines is indented."""
    breaks = match[0].count("\n")
    return "\n" * breaks + " " * CONTINUATION if breaks else ""


def _indent(line: str) -> int:
    code = line.lstrip()
    if not code or code[0] in ")]}":  # the end of a signature stands where its def does
        return _NO_INDENT
    return len(line) - len(code)


def _roots() -> tuple[str, ...]:
    """Return the folders that modules are imported from, longest first."""
    try:
        folders = {abspath(entry) if entry else getcwd() for entry in sys.path}
    except OSError:  # the working folder is gone
        folders = {entry for entry in sys.path if entry}
    return tuple(sorted((folder.rstrip(sep) + sep for folder in folders), key=len, reverse=True))


def _is_generated(file: str) -> bool:
    return file.startswith("<") and file not in _PYTHONS and not file.startswith("<frozen ")


_PYTHONS = {"<string>", "<stdin>"}
"""What Python calls code of which it is told no file."""


def _short(file: str, roots: tuple[str, ...]) -> str:
    if _is_generated(file):  # the name may be a value of the app
        return f"<generated {blake2b(file.encode(errors='replace'), digest_size=3).hexdigest()}>"
    for root in roots:
        if file.startswith(root):
            return file[len(root) :]
    return file
