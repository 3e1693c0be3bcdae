"""Group samples by origin, endpoint and birth, each with the weight of what it stands for."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.records import MAX_BIRTHS, Birth, Frame, Known, Row, Traceback
from leakmw.tracers.chunks import chunk_bytes, pool_bytes
from leakmw.tracers.grouping import MAX_ROWS, is_ours, origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from leakmw.tracers.ownership import Ownership

    FrameOf = Callable[[int], tuple[int, str, int, str]]
    """Returns the caller of a node, 0 for none, and its file, line and function."""

RECORD = struct.Struct("=IIQdQ")
"""One sample as the hook writes it: node, birth, size, interval, and whether it is recyclable."""


class Weighted(NamedTuple):
    """Samples by origin.

    Attributes:
        rows: By origin and endpoint, most bytes first.
        complete: Whether all of them are there.
        own_bytes: What leakmw itself holds, in bytes.
        window: The latest window of birth.
        large: What of all the samples lies in the C heap.
        small: What of them lies in Python's own allocator.
    """

    rows: tuple[Row, ...]
    complete: bool
    own_bytes: int
    window: int
    large: Known
    small: Known


class Weight(NamedTuple):
    """What one sample stands for, without bias.

    A block of s bytes is sampled with probability p = 1 - exp(-s / interval), so it stands for
    1 / p blocks like it (Horvitz and Thompson, JASA 47, 1952), with a variance of (1 - p) / p².

    Attributes:
        bytes: Bytes.
        blocks: Blocks.
        variance: Of the bytes.
    """

    bytes: float
    blocks: float
    variance: float


def weigh(size: int, interval: float) -> Weight:
    """Return what a sample stands for.

    Args:
        size: Bytes of the block.

        interval: Mean bytes between two samples.
    """
    missed = math.exp(-size / interval)
    blocks = 1.0 / -math.expm1(-size / interval)
    return Weight(size * blocks, blocks, missed * (size * blocks) ** 2)


def group(
    records: bytes,
    visits: Sequence[Any],
    frame_of: FrameOf,
    ownership: Ownership,
    cap: int = MAX_ROWS,
) -> Weighted:
    """Group samples by the app's own frames and by endpoint.

    Args:
        records: All samples, packed.

        visits: The visit in which each was taken; ``None`` outside of visits.

        frame_of: Looks up a node of a traceback.

        ownership: Tells the app's own files.

        cap: Rows kept, those with most bytes.
    """
    tracebacks = Tracebacks(frame_of, ownership)
    totals: dict[tuple[Any, ...], _Total] = {}
    own_bytes, window = 0.0, 0
    large, small = _Known(), _Known()
    for (node, birth, size, interval, recyclable), visit in zip(
        RECORD.iter_unpack(records), visits, strict=True
    ):
        weight = weigh(size, interval)
        window = max(window, birth)
        if chunk := chunk_bytes(size):
            large.add(chunk, weight)
        else:
            small.add(pool_bytes(size), weight)
        known = tracebacks.of(node)
        if known is None:
            own_bytes += weight.bytes
            continue
        path, through_face, traceback = known
        tally = None if visit is None else visit.endpoint
        endpoint = None if tally is None else tally.name
        in_visit = True if visit is not None else through_face
        key = path, endpoint, in_visit, bool(recyclable)
        total = totals.get(key)
        if total is None:
            total = totals[key] = _Total(own=ownership.own(path[-1].file))
        total.add(birth, weight, traceback)
    rows = sorted(_rows(totals), key=lambda row: -row.bytes)
    return Weighted(
        tuple(rows[:cap]),
        len(rows) <= cap,
        round(own_bytes),
        window,
        Known(large.bytes, large.variance),
        Known(small.bytes, small.variance),
    )


class _Known:
    """What the samples in one heap add up to."""

    __slots__ = ("bytes", "variance")

    def __init__(self) -> None:
        self.bytes = self.variance = 0.0

    def add(self, taken: int, weight: Weight) -> None:
        """Count one sample, whose block takes so many bytes."""
        self.bytes += weight.blocks * taken
        self.variance += weight.variance


class _Total:
    """What the samples of one row add up to."""

    __slots__ = ("births", "most", "own", "traceback", "variance")

    def __init__(self, *, own: bool) -> None:
        self.own = own
        self.births: dict[int, list[float]] = {}
        self.most = -1.0
        self.traceback: Traceback = ()
        self.variance = 0.0

    def add(self, birth: int, weight: Weight, traceback: Traceback) -> None:
        """Count one sample."""
        born = self.births.setdefault(birth, [0.0, 0.0, 0.0, 0.0, 0.0])
        born[0] += weight.bytes
        born[1] += weight.blocks
        born[2] += 1
        born[3] += weight.bytes**2
        born[4] += weight.blocks**2
        self.variance += weight.variance
        if weight.bytes > self.most:
            self.most, self.traceback = weight.bytes, traceback


def _rows(totals: dict[tuple[Any, ...], _Total]) -> Iterator[Row]:
    for (path, endpoint, in_visit, recyclable), total in totals.items():
        births = _births(total.births)
        yield Row(
            path=path,
            bytes=sum(birth.bytes for birth in births),
            blocks=sum(birth.blocks for birth in births),
            traceback=total.traceback,
            endpoint=endpoint,
            births=births,
            variance=total.variance,
            in_visit=in_visit,
            own=total.own,
            recyclable=recyclable,
        )


def _births(born: dict[int, list[float]]) -> tuple[Birth, ...]:
    oldest = max(born) - MAX_BIRTHS + 1
    folded: dict[int, list[float]] = {}
    for window, amounts in born.items():
        before = folded.get(max(window, oldest), (0.0, 0.0, 0.0, 0.0, 0.0))
        folded[max(window, oldest)] = [a + b for a, b in zip(before, amounts, strict=True)]
    return tuple(
        Birth(window, *map(round, amounts[:3]), *amounts[3:])
        for window, amounts in sorted(folded.items())
    )


class Tracebacks:
    """Resolves nodes of the hook's tree, each once."""

    def __init__(self, frame_of: FrameOf, ownership: Ownership) -> None:
        self._frame_of = frame_of
        self._ownership = ownership
        self._frames: dict[int, tuple[int, Frame]] = {}
        self._known: dict[int, tuple[Traceback, bool | None, Traceback] | None] = {}

    def of(self, node: int) -> tuple[Traceback, bool | None, Traceback] | None:
        """Return path, in-visit and traceback of a node; ``None`` if it is leakmw's own."""
        if node not in self._known:
            self._known[node] = self._resolved(node)
        return self._known[node]

    def path(self, node: int) -> Traceback | None:
        """Return the app's own frames of a node, outermost first; ``None`` if it is leakmw's."""
        known = self.of(node)
        return known and known[0]

    def _resolved(self, node: int) -> tuple[Traceback, bool | None, Traceback] | None:
        inward = tuple(self._up(node))
        if not inward:
            inward = (NOWHERE,)
        raw = tuple((frame.file, frame.line) for frame in inward)
        if is_ours(raw):
            return None
        own, in_visit = origin(raw, len(raw), self._ownership)
        places = dict(zip(raw, inward, strict=True))
        path = tuple(places[place] for place in reversed(own))
        return path, in_visit, inward[::-1]

    def _up(self, node: int) -> Iterable[Frame]:
        while node:
            known = self._frames.get(node)
            if known is None:
                caller, file, line, function = self._frame_of(node)
                known = self._frames[node] = caller, Frame(file, line, function)
            node, frame = known
            yield frame


NOWHERE = Frame("<unknown>", 0)
"""Where a block is born while no Python code runs."""
