"""The windows of several workers of one app as one history.

A window is an observation whichever worker made it, so those of all workers are laid one after
the other, in the order of the age that their worker had: what warms up or fills does so early in
each worker's life, and what leaks goes on in all of them. Four workers need a quarter of the time.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from leakmw.analysis.attribution import Share, Windows
from leakmw.analysis.replacing import Heap, Heaps
from leakmw.analysis.survival import Survival, Turnover

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Group = Sequence[tuple[int, "Known"]]
    Columns = Group[Sequence[float]]

Name = TypeVar("Name")
Known = TypeVar("Known")
"""What one worker knows of a name; a group has that of several, each with its worker's place."""

TOLD = 48
"""Places that a worker tells the others of, those that grew most."""

TOLD_ENDPOINTS = 100
"""Endpoints whose growth it tells, those that grew or shrank most."""

LEAST_TOLD = 1 << 10
"""Growth in bytes below which it does not tell of a place."""


class Total(NamedTuple):
    """What one endpoint grew by in each window, at all places together."""

    bytes: list[float]
    blocks: list[float]


class Seen(NamedTuple):
    """What one worker has seen, or several together.

    Attributes:
        start: Seconds since the epoch at the first snapshot.
        end: At the last one.
        age: Visits of the worker at the first.
        during: The windows between all.
        shares: The growth of each (endpoint, site).
        totals: The growth of each endpoint.
    """

    start: float
    end: float
    age: float
    during: Windows
    shares: list[Share]
    totals: dict[str, Total]

    def told(self) -> Seen:
        """Return what other workers are told of it: what may matter to them."""
        shares = [one for one in self.shares if not one.place.native and _grew(one) >= LEAST_TOLD]
        shares.sort(key=_grew, reverse=True)
        names = sorted(self.totals, key=lambda name: -abs(sum(self.totals[name].bytes)))
        return self._replace(
            shares=shares[:TOLD],
            totals={name: self.totals[name] for name in names[:TOLD_ENDPOINTS]},
        )

    def cut(self, part: slice) -> Seen:
        """Return what was seen over the windows of *part*, from the first on."""
        return self._replace(
            during=self.during.cut(part),
            shares=[share.cut(part) for share in self.shares],
            totals={
                name: Total(total.bytes[part], total.blocks[part])
                for name, total in self.totals.items()
            },
        )

    def looked_at(self) -> Seen:
        """Return what the last full collection has seen, too."""
        return self.cut(slice(self.during.looked_at()))


def _grew(share: Share) -> float:
    lasting = share.survival.bytes.growth() if share.survival else 0.0
    return max(sum(share.bytes), lasting)


def together(several: Sequence[Seen]) -> Seen:
    """Return what several workers have seen as what one would have.

    The last windows of all of them become one: nothing has had the time to outlive them.

    Args:
        several: The one first whose word counts where they differ.
    """
    everyone = [one for one in several if one.during.seconds] or several[:1]
    first, *others = everyone
    if not others:
        return first
    order = _Order(everyone)
    visits = _by_name(one.during.visits.items() for one in everyone)
    during = Windows(
        visits={name: order.laid(columns) for name, columns in visits.items()},
        seconds=order.laid_of_all(one.during.seconds for one in everyone),
        in_flight=max(one.during.in_flight for one in everyone),
        collections=_collections(order, everyone),
        heaps=_heaps(order, everyone),
        workers=len(everyone),
    )
    return Seen(
        start=min(one.start for one in everyone),
        end=max(one.end for one in everyone),
        age=first.age,
        during=during,
        shares=_shares(order, everyone),
        totals=_totals(order, everyone),
    )


