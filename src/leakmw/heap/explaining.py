"""A finding with what holds it, why, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from leakmw.heap.advice import Subject, advice
from leakmw.records import Finding, Holder, Verdict

if TYPE_CHECKING:
    from leakmw.heap.search import Known
    from leakmw.heap.walk import Found

MOSTLY = 0.5
"""Part of a growth's objects that must be garbage for it to be no leak of the app's."""


def explained(finding: Finding, known: Known | None, *, collecting: bool) -> Finding:
    """Return *finding* with what is known of its holder.

    What still grows below a cap that its holder has is no leak: it will stop there. Nor is what
    only waits for the collector, unless that is off.

    Args:
        finding: A suspect or a leak.

        known: What was found of it in the heap, if anything.

        collecting: Whether the garbage collector is on.
    """
    if known is None:
        return finding
    found = known.found
    cause = finding.cause or found.cause
    holder = _holder(known)
    told = replace(
        finding,
        verdict=_verdict(finding.verdict, found, collecting=collecting),
        holder=holder,
        cause=cause,
        types=found.types or None,
        evidence=(*finding.evidence, *_evidence(found, holder)),
    )
    return replace(told, advice=advice(cause, _subject(told, found)))


def _holder(known: Known) -> Holder | None:
    found = known.found
    if found.path is None:
        return None
    return Holder(
        path=found.path,
        kind=found.kind,
        length=found.length,
        grows_per_request=known.grows_per_request,
        cap=found.cap,
    )


def _verdict(verdict: Verdict, found: Found, *, collecting: bool) -> Verdict:
    if found.cap is not None and found.length is not None and found.length <= found.cap:
        return Verdict.BOUNDED
    if verdict is Verdict.LEAK and collecting and found.garbage > MOSTLY:
        return Verdict.SUSPECT
    return verdict


def _evidence(found: Found, holder: Holder | None) -> tuple[str, ...]:
    said = []
    if holder is not None and found.cap is not None and found.length:
        whole = "" if found.retained is None else _whole(found.retained, found.length, found.cap)
        said.append(f"it has {found.length:,} of at most {found.cap:,} entries{whole}")
    if found.garbage > MOSTLY:
        said.append(f"{found.garbage:.0%} of its objects only wait for the garbage collector")
    if found.retained is not None:
        said.append(f"what only that keeps alive takes {found.retained:,} bytes")
    return tuple(said)


def _whole(retained: int, length: int, cap: int) -> str:
    return f" and will take about {retained / length * cap:,.0f} bytes when it is full"


def _subject(finding: Finding, found: Found) -> Subject:
    site = finding.growth.site
    return Subject(
        endpoint=finding.growth.endpoint,
        site=f"{site.file}:{site.line}" if site else "an unknown place",
        path=found.path or "what holds it",
        entry=found.entry,
        length=found.length,
    )
