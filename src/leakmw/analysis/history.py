"""The state of each finding over time: suspected, confirmed, resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.confidence import confidence
from leakmw.records import Change, Finding, State, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

REMEMBERED = 1000
"""Findings whose state is remembered; the one longest unseen goes first, and is said anew."""

_STATES = {
    Verdict.SUSPECT: State.SUSPECTED,
    Verdict.LEAK: State.CONFIRMED,
    Verdict.SETTLED: State.RESOLVED,
}


class _Known(NamedTuple):
    """What was said of a finding.

    Attributes:
        state: Said last.
        finding: As it was when it was seen last.
        took: Visits of its endpoint after which it came to that state.
        seen: Visits of its endpoint when it was seen last.
    """

    state: State
    finding: Finding
    took: int
    seen: int


class History:
    """Remembers what was said of each finding of one worker."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def confirmed(self) -> frozenset[str]:
        """Return the fingerprints of confirmed leaks."""
        known = self._known.items()
        return frozenset(name for name, one in known if one.state is State.CONFIRMED)

    def update(
        self, found: Sequence[Finding], present: Collection[str], visits: Mapping[str, int]
    ) -> tuple[tuple[Finding, ...], tuple[Change, ...]]:
        """Return findings as they are with all that was known, and what has changed.

        A confirmed leak stays one until it has settled, or was not seen over as many requests as
        had confirmed it. Only what was said is ever resolved.

        Args:
            found: Those to be reported.

            present: Fingerprints of all that were seen, also of those ranked out of the report.

            visits: Of each endpoint, since the worker started.
        """
        changes: list[Change] = []
        findings = []
        for finding in found:
            before = self._known.pop(finding.fingerprint, None)
            finding = _standing(finding, before)  # noqa: PLW2901  # as it is from here on
            findings.append(finding)
            changes.extend(self._moved(finding, before, visited(finding, visits)))
        changes.extend(self._gone(present, visits))
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return tuple(findings), tuple(changes)

    def _moved(self, finding: Finding, before: _Known | None, visits: int) -> Iterator[Change]:
        new = _STATES.get(finding.verdict, before and before.state)
        if new is State.RESOLVED:
            if before is not None:
                yield Change(State.RESOLVED, finding)
        elif new is not None:
            same = before is not None and before.state is new
            took = before.took if before is not None and same else visits
            self._known[finding.fingerprint] = _Known(new, finding, took, visits)
            if not same:
                yield Change(new, finding)

    def _gone(self, present: Collection[str], visits: Mapping[str, int]) -> Iterator[Change]:
        for fingerprint, known in list(self._known.items()):
            now = visited(known.finding, visits)
            if fingerprint in present:
                self._known[fingerprint] = known._replace(seen=now)
            elif now - known.seen >= max(1, known.took):
                del self._known[fingerprint]
                said = f"not seen over the last {now - known.seen:,} requests"
                yield Change(
                    State.RESOLVED,
                    replace(known.finding, verdict=Verdict.SETTLED, evidence=(said,)),
                )


def _standing(finding: Finding, before: _Known | None) -> Finding:
    """Return a leak that was confirmed as one, also where the latest windows show less."""
    confirmed = before is not None and before.state is State.CONFIRMED
    if before is None or not confirmed or finding.verdict is not Verdict.SUSPECT:
        return finding
    said = f"called a leak after {before.took:,} requests; the latest windows show less"
    kept = [one for one in finding.evidence if not one.startswith("too early")]
    return replace(
        finding,
        verdict=Verdict.LEAK,
        confidence=finding.confidence and confidence(Verdict.LEAK, 0),
        evidence=(*kept, said),
        cause=finding.cause or before.finding.cause,
    )


def visited(finding: Finding, visits: Mapping[str, int]) -> int:
    """Return the visits of its endpoint, of all where it has none."""
    endpoint = finding.growth.endpoint
    return visits[endpoint] if endpoint in visits else sum(visits.values())
