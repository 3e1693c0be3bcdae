"""What a worker has seen, as bytes that another worker reads: names as JSON, then the columns.

The columns are packed as they lie in memory: both are on one host. To write a worker's usual dozen
of places takes a tenth of a millisecond.
"""

from __future__ import annotations

import json
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

from leakmw.analysis.attribution import Share, Windows
from leakmw.analysis.replacing import Heap, Heaps
from leakmw.analysis.series import Place
from leakmw.analysis.survival import Survival, Turnover
from leakmw.analysis.together import Seen, Total
from leakmw.records import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = 4
"""Changes whenever a reader of the one before would misread it."""


def packed(seen: Seen) -> bytes:
    """Return *seen* as bytes."""
    during = seen.during
    columns = [during.seconds, *during.visits.values(), *chain.from_iterable(seen.totals.values())]
    if during.collections is not None:
        columns.append(during.collections)
    for heap in during.heaps or ():
        columns += [heap.in_use, heap.unseen]
    for share in seen.shares:
        columns += [share.bytes, share.blocks, *chain.from_iterable(share.survival or ())]
    head = {
        "format": FORMAT,
        "start": seen.start,
        "end": seen.end,
        "age": seen.age,
        "windows": len(during.seconds),
        "in_flight": during.in_flight,
        "collecting": during.collections is not None,
        "heaps": [heap.exact for heap in during.heaps or ()],
        "visits": list(during.visits),
        "totals": list(seen.totals),
        "shares": [_head(share) for share in seen.shares],
    }
    names = json.dumps(head, separators=(",", ":")).encode()
    return (
        len(names).to_bytes(4, "little")
        + names
        + array("f", chain.from_iterable(columns)).tobytes()
    )


def _head(share: Share) -> list[Any]:
    """Return all of *share* but its columns."""
    place, known = share.place, share.survival
    return [
        share.endpoint,
        [place.site, sorted(place.endpoints), *place[2:]],
        share.traceback,
        share.variance,
        share.solved,
        share.margin,
        share.candidates,
        None if known is None else [len(known.bytes.born), len(known.blocks.born)],
    ]


def unpacked(content: bytes) -> Seen:
    """Return what was packed.

    Raises:
        ValueError: If it is nothing that this version has packed.
    """
    try:
        start = 4 + int.from_bytes(content[:4], "little")
        head = json.loads(content[4:start])
        if head["format"] != FORMAT:
            raise ValueError("packed by another version")
        return _seen(head, _Columns(content[start:]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("nothing that was packed") from error


class _Columns:
    """Hands out one column after the other."""

    def __init__(self, content: bytes) -> None:
        self._figures = array("f", content)
        self._at = 0

    def next(self, length: int) -> list[float]:
        """Return the next column.

        Raises:
            ValueError: If there is none of that length.
        """
        end = self._at + length
        if not self._at <= end <= len(self._figures):
            raise ValueError("cut short")
        column = self._figures[self._at : end].tolist()
        self._at = end
        return column


def _seen(head: dict[str, Any], columns: _Columns) -> Seen:
    windows = head["windows"]
    seconds = columns.next(windows)
    visits = {name: columns.next(windows) for name in head["visits"]}
    totals = {name: Total(columns.next(windows), columns.next(windows)) for name in head["totals"]}
    collections = columns.next(windows) if head["collecting"] else None
    heaps = [_heap(columns, windows, exact=exact) for exact in head["heaps"]]
    return Seen(
        start=head["start"],
        end=head["end"],
        age=head["age"],
        during=Windows(
            visits, seconds, head["in_flight"], collections, Heaps(*heaps) if heaps else None
        ),
        shares=[_share(one, columns, windows) for one in head["shares"]],
        totals=totals,
    )


def _heap(columns: _Columns, windows: int, *, exact: bool) -> Heap:
    return Heap(columns.next(windows), columns.next(windows), exact)


def _share(head: Sequence[Any], columns: _Columns, windows: int) -> Share:
    endpoint, (site, endpoints, *rest), traceback, variance, solved, margin, candidates, known = (
        head
    )
    return Share(
        endpoint=endpoint,
        place=Place(Frame(*site), frozenset(endpoints), *rest),
        traceback=tuple(Frame(*frame) for frame in traceback),
        bytes=columns.next(windows),
        blocks=columns.next(windows),
        variance=variance,
        solved=solved,
        margin=margin,
        candidates=tuple(candidates),
        survival=known and Survival(*(_turnover(columns, length) for length in known)),
    )


def _turnover(columns: _Columns, length: int) -> Turnover:
    return Turnover(*(columns.next(length) for _ in Turnover._fields))
