"""Which endpoint a place's growth belongs to.

Where the tracebacks run through the view of one endpoint, that settles it, whatever overlaps. Else
the windows are solved: the growth of the place in each against the visits of each endpoint.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.fitting import explain
from leakmw.analysis.replacing import Heaps, heaps
from leakmw.analysis.series import Place, Series, collect
from leakmw.records import BACKGROUND, Traceback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leakmw.analysis.fitting import Weight
    from leakmw.analysis.survival import Survival
    from leakmw.records import Snapshot

MAX_FITS = 64
"""Places solved from the windows in one report, those that grew most."""

FIT_BYTES = 2048
"""Growth in all windows below which solving is not worth its time."""

ALL = "(all)"
"""Every visit alike, whatever its endpoint: what middleware does. Never shown."""


class Share(NamedTuple):
    """What one endpoint contributes to the growth of one place.

    Attributes:
        endpoint: Its name, or ``(background)``.
        place: Where the memory is born.
        traceback: A whole traceback behind it.
        bytes: Growth in each window.
        blocks: The same in blocks.
        variance: Of the live bytes at the end, where they are an estimate from samples.
        solved: Whether it was told from the windows, and not by the traceback.
        margin: Half the width of the 95 % interval of its growth per visit or second, as far as
            that comes from telling endpoints apart.
        candidates: Endpoints that may be the ones, where neither traceback nor windows decide.
        survival: Births and deaths, where they are known and all this endpoint's.
        processes: In how many it has grown; each keeps something for reuse.
    """

    endpoint: str
    place: Place
    traceback: Traceback
    bytes: list[float]
    blocks: list[float]
    variance: float = 0.0
    solved: bool = False
    margin: float = 0.0
    candidates: tuple[str, ...] = ()
    survival: Survival | None = None
    processes: int = 1

    def cut(self, part: slice) -> Share:
        """Return what it was over the windows of *part*, of which the last tells no survivors."""
        return self._replace(
            bytes=self.bytes[part],
            blocks=self.blocks[part],
            survival=self.survival and self.survival.cut(part),
        )


class Windows(NamedTuple):
    """What happened between each two snapshots.

    Attributes:
        visits: Visits of each endpoint in each window, by name.
        seconds: Length of each window.
        in_flight: Most visits seen in flight at a snapshot.
        collections: Full garbage collections in each window; ``None`` while the collector is off.
        heaps: How the heaps have moved; ``None`` where nobody tells.
        workers: Whose windows stand here one after the other.
    """

    visits: dict[str, list[float]]
    seconds: list[float]
    in_flight: int
    collections: list[float] | None = None
    heaps: Heaps | None = None
    workers: int = 1

    def every_visit(self) -> list[float]:
        """Return the visits of all endpoints in each window."""
        return [sum(counts) for counts in zip(*self.visits.values(), strict=True)]

    def looked_at(self) -> int:
        """Return how many windows the last full collection has seen; all if it is off.

        What grew in those is no garbage: of what came later nothing is known.
        """
        if self.collections is None:
            return len(self.seconds)
        collected = [index for index, times in enumerate(self.collections, start=1) if times > 0]
        return max(collected, default=0)

    def cut(self, part: slice) -> Windows:
        """Return the windows of *part* alone."""
        return self._replace(
            visits={name: counts[part] for name, counts in self.visits.items()},
            seconds=self.seconds[part],
            collections=self.collections and self.collections[part],
            heaps=self.heaps and self.heaps.cut(part),
        )


def windows(snapshots: Sequence[Snapshot]) -> Windows:
    """Return the windows between *snapshots*."""
    counts = {
        name: [
            snapshot.endpoints[name].visits if name in snapshot.endpoints else 0
            for snapshot in snapshots
        ]
        for name in snapshots[-1].endpoints
    }
    return Windows(
        visits={name: steps(count) for name, count in counts.items() if count[-1] > count[0]},
        seconds=steps([snapshot.clock for snapshot in snapshots]),
        in_flight=max(snapshot.in_flight for snapshot in snapshots),
        collections=None if snapshots[-1].collections is None else _collections(snapshots),
        heaps=heaps(snapshots),
    )


def _collections(snapshots: Sequence[Snapshot]) -> list[float]:
    return steps([snapshot.collections or 0 for snapshot in snapshots])


def steps(levels: Sequence[float]) -> list[float]:
    """Return the differences of neighbors."""
    return [after - before for before, after in pairwise(levels)]


def attribute(snapshots: Sequence[Snapshot], during: Windows) -> list[Share]:
    """Split the growth of every place among the endpoints it belongs to.

    Args:
        snapshots: At least two comparable ones.

        during: The windows between them.
    """
    shares: list[Share] = []
    fits = 0
    series = sorted(collect(snapshots), key=lambda one: -abs(one.bytes[-1] - one.bytes[0]))
    for one in series:
        active = [name for name in one.place.endpoints if name in during.visits]
        # none of them active: a websocket may leak for hours before its first visit is over
        told = active or list(one.place.endpoints)
        if len(told) == 1:
            share = Share(
                endpoint=told[0],
                place=one.place,
                traceback=one.traceback,
                bytes=steps(one.bytes),
                blocks=steps(one.blocks),
                variance=one.variance,
                survival=one.survival,
            )
            shares.append(share)
            continue
        weights: dict[str, Weight] = {}
        if fits < MAX_FITS and abs(one.bytes[-1] - one.bytes[0]) >= FIT_BYTES:
            fits += 1
            weights = _solve(one, active, during)
        shares.extend(_split(one, weights, during))
    return shares


def _solve(one: Series, active: Sequence[str], during: Windows) -> dict[str, Weight]:
    regressors: dict[str, Sequence[float]] = {
        name: during.visits[name] for name in active or during.visits
    }
    preferred = None
    if not active and during.visits and one.place.in_visit is not False:
        preferred = ALL
        regressors[ALL] = during.every_visit()
    if not active and one.place.in_visit is not True:
        preferred = BACKGROUND
        regressors[BACKGROUND] = during.seconds
    if not regressors:
        return {}
    growths = steps(one.bytes)
    block = max(one.bytes) / max(1, *one.blocks)
    noise = block**2 * max(1, during.in_flight) + 2 * one.variance / len(growths)
    sign = 1.0 if sum(growths) >= 0 else -1.0
    return explain([sign * g for g in growths], regressors, preferred=preferred, noise=noise)


def _split(one: Series, weights: Mapping[str, Weight], during: Windows) -> Iterator[Share]:
    """Give each endpoint its part of every window, so that the parts add up to the growth."""
    parts = _amounts(weights, during) or {BACKGROUND: during.seconds}
    totals = [sum(amounts) for amounts in zip(*parts.values(), strict=True)]
    for name, amounts in parts.items():
        portion = [
            amount / total if total else 1 / len(parts)
            for amount, total in zip(amounts, totals, strict=True)
        ]
        yield Share(
            endpoint=name,
            place=one.place,
            traceback=one.traceback,
            bytes=[p * g for p, g in zip(portion, steps(one.bytes), strict=True)],
            blocks=[p * g for p, g in zip(portion, steps(one.blocks), strict=True)],
            variance=one.variance,
            solved=True,
            margin=_margin(weights, name),
            candidates=_candidates(weights) if name == BACKGROUND else (),
            survival=one.survival if len(parts) == 1 else None,
        )


def _margin(weights: Mapping[str, Weight], name: str) -> float:
    parts = (name,) if name == BACKGROUND else (name, ALL)
    return sum(weights[part].margin for part in parts if part in weights)


def _candidates(weights: Mapping[str, Weight]) -> tuple[str, ...]:
    undecided = [(name, *weight.rivals) for name, weight in weights.items() if weight.rivals]
    return tuple(dict.fromkeys(name for names in undecided for name in names))


def _amounts(weights: Mapping[str, Weight], during: Windows) -> Mapping[str, list[float]]:
    """Return what the weights expect of each endpoint in each window.

    What one of several endpoints did is nobody's until it is known which.
    """
    expected: dict[str, list[float]] = {}
    for chosen, weight in weights.items():
        for name, amounts in _regressors(chosen, weight, during).items():
            before = expected.get(name, [0.0] * len(amounts))
            expected[name] = [
                b + weight.estimate * a for b, a in zip(before, amounts, strict=True)
            ]
    return expected


def _regressors(chosen: str, weight: Weight, during: Windows) -> Mapping[str, list[float]]:
    """Return what the weight is to be taken times, by the endpoint to which that belongs."""
    if chosen == BACKGROUND:
        return {BACKGROUND: during.seconds}
    if weight.rivals:
        return {BACKGROUND: during.every_visit() if chosen == ALL else during.visits[chosen]}
    return during.visits if chosen == ALL else {chosen: during.visits[chosen]}
