"""Group raw traces by origin: the app's own frames on the way to each allocation.

Runs in a forked child where it can, so everything here is plain computing.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.tracers.ownership import FACES, PASSAGES, Ownership, ours

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ROWS = 4096
"""Origins in one snapshot; the ones with fewest bytes are left out."""

KEYS_BYTES = 120
"""What the keys of a small dict take. Python keeps some eighty of them for reuse, and tracemalloc
is not told who gets them next: of all that is handed on, they alone stand where they were made."""

RawFrame = tuple[str, int]
RawTrace = tuple[int, int, tuple[RawFrame, ...], int]
"""As ``_tracemalloc._get_traces`` gives them: domain, bytes, frames innermost first, depth."""

RawTraceback = tuple[RawFrame, ...]


class Group(NamedTuple):
    """Live memory of one origin; tracebacks outermost first.

    Attributes:
        path: The app's own frames, or the innermost frame alone.
        in_visit: Whether a face is on the stack; ``None`` if the traceback is too short to say.
        bytes: Live bytes.
        blocks: Live blocks.
        traceback: A whole traceback, the one with most bytes.
        recyclable: Whether they are of the size of what is handed on without being traced anew.
    """

    path: RawTraceback
    in_visit: bool | None
    bytes: int
    blocks: int
    traceback: RawTraceback
    recyclable: bool = False


class Grouped(NamedTuple):
    """What a process has alive.

    Attributes:
        groups: By origin, most bytes first.
        complete: Whether all of them are there.
        own_bytes: What leakmw itself holds, in bytes.
    """

    groups: list[Group]
    complete: bool
    own_bytes: int


def group(traces: Iterable[RawTrace], ownership: Ownership, cap: int = MAX_ROWS) -> Grouped:
    """Group *traces* by the app's own frames.

    Args:
        traces: One for each live block.

        ownership: Tells the app's own files.

        cap: Groups kept, those with most bytes.
    """
    origins: dict[tuple[RawTraceback, bool | None, bool], list[Any]] = {}
    own_bytes = 0
    for size, count, traceback, depth, recyclable in _by_traceback(traces):
        if is_ours(traceback):
            own_bytes += size
            continue
        key = (*origin(traceback, depth, ownership), recyclable)
        total = origins.setdefault(key, [0, 0, -1, ()])
        total[0] += size
        total[1] += count
        if size > total[2]:
            total[2:] = size, traceback
    ranked = sorted(origins.items(), key=lambda item: -item[1][0])
    groups = [
        Group(path[::-1], in_visit, size, blocks, traceback[::-1], recyclable)
        for (path, in_visit, recyclable), (size, blocks, _, traceback) in ranked[:cap]
    ]
    return Grouped(groups, len(ranked) <= cap, own_bytes)


def _by_traceback(traces: Iterable[RawTrace]) -> Iterable[list[Any]]:
    # equal tracebacks are one object within one call of _get_traces: no hashing of frames needed
    totals: dict[int, list[Any]] = {}
    keys: dict[int, list[Any]] = {}
    for _, size, traceback, depth in traces:
        kind = keys if size == KEYS_BYTES else totals
        total = kind.get(id(traceback))
        if total is None:
            kind[id(traceback)] = [size, 1, traceback, depth, kind is keys]
        else:
            total[0] += size
            total[1] += 1
    return chain(totals.values(), keys.values())


def is_ours(traceback: RawTraceback) -> bool:
    """Whether leakmw allocated it: at the innermost frame, or anywhere on its own thread."""
    if ours(traceback[0][0]):
        return True
    return any(ours(file) and file not in PASSAGES for file, _ in traceback)


def origin(
    traceback: RawTraceback, depth: int, ownership: Ownership
) -> tuple[RawTraceback, bool | None]:
    """Return the app's own frames, innermost first, and whether a visit is on the stack."""
    path: list[RawFrame] = []
    in_visit = False if depth <= len(traceback) else None
    for frame in traceback:
        if frame[0] in FACES:
            in_visit = True
            break
        if ownership.own(frame[0]):
            path.append(frame)
    return tuple(path) or traceback[:1], in_visit
