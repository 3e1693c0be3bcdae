"""How rows cross the pipe from the forked child: only what changed, in small pieces.

Whatever the parent unpacks it allocates, and tracemalloc makes each allocation cost a microsecond
with the GIL held: thousands of whole rows in one piece would stop the app for a second.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any

from leakmw.records import Frame, Row, Traceback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from leakmw.tracers.grouping import Group, RawTraceback

PIECE = 64
"""Rows in one piece: the GIL is held for one at a time."""

Key = tuple[Traceback, "bool | None", bool]
"""Path, in-visit and recyclable of a row: the same row in two traces has the same key."""


def rows_of(groups: Iterable[Group], before: Mapping[Key, Row]) -> tuple[Row, ...]:
    """Return *groups* as rows, sharing with those of the trace *before* what did not change."""
    framed = _Frames()
    rows = []
    for path, in_visit, size, blocks, traceback, recyclable in groups:
        key = framed(path), in_visit, recyclable
        row = before.get(key)
        if row is None:
            row = _row(key, size, blocks, framed(traceback))
        elif (row.bytes, row.blocks) != (size, blocks):
            row = _resized(row, size, blocks)
        rows.append(row)
    return tuple(rows)


def keyed(rows: Iterable[Row]) -> dict[Key, Row]:
    """Return *rows* by key."""
    return {_key(row): row for row in rows}


def pack(rows: Sequence[Row], before: Mapping[Key, Row]) -> list[bytes]:
    """Return *rows* as pieces, in their order.

    Args:
        rows: Of the new trace.

        before: Those of the trace before, which the other side has, too.
    """
    places = {key: place for place, key in enumerate(before)}
    values = tuple(before.values())

    def packed(row: Row) -> Any:
        path, *kind = key = _key(row)
        place = places.get(key)
        if place is None:
            return _plain(path), row.bytes, row.blocks, _plain(row.traceback), *kind
        if row == values[place]:
            return place
        return place, row.bytes, row.blocks

    return [
        marshal.dumps([packed(row) for row in rows[start : start + PIECE]])
        for start in range(0, len(rows), PIECE)
    ]


def unpack(pieces: Iterable[bytes], before: Mapping[Key, Row]) -> Iterator[Row]:
    """Yield the rows that were packed.

    Args:
        pieces: As :func:`pack` made them.

        before: The same rows, in the same order.
    """
    values = tuple(before.values())
    framed = _Frames()
    for piece in pieces:
        for entry in marshal.loads(piece):  # noqa: S302  # our own child made it
            match entry:
                case int():
                    yield values[entry]
                case (place, size, blocks):
                    yield _resized(values[place], size, blocks)
                case (path, size, blocks, traceback, *kind):
                    yield _row((framed(path), *kind), size, blocks, framed(traceback))


def _resized(row: Row, size: int, blocks: int) -> Row:
    # a traceback of two frames through _replace() would not show that leakmw holds the row
    return _row(_key(row), size, blocks, row.traceback)


def _key(row: Row) -> Key:
    return row.path, row.in_visit, row.recyclable


def _row(key: Key, size: int, blocks: int, traceback: Traceback) -> Row:
    path, in_visit, recyclable = key
    return Row(path, size, blocks, traceback, in_visit=in_visit, recyclable=recyclable)


def _plain(traceback: Traceback) -> RawTraceback:
    return tuple((frame.file, frame.line) for frame in traceback)


class _Frames:
    """Makes each frame once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Frame] = {}

    def __call__(self, traceback: RawTraceback) -> Traceback:
        known = self._known
        return tuple(known.get(raw) or known.setdefault(raw, Frame(*raw)) for raw in traceback)
