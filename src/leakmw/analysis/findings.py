"""From what grew to the findings of a report."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from leakmw.analysis.confidence import confidence
from leakmw.analysis.growths import RANK, described_growth
from leakmw.analysis.native_findings import NATIVE, held_natively
from leakmw.records import Finding, Traceback, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from leakmw.analysis.growths import Analysis, Candidate
    from leakmw.records import Growth
    from leakmw.settings import Settings

GARBAGE_SHARE = 4
"""Times as much as all garbage together that growth must be to be none of it."""


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
        finding, judgement = _finding(candidate, describe), candidate.judgement
        if _ignored(finding, settings.ignore):
            continue
        known = finding.fingerprint in confirmed
        if judgement.ripe and known:
            finding = _leak(finding, "when it was called a leak it was no garbage")
        elif judgement.ripe and candidate.native:
            finding = held_natively(finding, garbage())
        elif judgement.ripe:
            finding = without_garbage(finding, garbage(), collecting=analysis.collecting)
        elif (
            judgement.unseen
            and analysis.collecting
            and not (known or candidate.native)
            and _may_be_in(garbage(), finding)
        ):
            continue  # it is too early to say so, and a full collection may take it
        found.append(finding)
    return tuple(ranked(found))


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """Return findings worst first."""
    return sorted(found, key=lambda one: (RANK[one.verdict], -one.bytes_per_second))


def without_garbage(ripe: Finding, garbage: int | None, *, collecting: bool) -> Finding:
    """Judge what is a leak unless it is garbage.

    Args:
        ripe: The suspect; the last sentence of its evidence is about garbage.

        garbage: Bytes of garbage in the whole process, ``None`` if that is not known.

        collecting: Whether the garbage collector is on.
    """
    if garbage is None:
        return ripe
    if not _may_be_in(garbage, ripe):
        said = f"a collection would free {garbage:,} bytes in the whole process: what grew is held"
        return _leak(ripe, said)
    if collecting:
        said = f"{garbage:,} bytes of garbage wait for a full collection: it may be this"
        return replace(ripe, evidence=(*ripe.evidence[:-1], said))
    if ripe.growth.bytes <= GARBAGE_SHARE * garbage:
        said = f"the garbage collector is off, and {garbage:,} bytes of garbage wait for it"
        return replace(_leak(ripe, said), cause="reference-cycle")
    return ripe


def _may_be_in(garbage: int | None, finding: Finding) -> bool:
    """Say whether what grew may be garbage, of which there are so many bytes."""
    return garbage is not None and finding.growth.bytes < GARBAGE_SHARE * garbage


def _leak(ripe: Finding, said: str) -> Finding:
    return replace(
        ripe,
        verdict=Verdict.LEAK,
        confidence=None if ripe.cause == NATIVE else confidence(Verdict.LEAK, 0),
        evidence=(*ripe.evidence[:-1], said),
    )


def _finding(candidate: Candidate, describe: Callable[[Traceback], Traceback]) -> Finding:
    growth = described_growth(candidate.growth, describe)
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
        doubted=candidate.judgement.doubted,
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
