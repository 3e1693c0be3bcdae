"""Line tables without columns, for the few frames that stand below all that an app allocates.

tracemalloc looks up the line of each frame for each allocation, by walking the frame's table from
its start. A table with columns has an entry for each expression: ten of them before the call of
the app are two per cent of a request under tracemalloc.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

Function = TypeVar("Function", bound="Callable[..., Any]")

# CPython's Objects/locations.md, the same from 3.11 on: a byte with a code and a length, then,
# for the code "no columns", how many lines it is further
_ENTRY, _NO_COLUMNS, _NO_LINE = 0x80, 13, 15
_LONGEST = 8
"""Code units that an entry is about at most."""

_PIECE, _MORE = 6, 0x40
"""Bits of a number in a byte, and the bit that says that there is another byte."""


def without_columns(function: Function) -> Function:
    """Return *function*, whose lines are found in a shorter time, and whose columns no longer."""
    code: CodeType = function.__code__
    function.__code__ = code.replace(co_linetable=b"".join(_entries(code)))
    return function


def _entries(code: CodeType) -> Iterator[bytes]:
    last = code.co_firstlineno
    for line, units in groupby(line for line, *_ in code.co_positions()):
        left = sum(1 for _ in units)
        while left:
            length = min(left, _LONGEST)
            left -= length
            if line is None:
                yield _head(_NO_LINE, length)
            else:
                yield _head(_NO_COLUMNS, length) + _signed(line - last)
                last = line


def _head(kind: int, length: int) -> bytes:
    return bytes([_ENTRY | kind << 3 | length - 1])


def _signed(number: int) -> bytes:
    """Return a number in pieces of six bits, lowest first, its sign in the lowest bit."""
    rest = abs(number) << 1 | (number < 0)
    pieces = bytearray()
    while rest >= _MORE:
        pieces.append(rest % _MORE | _MORE)
        rest >>= _PIECE
    pieces.append(rest)
    return bytes(pieces)
