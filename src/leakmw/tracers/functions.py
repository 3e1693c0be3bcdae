"""The function around a line, found in the source, and the short name of a file."""

from __future__ import annotations

import re
import sys
import tokenize
from functools import lru_cache
from os import getcwd
from os.path import abspath, sep

from leakmw.records import Frame, Traceback

FILES_KEPT = 64
"""Source files whose definitions are remembered."""

MAX_SOURCE_BYTES = 4 << 20

_DEFINITION = re.compile(r"^([ \t]*)(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)(.*)", re.MULTILINE)

_Definition = tuple[int, int, str, bool]
"""First line, indentation in columns, name, whether the body stands on the same line."""


def described(traceback: Traceback) -> Traceback:
    """Fill in the functions of *traceback* and shorten its files to what imports call them."""
    roots = _roots()
    return tuple(
        Frame(_short(frame.file, roots), frame.line, frame.function or function(frame))
        for frame in traceback
    )


def function(frame: Frame) -> str | None:
    """Return the dotted name of the function around the line of *frame*, if the source says it.

    tracemalloc keeps no function names. Parsing a large file would hold the GIL for tens of
    milliseconds; the definitions' indentation tells the same.
    """
    indents, definitions = _source(frame.file)
    if not 1 <= frame.line <= len(indents):
        return None
    indent = indents[frame.line - 1]
    names: list[str] = []
    for first, column, name, whole in reversed(definitions):
        if first > frame.line or (first == frame.line and not whole):
            continue
        if column < indent or first == frame.line:
            names.append(name)
            indent = column
        if indent == 0:
            break
    return ".".join(reversed(names)) or "<module>"


@lru_cache(FILES_KEPT)
def _source(file: str) -> tuple[bytes, tuple[_Definition, ...]]:
    """Return each line's indentation, at most 255, and the definitions in order."""
    try:
        with tokenize.open(file) as source:
            text = source.read(MAX_SOURCE_BYTES)
    except (OSError, SyntaxError, ValueError):
        return b"", ()
    indents = bytes(min(_columns(line), 255) for line in text.split("\n"))
    definitions, number, position = [], 1, 0
    for match in _DEFINITION.finditer(text):
        number += text.count("\n", position, match.start())
        position = match.start()
        definitions.append((number, _columns(match[1] + "."), match[2], _whole(match[3])))
    return indents, tuple(definitions)


def _whole(rest: str) -> bool:
    return not rest.partition("#")[0].rstrip().endswith((":", ",", "(", "["))


def _columns(line: str) -> int:
    line = line.expandtabs()
    return len(line) - len(line.lstrip())


def _roots() -> tuple[str, ...]:
    """Return the folders that modules are imported from, longest first."""
    try:
        folders = {abspath(entry) if entry else getcwd() for entry in sys.path}
    except OSError:  # the working folder is gone
        folders = {entry for entry in sys.path if entry}
    return tuple(sorted((folder.rstrip(sep) + sep for folder in folders), key=len, reverse=True))


def _short(file: str, roots: tuple[str, ...]) -> str:
    for root in roots:
        if file.startswith(root):
            return file[len(root) :]
    return file
