"""The state of each finding over time: suspected, confirmed, resolved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from leakmw.analysis.confidence import confidence
from leakmw.records import Change, Finding, Remembered, State, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

REMEMBERED = 1000
"""Findings whose state is remembered; the one longest unseen goes first, and is said anew."""

_STATES = {
    Verdict.SUSPECT: State.SUSPECTED,
    Verdict.LEAK: State.CONFIRMED,
    Verdict.SETTLED: State.RESOLVED,
}


class History:
    """Remembers what was said of each finding.

    Args:
        known: What is remembered already, by fingerprint; longest unseen first.

    Attributes:
        known: The same after all that was told since.
    """

    def __init__(self, known: Mapping[str, Remembered] | None = None) -> None:
        self.known: dict[str, Remembered] = dict(known or {})

    def update(
        self,
        found: Sequence[Finding],
        present: Collection[str],
        visits: Mapping[str, int],
        lately: Mapping[str, int] | None = None,
    ) -> tuple[tuple[Finding, ...], tuple[Change, ...]]:
        """Return findings as they are with all that was known, and what has changed.

        A confirmed leak stays one until it has settled, or was not seen over as many requests as
        had confirmed it: until then it is reported also where the latest windows do not show it.
        Only what was said is ever resolved.

        Args:
            found: Those to be reported.

            present: Fingerprints of all that were seen, also of those ranked out of the report.

            visits: Of each endpoint, since there has been a history.

            lately: Of each endpoint, of this version of the app, where others are in the history.
        """
        changes: list[Change] = []
        findings = []
        for finding in found:
            before = self.known.pop(finding.fingerprint, None)
            finding = standing(finding, before)  # noqa: PLW2901  # as it is from here on
            findings.append(finding)
            now = visited(finding, visits)
            took = now if lately is None else visited(finding, lately)
            changes.extend(self._moved(finding, before, now, took))
        changes.extend(self._gone(present, visits))
        findings.extend(self._unseen(present, visits))
        while len(self.known) > REMEMBERED:
            del self.known[next(iter(self.known))]
        return tuple(findings), tuple(changes)

    def _moved(
        self, finding: Finding, before: Remembered | None, now: int, took: int
    ) -> Iterator[Change]:
        new = _STATES.get(finding.verdict, before and before.state)
        if new is State.RESOLVED:
            if before is not None:
                yield Change(State.RESOLVED, finding)
        elif new is not None:
            same = before is not None and before.state is new
            self.known[finding.fingerprint] = Remembered(
                state=new,
                finding=finding,
                took=before.took if before is not None and same else took,
                seen=now,
                since=before.since if before is not None else datetime.now(UTC),
            )
            if not same:
                yield Change(new, finding)

    def _unseen(self, present: Collection[str], visits: Mapping[str, int]) -> Iterator[Finding]:
        for fingerprint, known in self.known.items():
            if known.state is State.CONFIRMED and fingerprint not in present:
                missing = visited(known.finding, visits) - known.seen
                said = (
                    f"called a leak after {known.took:,} requests, and not seen over the last "
                    f"{missing:,}: resolved after {known.took - missing:,} more without it"
                )
                yield replace(known.finding, evidence=(said, *known.finding.evidence))

    def _gone(self, present: Collection[str], visits: Mapping[str, int]) -> Iterator[Change]:
        for fingerprint, known in list(self.known.items()):
            now = visited(known.finding, visits)
            if fingerprint in present:
                self.known[fingerprint] = known._replace(seen=now)
            elif now - known.seen >= max(1, known.took):
                del self.known[fingerprint]
                said = f"not seen over the last {now - known.seen:,} requests"
                yield Change(
                    State.RESOLVED,
                    replace(known.finding, verdict=Verdict.SETTLED, evidence=(said,)),
                )


def standing(finding: Finding, before: Remembered | None) -> Finding:
    """Return a finding with what is remembered of it.

    A leak that was confirmed is one also where the latest windows show less, but not where they
    speak against it; what holds it is what another worker has seen if this one has not looked.
    """
    if before is not None and finding.holder is None and finding.grows:
        seen = before.finding
        finding = replace(
            finding,
            cause=finding.cause or seen.cause,
            holder=seen.holder,
            types=finding.types or seen.types,
            advice=finding.advice or seen.advice,
        )
    confirmed = before is not None and before.state is State.CONFIRMED
    lessened = finding.verdict is Verdict.SUSPECT and not finding.doubted
    if before is None or not confirmed or not lessened:
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
