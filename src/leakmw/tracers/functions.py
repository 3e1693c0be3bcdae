"""The function around a line, found in the source, and the short name of a file."""

from __future__ import annotations

import re
import sys
import tokenize
from functools import lru_cache
from hashlib import blake2b
from os import getcwd
from os.path import abspath, sep
from typing import NamedTuple

from leakmw.records import Frame, Traceback

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


class _Line(NamedTuple):
    """One line of source, strings and comments taken out.

    Attributes:
        indent: Columns before the first character; ``None`` where that says nothing.
        name: Of the function or class that is defined here, if one is.
        whole: Whether its body stands here, too.
    """

    indent: int | None
    name: str | None = None
    whole: bool = False


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
    lines = _source(frame.file)
    if not 1 <= frame.line <= len(lines):
        return None
    indent, name, whole = lines[frame.line - 1]
    if indent is None:  # inside a string, or behind a bracket
        return None
    names = [name] if name and whole else []
    for line in reversed(lines[: frame.line - 1]):
        if indent == 0:
            break
        if line.indent is not None and line.indent < indent:
            indent = line.indent
            names += [line.name] if line.name else []
    return ".".join(reversed(names)) or "<module>"


@lru_cache(FILES_KEPT)
def _source(file: str) -> tuple[_Line, ...]:
    try:
        with tokenize.open(file) as source:
            text = source.read(MAX_SOURCE_CHARACTERS)
    except (OSError, SyntaxError, ValueError):
        return ()
    bare = _STRING_OR_COMMENT.sub(_blank, text)
    return tuple(map(_line, bare.expandtabs().split("\n")))


def _blank(match: re.Match[str]) -> str:
    """Return what stands for a string or comment: what follows one of many lines is indented."""
    breaks = match[0].count("\n")
    return "\n" * breaks + " " * CONTINUATION if breaks else ""


def _line(text: str) -> _Line:
    code = text.strip()
    if not code or code[0] in ")]}":  # the end of a signature stands where its def does
        return _Line(None)
    indent = len(text) - len(text.lstrip())
    definition = _DEFINITION.match(text)
    if definition is None:
        return _Line(indent)
    return _Line(indent, definition[1], whole=not code.endswith((":", ",", "(", "[", "\\")))


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