class _Order:
    """Lays columns of several workers one after the other, by age.

    Args:
        everyone: Each with at least one window.
    """

    def __init__(self, everyone: Sequence[Seen]) -> None:
        ages = [
            (age, worker)
            for worker, one in enumerate(everyone)
            for age in list(accumulate(_visits(one), initial=one.age))[1:-1]
        ]
        self._length = len(ages)
        self._positions: list[list[int]] = [[] for _ in everyone]
        for position, (_, worker) in enumerate(sorted(ages)):
            self._positions[worker].append(position)

    def laid(self, columns: Columns) -> list[float]:
        """Return the columns as one; the last entries of all of them add up to the last."""
        return [*self.settled(columns), sum(column[-1] for _, column in columns)]

    def laid_of_all(self, columns: Iterable[Sequence[float]]) -> list[float]:
        """Return the columns of all workers as one, where each has one."""
        return self.laid(list(enumerate(columns)))

    def settled(self, columns: Columns) -> list[float]:
        """Return the columns as one, without the last window; nothing grew where there is none."""
        laid = [0.0] * self._length
        for worker, column in columns:
            for position, figure in zip(self._positions[worker], column, strict=False):
                laid[position] = figure
        return laid


def _by_name(everyone: Iterable[Iterable[tuple[Name, Known]]]) -> Mapping[Name, Group[Known]]:
    """Return what there is of each name, with the place of the worker that knows it."""
    groups: dict[Name, list[tuple[int, Known]]] = defaultdict(list)
    for worker, told in enumerate(everyone):
        for name, known in told:
            groups[name].append((worker, known))
    return groups


def _visits(one: Seen) -> list[float]:
    return one.during.every_visit() if one.during.visits else [0.0] * len(one.during.seconds)


def _collections(order: _Order, everyone: Sequence[Seen]) -> list[float] | None:
    """Return the collections in each window; ``None`` where one of the workers has none at all."""
    columns = [one.during.collections for one in everyone]
    told = [column for column in columns if column is not None]
    return order.laid_of_all(told) if len(told) == len(columns) else None


def _heaps(order: _Order, everyone: Sequence[Seen]) -> Heaps | None:
    """Return how the heaps have moved; ``None`` where one of the workers does not know."""
    known = [one.during.heaps for one in everyone]
    told = [heaps for heaps in known if heaps is not None]
    if len(told) < len(known):
        return None
    return Heaps(*(_heap(order, one) for one in zip(*told, strict=True)))


def _heap(order: _Order, everyone: Sequence[Heap]) -> Heap:
    return Heap(
        order.laid_of_all(one.in_use for one in everyone),
        order.laid_of_all(one.unseen for one in everyone),
        exact=all(one.exact for one in everyone),
    )


def key(share: Share) -> tuple[str, str, int, bool]:
    """Return what names a share in all workers alike."""
    site = share.place.site
    return share.endpoint, site.file, site.line, share.place.recycled


def _shares(order: _Order, everyone: Sequence[Seen]) -> list[Share]:
    groups = _by_name(((key(share), share) for share in one.shares) for one in everyone)
    return [_share(order, group) for group in groups.values()]


def _share(order: _Order, group: Group[Share]) -> Share:
    there = [share for _, share in group]
    most = max(there, key=lambda share: abs(sum(share.bytes)))
    return there[0]._replace(
        traceback=most.traceback,
        bytes=order.laid([(worker, share.bytes) for worker, share in group]),
        blocks=order.laid([(worker, share.blocks) for worker, share in group]),
        variance=sum(share.variance for share in there),
        solved=any(share.solved for share in there),
        margin=max(share.margin for share in there),
        survival=_survival(order, group),
        processes=max(1, sum(_grew(share) > 0 for share in there)),
    )


def _survival(order: _Order, group: Group[Share]) -> Survival | None:
    """Return the turnover in all of them; ``None`` where one of them does not know its own."""
    known = [(worker, share.survival) for worker, share in group if share.survival is not None]
    if len(known) < len(group):
        return None
    return Survival(
        _turnover(order, [(worker, one.bytes) for worker, one in known]),
        _turnover(order, [(worker, one.blocks) for worker, one in known]),
    )


def _turnover(order: _Order, group: Group[Turnover]) -> Turnover:
    places = range(len(Turnover._fields))
    return Turnover(*(order.settled([(at, one[place]) for at, one in group]) for place in places))


def _totals(order: _Order, everyone: Sequence[Seen]) -> dict[str, Total]:
    return {
        name: Total(
            order.laid([(worker, total.bytes) for worker, total in group]),
            order.laid([(worker, total.blocks) for worker, total in group]),
        )
        for name, group in _by_name(one.totals.items() for one in everyone).items()
    }
