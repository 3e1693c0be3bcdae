"""From kept snapshots to the findings and totals of a report, and to the growth between two."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import attribute, windows
from leakmw.analysis.confidence import confidence
from leakmw.analysis.fitting import ratio
from leakmw.analysis.fragmentation import idle
from leakmw.analysis.native import outside
from leakmw.analysis.native_findings import NATIVE, held_natively
from leakmw.analysis.series import comparable
from leakmw.analysis.survival import added
from leakmw.analysis.verdicts import judge
from leakmw.records import (
    Diff,
    Estimate,
    Finding,
    Growth,
    Snapshot,
    SnapshotError,
    Traceback,
    Verdict,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from leakmw.analysis.attribution import Share, Windows
    from leakmw.analysis.fragmentation import Idle
    from leakmw.analysis.survival import Survival
    from leakmw.analysis.verdicts import Judgement
    from leakmw.records import Glance
    from leakmw.settings import Settings

MOST_SITES = 100
"""Sites listed between two snapshots."""

MOST_CANDIDATES = 200
"""Possible findings handed over: more than anybody shows, also when some are ignored."""

GARBAGE_SHARE = 4
"""Times as much as all garbage together that growth must be to be none of it."""

_RANK = {verdict: rank for rank, verdict in enumerate([*Verdict, None])}


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
        return self.judgement.verdict in {Verdict.LEAK, Verdict.SUSPECT}


class Analysis(NamedTuple):
    """What the kept snapshots say together.

    Attributes:
        window: From the first comparable snapshot to the last.
        endpoints: Growth by endpoint, most growth first.
        candidates: What may become findings, worst first.
        collecting: Whether the garbage collector is on.
        undecided: Whether glances at the C heap may tell whose growth there is.
        idle: What nothing uses, if it is much.
    """

    window: Window
    endpoints: tuple[Growth, ...]
    candidates: tuple[Candidate, ...]
    collecting: bool = True
    undecided: bool = False
    idle: Idle | None = None


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
    during = windows(snapshots)
    shares = _merged(attribute(snapshots, during))
    candidates = [_candidate(share, judge(share, during), during) for share in shares]
    native = outside(snapshots, glances)
    candidates += [_candidate(*one) for one in native.suspects]
    found = _explained([one for one in candidates if one.judgement.verdict is not None])
    found.sort(key=lambda one: (_RANK[one.judgement.verdict], -one.bytes_per_second))
    return Analysis(
        window,
        _totals(shares, during),
        tuple(found[:MOST_CANDIDATES]),
        collecting=during.collections is not None,
        undecided=native.undecided,
        idle=idle(snapshots),
    )


def _explained(found: list[Candidate]) -> list[Candidate]:
    """Leave out recycled objects where something else grows: it is what has got them."""
    grows = any(one.grows and not one.recycled for one in found)
    return [one for one in found if not (grows and one.recycled)]


def findings(
    analysis: Analysis,
    settings: Settings,
    describe: Callable[[Traceback], Traceback],
    confirmed: Collection[str] = (),
    garbage: Callable[[], int | None] = lambda: None,
) -> tuple[Finding, ...]:
    """Return all findings worst first, without those to be ignored.

    Args:
        analysis: Of the kept snapshots.

        settings: ``ignore`` is looked at.

        describe: Fills functions into a traceback and shortens its files.

        confirmed: Fingerprints of leaks for which nobody need look for garbage again.

        garbage: Looks how many bytes a garbage collection would free; ``None`` if it cannot now.
            Only called where that decides.
    """
    found = []
    for candidate in analysis.candidates:
        finding = _finding(candidate, describe)
        if _ignored(finding, settings.ignore):
            continue
        if candidate.judgement.ripe and finding.fingerprint in confirmed:
            finding = _leak(finding, "when it was called a leak it was no garbage")
        elif candidate.judgement.ripe and candidate.native:
            finding = held_natively(finding, garbage())
        elif candidate.judgement.ripe:
            finding = without_garbage(finding, garbage(), collecting=analysis.collecting)
        found.append(finding)
    return tuple(ranked(found))


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """Return findings worst first."""
    return sorted(found, key=lambda one: (_RANK[one.verdict], -one.bytes_per_second))


def without_garbage(ripe: Finding, garbage: int | None, *, collecting: bool) -> Finding:
    """Judge what is a leak unless it is garbage.

    Args:
        ripe: The suspect; the last sentence of its evidence is about garbage.

        garbage: Bytes of garbage in the whole process, ``None`` if that is not known.

        collecting: Whether the garbage collector is on.
    """
    if garbage is None:
        return ripe
    if ripe.growth.bytes >= GARBAGE_SHARE * garbage:
        said = f"a collection would free {garbage:,} bytes in the whole process: what grew is held"
        return _leak(ripe, said)
    if collecting:
        said = f"{garbage:,} bytes of garbage wait for a full collection: it may be this"
        return replace(ripe, evidence=(*ripe.evidence[:-1], said))
    if ripe.growth.bytes <= GARBAGE_SHARE * garbage:
        said = f"the garbage collector is off, and {garbage:,} bytes of garbage wait for it"
        return replace(_leak(ripe, said), cause="reference-cycle")
    return ripe


def _leak(ripe: Finding, said: str) -> Finding:
    return replace(
        ripe,
        verdict=Verdict.LEAK,
        confidence=None if ripe.cause == NATIVE else confidence(Verdict.LEAK, 0),
        evidence=(*ripe.evidence[:-1], said),
    )


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
    part = slice(kept.index(older), kept.index(newer))
    everything = windows(kept)
    shares = [share.cut(part) for share in _merged(attribute(kept, everything))]
    during = everything.cut(part)
    moved = sorted(shares, key=lambda share: -abs(sum(share.bytes)))[:MOST_SITES]
    sites = [_described(_growth(share, during), describe) for share in moved if any(share.bytes)]
    sites.sort(key=lambda growth: -growth.bytes)
    return Diff(older=older, newer=newer, endpoints=_totals(shares, during), sites=tuple(sites))


def _merged(shares: Iterable[Share]) -> list[Share]:
    """Add up the places of one (endpoint, site); what holds most speaks for them."""
    groups: dict[tuple[str, object], list[Share]] = defaultdict(list)
    for share in shares:
        groups[share.endpoint, share.place.site].append(share)
    merged = []
    for group in groups.values():
        first = max(group, key=lambda share: abs(sum(share.bytes)))
        merged.append(
            first._replace(
                bytes=[sum(column) for column in zip(*(s.bytes for s in group), strict=True)],
                blocks=[sum(column) for column in zip(*(s.blocks for s in group), strict=True)],
                margin=sum(share.margin for share in group),
                variance=sum(share.variance for share in group),
                survival=_whole_survival(group),
            )
        )
    return merged


def _whole_survival(group: Sequence[Share]) -> Survival | None:
    known = [share.survival for share in group if share.survival is not None]
    return added(known) if known and len(known) == len(group) else None


def _candidate(share: Share, judgement: Judgement, during: Windows) -> Candidate:
    return Candidate(
        judgement=judgement,
        growth=_growth(share, during),
        bytes_per_second=sum(share.bytes) / sum(during.seconds),
        recycled=share.place.recycled,
        native=share.place.native,
    )


def _finding(candidate: Candidate, describe: Callable[[Traceback], Traceback]) -> Finding:
    growth = _described(candidate.growth, describe)
    verdict = candidate.judgement.verdict or Verdict.SUSPECT
    cause = NATIVE if candidate.native else None
    counted = not candidate.native
    return Finding(
        fingerprint=_fingerprint(growth, cause),
        verdict=verdict,
        growth=growth,
        bytes_per_second=candidate.bytes_per_second,
        confidence=confidence(verdict, candidate.judgement.windows) if counted else None,
        evidence=candidate.judgement.evidence,
        born=None if candidate.native else candidate.growth.site,
        cause=cause,
    )


def _described(growth: Growth, describe: Callable[[Traceback], Traceback]) -> Growth:
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


def _totals(shares: Iterable[Share], during: Windows) -> tuple[Growth, ...]:
    """Return the growth of every endpoint that was visited or grew, most growth first."""
    groups: dict[str, list[Share]] = {name: [] for name in during.visits}
    for share in shares:
        groups.setdefault(share.endpoint, []).append(share)
    totals = [_total(name, group, during) for name, group in groups.items()]
    totals.sort(key=lambda growth: (-growth.bytes, growth.endpoint))
    return tuple(totals)


def _total(name: str, group: list[Share], during: Windows) -> Growth:
    none = [[0.0] * len(during.seconds)]
    sizes = [sum(column) for column in zip(*([s.bytes for s in group] or none), strict=True)]
    counts = [sum(column) for column in zip(*([s.blocks for s in group] or none), strict=True)]
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


def _fingerprint(growth: Growth, cause: str | None = None) -> str:
    """Return what names a finding: endpoint and site, or the cause where there is no site."""
    site = growth.site
    named = (growth.endpoint, *(map(str, site) if site else filter(None, [cause])))
    return hashlib.sha256("\0".join(named).encode(errors="replace")).hexdigest()[:12]


def _ignored(finding: Finding, globs: tuple[str, ...]) -> bool:
    site = finding.growth.site
    if site is None:
        return any(fnmatchcase(finding.cause or "", glob) for glob in globs)
    names = (site.file, f"{site.file}:{site.line}", f"{site.file}:{site.function}")
    return any(fnmatchcase(name, glob) for name in names for glob in globs)
