"""From kept snapshots to what grew, at each place and endpoint, and to what that is.

The windows of one worker, or of several together, are judged alike.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import attribute, windows
from leakmw.analysis.fitting import ratio
from leakmw.analysis.fragmentation import idle
from leakmw.analysis.native import outside
from leakmw.analysis.series import comparable
from leakmw.analysis.survival import added
from leakmw.analysis.together import Seen, Total, key, together
from leakmw.analysis.verdicts import LEAST_DEVIATIONS, judge
from leakmw.records import (
    Diff,
    Estimate,
    Growth,
    Snapshot,
    SnapshotError,
    Traceback,
    Verdict,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from leakmw.analysis.attribution import Share, Windows
    from leakmw.analysis.fragmentation import Idle
    from leakmw.analysis.survival import Survival
    from leakmw.analysis.verdicts import Judgement
    from leakmw.records import Frame, Glance

MOST_SITES = 100
"""Sites listed between two snapshots."""

MOST_CANDIDATES = 200
"""Possible findings handed over: more than anybody shows, also when some are ignored."""

RANK = {verdict: rank for rank, verdict in enumerate([*Verdict, None])}
"""Which verdict stands before which."""


class Candidate(NamedTuple):
    """A finding that has not been described yet."""

    judgement: Judgement
    growth: Growth
    bytes_per_second: float
    recycled: bool = False
    native: bool = False

    @property
    def grows(self) -> bool:
        """Whether it has not stopped."""
        return self.judgement.grows

    @property
    def place(self) -> tuple[str, Frame | None]:
        """What names it to a user."""
        return self.growth.endpoint, self.growth.site

    def noting(self, said: str) -> Candidate:
        """Return it with one more sentence of evidence, after the first."""
        first, *others = self.judgement.evidence or ("",)
        return self._replace(judgement=self.judgement._replace(evidence=(first, said, *others)))


class Analysis(NamedTuple):
    """What the kept snapshots say together.

    Attributes:
        window: From the first comparable snapshot to the last.
        endpoints: Growth by endpoint, most growth first.
        candidates: What may become findings, worst first.
        collecting: Whether the garbage collector is on.
        undecided: Whether glances at the C heap may tell whose growth there is.
        idle: What nothing uses, if it is much.
        seen: What other workers are told; ``None`` before the first window is over.
    """

    window: Window
    endpoints: tuple[Growth, ...]
    candidates: tuple[Candidate, ...]
    collecting: bool = True
    undecided: bool = False
    idle: Idle | None = None
    seen: Seen | None = None


def analyse(snapshots: Sequence[Snapshot], glances: Sequence[Glance] = ()) -> Analysis:
    """Find what grew over *snapshots*. Plain computing: it runs in a forked child where it can.

    Args:
        snapshots: Those kept, oldest first, at least one.

        glances: At the C heap, between them.
    """
    snapshots = comparable(snapshots)
    window = _window(snapshots[0], snapshots[-1])
    if len(snapshots) == 1:
        return Analysis(window, (), ())
    seen = _seen(snapshots)
    native = outside(snapshots, glances)
    candidates, totals = judged(seen, seen.looked_at)
    return Analysis(
        window,
        _totals(totals, seen.during),
        _worst([*candidates, *(_candidate(*one) for one in native.suspects)]),
        collecting=seen.during.collections is not None,
        undecided=native.undecided,
        idle=idle(snapshots),
        seen=seen.told(),
    )


def joined(analysis: Analysis, others: Sequence[Seen]) -> Analysis:
    """Return what one worker's analysis and what others have seen say together.

    Growth outside of Python's allocators stays what the one worker says of it.
    """
    several = [one for one in (analysis.seen, *others) if one is not None]
    if not others:
        return analysis
    whole = together(several)
    candidates, totals = judged(whole, lambda: together([one.looked_at() for one in several]))
    said = f"seen in {len(several)} workers together"
    native = [one for one in analysis.candidates if one.native]
    return analysis._replace(
        window=Window(
            start=datetime.fromtimestamp(whole.start, UTC),
            end=datetime.fromtimestamp(whole.end, UTC),
            visits=round(sum(whole.during.every_visit())),
            seconds=whole.end - whole.start,
        ),
        endpoints=_totals(totals, whole.during),
        candidates=_worst([*(one.noting(said) for one in candidates), *native]),
    )


def judged(whole: Seen, looked_at: Callable[[], Seen]) -> tuple[list[Candidate], dict[str, Total]]:
    """Return what is to be said of each place, and the growth of each endpoint.

    Args:
        whole: What one worker has seen, or several together.

        looked_at: Returns the part of it that the last full collection has seen. Where nothing
            grows it is not asked: to put that of many workers together takes as long as the rest.
    """

    @cache
    def left() -> tuple[dict[object, Share], Windows]:
        seen = looked_at()
        return {key(share): share for share in seen.shares if seen.during.seconds}, seen.during

    def left_of(share: Share) -> tuple[Share, Windows] | None:
        shares, during = left()
        part = shares.get(key(share))
        return None if part is None else (part, during)

    said = [judge(share, whole.during, partial(left_of, share)) for share in whole.shares]
    handed_on = _handed_on(whole.shares, said)
    grown = zip(whole.shares, said, handed_on, strict=True)
    candidates = [_counted(share, one, whole.during, more) for share, one, more in grown]
    return candidates, _where_kept(whole, handed_on)


def _handed_on(shares: Sequence[Share], said: Sequence[Judgement]) -> list[Total | None]:
    """Return for each place what of the growth elsewhere is its own, if any is.

    A dict that is kept is missing where the next one is needed: there a new one is made. So what
    Python hands on grows elsewhere, and is told to all that grow in proportion.
    """
    elsewhere = [share for share in shares if share.place.recycled]
    growing = [
        max(0.0, sum(share.bytes)) if one.grows and not share.place.recycled else 0.0
        for share, one in zip(shares, said, strict=True)
    ]
    by_chance = LEAST_DEVIATIONS * math.sqrt(sum(share.variance for share in elsewhere))
    if not any(growing) or sum(sum(share.bytes) for share in elsewhere) <= by_chance:
        return [None] * len(shares)
    sizes = _added([share.bytes for share in elsewhere])
    counts = _added([share.blocks for share in elsewhere])
    parts = [growth / sum(growing) for growth in growing]
    return [
        Total([part * size for size in sizes], [part * count for count in counts])
        if part
        else None
        for part in parts
    ]


def _where_kept(seen: Seen, handed_on: Sequence[Total | None]) -> dict[str, Total]:
    """Return the growth of each endpoint, with what Python handed on where it is kept."""
    if not any(handed_on):
        return seen.totals
    parts = {name: [total] for name, total in seen.totals.items()}
    for share, more in zip(seen.shares, handed_on, strict=True):
        if share.place.recycled:
            taken = Total([-size for size in share.bytes], [-count for count in share.blocks])
            parts.setdefault(share.endpoint, []).append(taken)
        if more is not None:
            parts.setdefault(share.endpoint, []).append(more)
    return {name: Total(*map(_added, zip(*part, strict=True))) for name, part in parts.items()}


def _worst(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    found = _explained([one for one in candidates if one.judgement.verdict is not None])
    found.sort(key=lambda one: (RANK[one.judgement.verdict], -one.bytes_per_second))
    # of what is recycled at a line and what is not, the worse stands for both
    worst = {one.place: one for one in reversed(found)}
    return tuple([one for one in found if worst[one.place] is one][:MOST_CANDIDATES])


def _seen(snapshots: Sequence[Snapshot]) -> Seen:
    """Return what the windows between comparable snapshots show."""
    first, last, during = snapshots[0], snapshots[-1], windows(snapshots)
    shares = _merged(attribute(snapshots, during))
    return Seen(
        start=first.taken_at.timestamp(),
        end=last.taken_at.timestamp(),
        age=first.visits,
        during=during,
        shares=shares,
        totals=_by_endpoint(shares, during),
    )


def _explained(found: list[Candidate]) -> list[Candidate]:
    """Leave out recycled objects where something else grows: it is what has got them."""
    grows = any(one.grows and not one.recycled for one in found)
    return [one for one in found if not (grows and one.recycled)]


def compare(
    snapshots: Sequence[Snapshot],
    older: Snapshot,
    newer: Snapshot,
    describe: Callable[[Traceback], Traceback],
) -> Diff:
    """Return the growth between two kept snapshots.

    All windows kept help to tell the endpoints, also where the two are neighbors.

    Args:
        snapshots: Those kept, oldest first.

        older: One of them.

        newer: A later one.

        describe: Fills functions into a traceback and shortens its files.

    Raises:
        SnapshotError: If the two cannot be compared.
    """
    kept = list(comparable(snapshots))
    if older not in kept or newer not in kept:
        raise SnapshotError(
            "these snapshots cannot be compared: tracing was started anew between them, or the "
            "app's own packages became known; compare later ones"
        )
    seen = _seen(kept).cut(slice(kept.index(older), kept.index(newer)))
    shares = _merged(seen.shares, _shown)
    moved = sorted(shares, key=lambda share: -abs(sum(share.bytes)))[:MOST_SITES]
    grown = [_growth(share, seen.during) for share in moved if any(share.bytes)]
    sites = [described_growth(growth, describe) for growth in grown]
    sites.sort(key=lambda growth: -growth.bytes)
    endpoints = _totals(seen.totals, seen.during)
    return Diff(older=older, newer=newer, endpoints=endpoints, sites=tuple(sites))


def _shown(share: Share) -> tuple[str, Frame]:
    """Return what a table calls a share."""
    return share.endpoint, share.place.site


def _merged(shares: Iterable[Share], name: Callable[[Share], object] = key) -> list[Share]:
    """Add up the shares of one name; what holds most speaks for them.

    To be judged, what Python recycles stays apart: it says nothing of the others, nor they of it.
    """
    groups: dict[object, list[Share]] = defaultdict(list)
    for share in shares:
        groups[name(share)].append(share)
    merged = []
    for group in groups.values():
        first = max(group, key=lambda share: abs(sum(share.bytes)))
        merged.append(
            first._replace(
                bytes=_added([share.bytes for share in group]),
                blocks=_added([share.blocks for share in group]),
                margin=sum(share.margin for share in group),
                variance=sum(share.variance for share in group),
                survival=_whole_survival(group),
            )
        )
    return merged


def _whole_survival(group: Sequence[Share]) -> Survival | None:
    known = [share.survival for share in group if share.survival is not None]
    return added(known) if known and len(known) == len(group) else None


def _added(columns: Sequence[Sequence[float]]) -> list[float]:
    """Return the sum of several columns, window by window."""
    return [sum(row) for row in zip(*columns, strict=True)]


def _counted(share: Share, judgement: Judgement, during: Windows, more: Total | None) -> Candidate:
    """Return what may become a finding, with *more* that is its own of what grows elsewhere."""
    if more is None:
        return _candidate(share, judgement, during)
    whole = share._replace(
        bytes=_added([share.bytes, more.bytes]), blocks=_added([share.blocks, more.blocks])
    )
    said = (
        f"{round(sum(more.bytes)):,} bytes of it are dicts, lists, tuples or floats that "
        "Python handed on: they were made at other lines"
    )
    return _candidate(whole, judgement, during).noting(said)


def _candidate(share: Share, judgement: Judgement, during: Windows) -> Candidate:
    return Candidate(
        judgement=judgement,
        growth=_growth(share, during),
        bytes_per_second=sum(share.bytes) / sum(during.seconds),
        recycled=share.place.recycled,
        native=share.place.native,
    )


def described_growth(growth: Growth, describe: Callable[[Traceback], Traceback]) -> Growth:
    """Return *growth* with functions in its traceback and with short names of files."""
    site = growth.site and describe((growth.site,))[0]
    return replace(growth, site=site, traceback=describe(growth.traceback))


def _growth(share: Share, during: Windows) -> Growth:
    visits, native = during.visits.get(share.endpoint), share.place.native
    return Growth(
        endpoint=share.endpoint,
        visits=round(sum(visits or ())),
        bytes=round(sum(share.bytes)),
        blocks=None if native else round(sum(share.blocks)),
        bytes_per_request=_per_request(share, visits),
        site=None if native else share.place.site,
        traceback=share.traceback,
    )


def _per_request(share: Share, visits: list[float] | None) -> Estimate | None:
    if not visits or not sum(visits):
        return None
    estimate, low, high = ratio(share.bytes, visits)
    if low is None or high is None:
        return Estimate(estimate, None, None)
    return Estimate(
        estimate, min(low, estimate - share.margin), max(high, estimate + share.margin)
    )


def _by_endpoint(shares: Iterable[Share], during: Windows) -> dict[str, Total]:
    """Return the growth of every endpoint that was visited or grew."""
    groups: dict[str, list[Share]] = {name: [] for name in during.visits}
    for share in shares:
        groups.setdefault(share.endpoint, []).append(share)
    none = [[0.0] * len(during.seconds)]
    return {
        name: Total(
            _added([share.bytes for share in group] or none),
            _added([share.blocks for share in group] or none),
        )
        for name, group in groups.items()
    }


def _totals(totals: Mapping[str, Total], during: Windows) -> tuple[Growth, ...]:
    """Return the growth of every endpoint, most growth first."""
    grown = [_total(name, *total, during) for name, total in totals.items()]
    grown.sort(key=lambda growth: (-growth.bytes, growth.endpoint))
    return tuple(grown)


def _total(name: str, sizes: list[float], counts: list[float], during: Windows) -> Growth:
    visits = during.visits.get(name)
    return Growth(
        endpoint=name,
        visits=round(sum(visits or ())),
        bytes=round(sum(sizes)),
        blocks=round(sum(counts)),
        bytes_per_request=ratio(sizes, visits) if visits and sum(visits) else None,
    )


def _window(first: Snapshot, last: Snapshot) -> Window:
    return Window(
        start=first.taken_at,
        end=last.taken_at,
        visits=last.visits - first.visits,
        seconds=last.clock - first.clock,
    )
