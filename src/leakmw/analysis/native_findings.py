"""What is said of growth outside of Python's allocators: there is no line to point at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from leakmw.records import BACKGROUND, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

NATIVE = "native-memory"
"""The cause of such growth; it also stands for the site that it does not have."""

GARBAGE_PER_VISIT = 8
"""Bytes of garbage for each visit of its endpoint behind which native memory may wait. Growth that
follows visits so closely comes in pieces, at least one for eight of them, and behind each there
would be 64 bytes of garbage at least."""

MOST_LINES = 3
"""Lines named that grow at the same endpoint."""

ADVICE = (
    "see what {endpoint} gets from libraries written in C, C++ or Rust (contexts, handles, "
    "parsers, arrays, images) and close it or keep it once for all requests; "
    "`python -m memray run --native` names the C functions"
)


def held_natively(ripe: Finding, garbage: int | None) -> Finding:
    """Judge what is a leak unless it waits behind garbage, of which a little may hold much.

    Args:
        ripe: The suspect; the last sentence of its evidence is about garbage.

        garbage: Bytes of Python's garbage in the whole process, ``None`` if that is not known.
    """
    if garbage is None:
        return ripe
    rest = ripe.evidence[:-1]
    if garbage > GARBAGE_PER_VISIT * ripe.growth.visits:
        said = (
            f"{garbage:,} bytes of garbage wait for a full collection: what grew may hang on that"
        )
        return replace(ripe, evidence=(*rest, said))
    said = f"a collection would free {garbage:,} bytes: too little for all this to hang on it"
    return replace(ripe, verdict=Verdict.LEAK, evidence=(*rest, said))


def with_company(found: Sequence[Finding], loaded: Container[str]) -> tuple[Finding, ...]:
    """Say of what grows natively what else is known that may explain it.

    Args:
        found: All findings.

        loaded: Names of the modules that are loaded.
    """
    return tuple(_explained(one, found, loaded) if _is_native(one) else one for one in found)


def _is_native(finding: Finding) -> bool:
    return finding.cause == NATIVE and finding.growth.site is None


def _explained(native: Finding, found: Sequence[Finding], loaded: Container[str]) -> Finding:
    endpoint = native.growth.endpoint
    company = [
        (one.verdict, f"{site.file}:{site.line}")
        for one in found
        if (site := one.growth.site)
        and one.growth.endpoint == endpoint != BACKGROUND
        and one.verdict in {Verdict.LEAK, Verdict.SUSPECT, Verdict.BOUNDED}
    ]
    evidence, verdict = list(native.evidence), native.verdict
    if company:
        named = ", ".join(line for _, line in company[:MOST_LINES])
        evidence.append(f"objects that stay at the same endpoint may keep it: see {named}")
    if {one for one, _ in company} == {Verdict.BOUNDED}:
        evidence.append("what holds those has a cap: then this will stop, too")
        verdict = Verdict.SUSPECT
    if "numpy" in loaded:
        evidence.append(
            "NumPy is loaded, and the buffers of its arrays are such memory: "
            '`engine="tracemalloc"` names their lines'
        )
    spoken = endpoint if endpoint != BACKGROUND else "the app"
    return replace(
        native,
        verdict=verdict,
        evidence=tuple(evidence),
        advice=ADVICE.format(endpoint=spoken),
    )
