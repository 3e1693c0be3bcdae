"""A finding has one history: each change of its state is said once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from leakmw.analysis.history import REMEMBERED, History
from leakmw.records import BACKGROUND, Finding, Growth, State, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Change

ENDPOINT = "GET /a"


def finding(verdict: str = "suspect", fingerprint: str = "9f2c41d0b7aa", **known: str) -> Finding:
    """Return a finding of this verdict."""
    growth = Growth(endpoint=known.get("endpoint", ENDPOINT), visits=100, bytes=5000, blocks=50)
    return Finding(
        fingerprint=fingerprint,
        verdict=Verdict(verdict),
        growth=growth,
        bytes_per_second=10.0,
        evidence=("grew", "too early to call it a leak: about 900 more requests"),
    )


def told(
    history: History, found: Sequence[Finding], visits: int = 1000
) -> tuple[tuple[Finding, ...], tuple[Change, ...]]:
    """Update *history* by *found*, after so many visits of the endpoint."""
    present = {one.fingerprint for one in found}
    return history.update(found, present, {ENDPOINT: visits, "GET /b": 500})


@pytest.mark.parametrize(
    ("verdicts", "states"),
    [
        ("suspect", "suspected"),
        ("suspect suspect suspect", "suspected"),
        ("leak", "confirmed"),
        ("suspect leak leak", "suspected confirmed"),
        ("leak suspect leak", "confirmed"),
        ("suspect settled settled", "suspected resolved"),
        ("leak suspect settled", "confirmed resolved"),
        ("suspect settled suspect", "suspected resolved suspected"),
        ("settled", ""),
        ("bounded fragmentation", ""),
        ("suspect bounded suspect", "suspected"),
        ("suspect bounded settled", "suspected resolved"),
    ],
)
def test_each_change_of_state_is_said_once(verdicts: str, states: str) -> None:
    """Repeated snapshots of one state change nothing."""
    history = History()
    changes = [change for one in verdicts.split() for change in told(history, [finding(one)])[1]]
    assert [change.state for change in changes] == states.split()


def test_a_confirmed_leak_stays_one_where_the_latest_windows_show_less() -> None:
    """The evidence says so, and no longer that it is too early."""
    history = History()
    told(history, [finding("leak")], 4000)
    (shown,), changes = told(history, [finding("suspect")], 5000)
    assert shown.verdict is Verdict.LEAK
    assert shown.evidence == (
        "grew",
        "called a leak after 4,000 requests; the latest windows show less",
    )
    assert not changes


def test_a_suspect_that_was_never_confirmed_stays_one() -> None:
    """However often it is seen."""
    history = History()
    told(history, [finding("suspect")])
    (shown,), _ = told(history, [finding("suspect")])
    assert shown == finding("suspect")


def test_what_is_not_seen_for_as_long_as_it_took_is_resolved() -> None:
    """Not before: it may come back with the next snapshot."""
    history = History()
    told(history, [finding("leak")], 3000)
    assert told(history, [], 4000)[1] == ()
    assert told(history, [finding("leak")], 5000)[1] == ()
    assert told(history, [], 7999)[1] == ()
    ((state, gone),) = told(history, [], 8000)[1]
    assert state is State.RESOLVED
    assert gone.verdict is Verdict.SETTLED
    assert gone.evidence == ("not seen over the last 3,000 requests",)
    assert told(history, [], 90_000)[1] == ()


def test_what_follows_no_endpoint_is_resolved_by_all_visits() -> None:
    """They are the clock that is always there."""
    history = History()
    told(history, [finding("suspect", endpoint=BACKGROUND)], 1000)
    assert told(history, [], 2000)[1] == ()
    assert [change.state for change in told(history, [], 2500)[1]] == [State.RESOLVED]


def test_a_finding_that_was_ranked_out_of_a_report_is_not_gone() -> None:
    """It is present, and only not shown."""
    history = History()
    told(history, [finding("suspect")], 1000)
    for visits in (2000, 9000):
        present = {finding().fingerprint}
        assert history.update([], present, {ENDPOINT: visits}) == ((), ())


def test_findings_are_told_apart_by_fingerprint() -> None:
    """Two places have a state each."""
    history = History()
    first, other = finding(), finding(fingerprint="000000000000")
    told(history, [first, other])
    _, changes = told(history, [replace(first, verdict=Verdict.SETTLED), other])
    assert [(one.state, one.finding.fingerprint) for one in changes] == [
        (State.RESOLVED, first.fingerprint)
    ]


def test_a_confirmed_leak_is_reported_until_it_is_resolved() -> None:
    """Also where the latest windows do not show it; a suspicion is not."""
    history = History()
    other = finding(fingerprint="000000000000")
    told(history, [finding("leak"), other], 1000)
    (shown,), changes = told(history, [], 1600)
    assert (shown.fingerprint, shown.verdict, changes) == ("9f2c41d0b7aa", Verdict.LEAK, ())
    assert shown.evidence[0] == (
        "called a leak after 1,000 requests, and not seen over the last 600: resolved after 400 "
        "more without it"
    )
    shown_at_last, changes = told(history, [], 2000)
    assert not shown_at_last
    assert {change.state for change in changes} == {State.RESOLVED}


def test_what_is_remembered_may_be_handed_on() -> None:
    """The next worker goes on where this one was."""
    history = History()
    told(history, [finding("leak"), finding("suspect", fingerprint="000000000000")])
    next_one = History(history.known)
    assert not told(next_one, [finding("leak")])[1]
    assert [one.state for one in next_one.known.values()] == [State.SUSPECTED, State.CONFIRMED]


def test_the_history_is_bounded() -> None:
    """Past its cap the finding longest unseen is forgotten, the others are not."""
    history = History()
    many = [finding(fingerprint=f"{number:012x}") for number in range(REMEMBERED + 1)]
    told(history, many[:-1])
    told(history, [many[0], many[-1]])
    _, changes = told(history, many[:3])
    assert [one.finding.fingerprint for one in changes] == [many[1].fingerprint]
