"""Group raw traces by origin: the app's own frames on the way to each allocation.

Runs in a forked child where it can, so everything here is plain computing on plain values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.tracers.ownership import FACES, PASSAGES, Ownership, ours

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ROWS = 4096
"""Origins in one snapshot; the ones with fewest bytes are left out."""

RawFrame = tuple[str, int]
RawTrace = tuple[int, int, tuple[RawFrame, ...], int]
"""As ``_tracemalloc._get_traces`` gives them: domain, bytes, frames innermost first, depth."""

Grouped = tuple[list[RawFrame], list[tuple[list[int], int, int, list[int], int]], bool, int]
"""Frames; rows of (path, bytes, blocks, traceback, where), frames as indexes; whether all rows are
there; bytes that leakmw itself holds. Plain values that marshal carries."""

IN_VISIT, OUTSIDE, UNKNOWN = 1, 0, -1
"""Whether a traceback runs through a face, does not, or is too short to say."""


class _Origin:
    __slots__ = ("blocks", "bytes", "most", "traceback")

    def __init__(self) -> None:
        self.bytes = 0
        self.blocks = 0
        self.most = -1
        self.traceback: tuple[RawFrame, ...] = ()

    def add(self, size: int, count: int, traceback: tuple[RawFrame, ...]) -> None:
        self.bytes += size
        self.blocks += count
        if size > self.most:
            self.most = size
            self.traceback = traceback


def group(traces: Iterable[RawTrace], ownership: Ownership, cap: int = MAX_ROWS) -> Grouped:
    """Group *traces* by the app's own frames.

    Args:
        traces: One for each live block.

        ownership: Tells the app's own files.

        cap: Rows kept, those with most bytes.
    """
    origins: dict[tuple[tuple[RawFrame, ...], int], _Origin] = {}
    own_bytes = 0
    for size, count, traceback, depth in _by_traceback(traces):
        if _is_ours(traceback):
            own_bytes += size
            continue
        key = _origin(traceback, depth, ownership)
        origin = origins.get(key)
        if origin is None:
            origin = origins[key] = _Origin()
        origin.add(size, count, traceback)
    ranked = sorted(origins.items(), key=lambda item: -item[1].bytes)
    table = _FrameTable()
    rows = [
        (table.add(path), origin.bytes, origin.blocks, table.add(origin.traceback), where)
        for (path, where), origin in ranked[:cap]
    ]
    return list(table.indexes), rows, len(ranked) <= cap, own_bytes


def _by_traceback(traces: Iterable[RawTrace]) -> Iterable[list[Any]]:
    # equal tracebacks are one object within one call of _get_traces: no hashing of frames needed
    totals: dict[int, list[Any]] = {}
    for _, size, traceback, depth in traces:
        total = totals.get(id(traceback))
        if total is None:
            totals[id(traceback)] = [size, 1, traceback, depth]
        else:
            total[0] += size
            total[1] += 1
    return totals.values()


def _is_ours(traceback: tuple[RawFrame, ...]) -> bool:
    """Whether leakmw allocated it: at the innermost frame, or anywhere on its own thread."""
    if ours(traceback[0][0]):
        return True
    return any(ours(file) and file not in PASSAGES for file, _ in traceback)


def _origin(
    traceback: tuple[RawFrame, ...], depth: int, ownership: Ownership
) -> tuple[tuple[RawFrame, ...], int]:
    path: list[RawFrame] = []
    where = OUTSIDE if depth <= len(traceback) else UNKNOWN
    for frame in traceback:
        if frame[0] in FACES:
            where = IN_VISIT
            break
        if ownership.own(frame[0]):
            path.append(frame)
    return tuple(reversed(path)) or traceback[:1], where


class _FrameTable:
    """Frames by first use, so that each crosses the pipe once."""

    def __init__(self) -> None:
        self.indexes: dict[RawFrame, int] = {}

    def add(self, frames: tuple[RawFrame, ...]) -> list[int]:
        indexes = self.indexes
        return [indexes.setdefault(frame, len(indexes)) for frame in frames]
