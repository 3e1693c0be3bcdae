"""From kept snapshots to findings, totals and differences."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.analysis.findings import findings
from leakmw.analysis.growths import MOST_SITES, analyse, compare
from leakmw.records import (
    BACKGROUND,
    MAX_SNAPSHOTS,
    Birth,
    Finding,
    Frame,
    Row,
    SnapshotError,
    Span,
    Traceback,
    Verdict,
)
from leakmw.settings import Settings
from leakmw.store.memory import LATEST, MemoryStore

if TYPE_CHECKING:
    from tests.conftest import History

VIEWS = {
    "GET /a": Span("/srv/a.py", 1, 99),
    "GET /b": Span("/srv/b.py", 1, 99),
    "GET /c": Span("/srv/c.py", 1, 99),
}


def described(traceback: Traceback) -> Traceback:
    """Shorten files and name functions, as the pipeline does."""
    return tuple(
        Frame(frame.file.removeprefix("/srv/"), frame.line, "view") for frame in traceback
    )


def shop(history: History, windows: int = 8) -> None:
    """Fill *history*: one endpoint leaks, one has filled a cache, one is quiet."""
    for window in range(windows + 1):
        history.add(
            {
                "/srv/a.py:5": 5000 * window,
                "/srv/a.py:6": 9000 * window,
                "/srv/b.py:7": min(40_000, 20_000 * window),
                "/srv/c.py:8": 100_000,
            },
            dict.fromkeys(VIEWS, 100 * window),
            views=VIEWS,
        )


def served(history: History, *, leaks: bool) -> None:
    """Fill *history*: a server's line has requests in flight, and makes dicts that others keep."""
    for window in range(1, 12):
        history.add(
            {"/srv/server.py:9": 100, "/srv/a.py:5": 200_000 * window * leaks},
            dict.fromkeys(VIEWS, 1000 * window),
            views=VIEWS,
        )
        last = history.snapshots[-1]
        flying, leaking = last.trace.rows
        rows = (
            in_births(flying, {window: 500_000 if window == 11 else 90_000}),
            in_births(flying, dict.fromkeys(range(1, window + 1), 20_000), recyclable=True),
            in_births(leaking, dict.fromkeys(range(1, window + 1), 200_000 * leaks)),
        )
        trace = last.trace._replace(rows=rows[: 3 if leaks else 2], window=window)
        object.__setattr__(last, "trace", trace)


def in_births(row: Row, windows: dict[int, int], *, recyclable: bool = False) -> Row:
    """Return *row* with so many bytes born in each window, as samples of 10,000 say them."""
    births = tuple(
        Birth(window, size, size // 100, size // 10_000, 1e4 * size, size)
        for window, size in windows.items()
    )
    size = sum(windows.values())
    in_visit = row.path[-1].file != "/srv/server.py"
    return row._replace(
        bytes=size,
        blocks=size // 100,
        births=births,
        variance=1e4 * size,
        recyclable=recyclable,
        endpoint="GET /a" if in_visit else None,
        in_visit=in_visit,
    )


def found(history: History, **settings: Any) -> tuple[Finding, ...]:
    """Return the findings of *history*."""
    return findings(analyse(history.snapshots), Settings.load(**settings), described)


def test_findings_come_worst_first(history: History) -> None:
    """By verdict, then by how fast they grow."""
    shop(history)
    assert [(one.verdict, one.growth.site) for one in found(history)] == [
        (Verdict.LEAK, Frame("a.py", 6, "view")),
        (Verdict.LEAK, Frame("a.py", 5, "view")),
        (Verdict.SETTLED, Frame("b.py", 7, "view")),
    ]


def test_a_line_that_makes_what_python_hands_on_is_no_finding_beside_the_leak(
    history: History,
) -> None:
    """However much else is in flight there, which comes and goes; alone it is suspected."""
    served(history, leaks=True)
    (only,) = found(history)
    assert only.growth.site == Frame("a.py", 5, "view")
    history.snapshots.clear()
    served(history, leaks=False)
    (recycled,) = found(history)
    assert recycled.verdict is Verdict.SUSPECT
    older, newer = history.snapshots[0], history.snapshots[-1]
    (row,) = compare(history.snapshots, older, newer, described).sites
    assert row.bytes == 10 * 20_000 + 500_000 - 90_000  # one line, whatever stands there
    assert any("Python hands such objects on" in said for said in recycled.evidence)


def test_a_finding_states_its_growth(history: History) -> None:
    """In bytes, blocks, per request with its interval, and per second."""
    shop(history)
    worst = found(history)[0]
    assert worst.growth.endpoint == "GET /a"
    assert (worst.growth.visits, worst.growth.bytes, worst.growth.blocks) == (800, 72_000, 720)
    assert worst.growth.bytes_per_request == pytest.approx((90, 90, 90))
    assert worst.growth.traceback == (Frame("a.py", 6, "view"),)
    assert worst.bytes_per_second == pytest.approx(900)


@pytest.mark.parametrize(
    ("glob", "left"),
    [
        ("a.py", ["b.py:7"]),
        ("*.py", []),
        ("a.py:6", ["a.py:5", "b.py:7"]),
        ("b.py:view", ["a.py:6", "a.py:5"]),
        ("/srv/*", ["a.py:6", "a.py:5", "b.py:7"]),
        ("A.PY", ["a.py:6", "a.py:5", "b.py:7"]),
    ],
)
def test_what_is_to_be_ignored_is_left_out(history: History, glob: str, left: list[str]) -> None:
    """By file, line or function as they are shown."""
    shop(history)
    sites = [one.growth.site for one in found(history, ignore=(glob,))]
    assert [f"{site.file}:{site.line}" for site in sites if site] == left


def test_a_fingerprint_stays_the_same(history: History) -> None:
    """As the history goes on, under other sizes, and in other processes."""
    shop(history)
    before = {one.growth.site: one.fingerprint for one in found(history)}
    history.snapshots.clear()
    shop(history, windows=12)
    after = {one.growth.site: one.fingerprint for one in found(history)}
    assert before == after
    assert len(set(before.values())) == 3
    assert before[Frame("a.py", 6, "view")] == _fingerprint_elsewhere()


def _fingerprint_elsewhere() -> str:
    code = (
        "from leakmw.analysis.findings import _fingerprint\n"
        "from leakmw.records import Frame, Growth\n"
        "site = Frame('a.py', 6, 'view')\n"
        "print(_fingerprint(Growth(endpoint='GET /a', visits=1, bytes=2, blocks=3, site=site)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_totals_name_every_endpoint_that_was_visited(history: History) -> None:
    """Most growth first; they add up to the growth of all places."""
    shop(history)
    totals = analyse(history.snapshots).endpoints
    assert [(one.endpoint, one.bytes) for one in totals] == [
        ("GET /a", 112_000),
        ("GET /b", 40_000),
        ("GET /c", 0),
    ]
    assert totals[0].bytes_per_request == pytest.approx((140, 140, 140))


def test_the_window_reaches_over_what_can_be_compared(history: History) -> None:
    """Not over a change of grouping."""
    history.add({}, {"GET /a": 50}, grouping=1)
    for visits in (100, 300):
        history.add({}, {"GET /a": visits}, grouping=2)
    window = analyse(history.snapshots).window
    assert (window.visits, window.seconds) == (200, 10.0)
    assert window.end == history.snapshots[2].taken_at


def test_one_snapshot_says_nothing_yet(history: History) -> None:
    """There is nothing to compare it with."""
    history.add({"/srv/a.py:5": 10**9}, {"GET /a": 1}, views=VIEWS)
    analysis = analyse(history.snapshots)
    assert (analysis.endpoints, analysis.candidates) == ((), ())


def test_an_ambiguous_mix_names_nobody_and_says_who_it_may_be(history: History) -> None:
    """Where two endpoints are only ever visited together."""
    for window in range(8):
        visits = dict.fromkeys(("GET /a", "GET /b"), 100 * window)
        history.add({"/srv/helper.py:1": 50_000 * window}, visits)
    (suspect,) = found(history)
    assert (suspect.verdict, suspect.growth.endpoint) == (Verdict.SUSPECT, BACKGROUND)
    assert "GET /a" in suspect.evidence[1]
    assert "GET /b" in suspect.evidence[1]


def test_growth_in_the_background_has_no_price_per_request(history: History) -> None:
    """A figure that is not known is absent."""
    for window in range(8):
        visits = {"GET /a": 100 * window + (window % 3) * 40}
        history.add({"/srv/timer.py:1": 50_000 * window}, visits, in_visit=False)
    (only,) = found(history)
    assert (only.growth.endpoint, only.growth.bytes_per_request) == (BACKGROUND, None)
    assert only.bytes_per_second == pytest.approx(5000)


def test_a_difference_lists_sites_by_growth(history: History) -> None:
    """With the visits between the two snapshots; what stayed is left out."""
    shop(history)
    difference = compare(history.snapshots, history.snapshots[1], history.snapshots[3], described)
    assert [(one.site, one.bytes, one.visits) for one in difference.sites] == [
        (Frame("b.py", 7, "view"), 20_000, 200),
        (Frame("a.py", 6, "view"), 18_000, 200),
        (Frame("a.py", 5, "view"), 10_000, 200),
    ]
    assert [(one.endpoint, one.bytes) for one in difference.endpoints] == [
        ("GET /a", 28_000),
        ("GET /b", 20_000),
        ("GET /c", 0),
    ]


def test_what_shrank_comes_last(history: History) -> None:
    """With less than nothing per request."""
    for window in range(3):
        levels = {"/srv/a.py:5": 9000 - 3000 * window, "/srv/b.py:7": 10 * window}
        history.add(levels, dict.fromkeys(VIEWS, 10 * window), views=VIEWS)
    difference = compare(history.snapshots, history.snapshots[0], history.snapshots[2], described)
    assert [one.bytes for one in difference.sites] == [20, -6000]
    assert difference.sites[1].bytes_per_request == pytest.approx((-300, -300, -300))


def test_a_difference_to_itself_is_empty(history: History) -> None:
    """Nobody visited, nothing grew."""
    shop(history)
    same = history.snapshots[2]
    difference = compare(history.snapshots, same, same, described)
    assert difference.sites == ()
    assert {(one.bytes, one.visits) for one in difference.endpoints} == {(0, 0)}


def test_all_windows_help_to_tell_the_endpoints_of_one(history: History) -> None:
    """Two neighbors alone would not say whose growth it is."""
    visits = {"GET /a": 0, "GET /b": 0}
    for more_a, more_b in [(0, 0), (90, 10), (20, 80), (50, 50), (70, 30), (10, 90), (60, 40)]:
        visits = {"GET /a": visits["GET /a"] + more_a, "GET /b": visits["GET /b"] + more_b}
        history.add({"/srv/helper.py:1": 1000 * visits["GET /b"]}, visits)
    *_, older, newer = history.snapshots
    alone = compare([older, newer], older, newer, described)
    together = compare(history.snapshots, older, newer, described)
    assert [one.endpoint for one in alone.sites] == [BACKGROUND]
    assert [(one.endpoint, one.bytes) for one in together.sites] == [("GET /b", 40_000)]


def test_a_difference_lists_only_so_many_sites(history: History) -> None:
    """Those that moved most, up or down."""
    for window in range(2):
        levels = {f"/srv/a.py:{line}": 5000 + window * line for line in range(1, 2 * MOST_SITES)}
        history.add(levels | {"/srv/b.py:1": 10_000 - 9000 * window}, {"GET /a": 1}, views=VIEWS)
    older, newer = history.snapshots
    sites = compare(history.snapshots, older, newer, described).sites
    assert len(sites) == MOST_SITES
    assert sites[0].bytes == 2 * MOST_SITES - 1
    assert sites[-1].bytes == -9000


def test_snapshots_that_were_grouped_otherwise_cannot_be_compared(history: History) -> None:
    """The message says why, and what to do."""
    for grouping in (1, 2, 2):
        history.add({}, {"GET /a": 1}, grouping=grouping)
    older, newer, _ = history.snapshots
    with pytest.raises(SnapshotError, match=r"cannot be compared: .*compare later ones"):
        compare(history.snapshots, older, newer, described)


def test_the_store_keeps_the_first_and_the_latest(history: History) -> None:
    """Growth keeps its origin, and some lie between; a new grouping begins a new history."""
    store = MemoryStore()
    taken = 20 * MAX_SNAPSHOTS
    for number in range(taken):
        history.add({}, {"GET /a": number})
        store.add(history.snapshots[-1])
    numbers = [snapshot.number for snapshot in store.snapshots]
    assert len(numbers) == MAX_SNAPSHOTS
    assert numbers[0] == 1
    assert numbers[-LATEST:] == [*range(taken - LATEST + 1, taken + 1)]
    gaps = [after - before for before, after in pairwise(numbers[: -LATEST + 1])]
    assert max(gaps) < 2.5 * taken / len(gaps)

    history.add({}, {"GET /a": 99}, grouping=2)
    store.add(history.snapshots[-1])
    assert [snapshot.number for snapshot in store.snapshots] == [taken + 1]


def ripe_shop(history: History, *, collecting: bool = True) -> None:
    """Fill *history* with a leak of 9,000 bytes a window, of which no collection knows."""
    for window in range(10):
        history.add({"/srv/a.py:6": 9000 * window}, {"GET /a": 100 * window}, views=VIEWS)
        taken = history.snapshots[-1]
        object.__setattr__(taken, "collections", 0 if collecting else None)


def judged(
    history: History, garbage: int | None, confirmed: tuple[str, ...] = ()
) -> tuple[Finding, int]:
    """Return the one finding where there is so much garbage, and how often that was asked."""
    asked = []

    def look() -> int | None:
        asked.append(garbage)
        return garbage

    (only,) = findings(analyse(history.snapshots), Settings(), described, confirmed, look)
    return only, len(asked)


def found_with(
    history: History, garbage: int, confirmed: tuple[str, ...] = ()
) -> tuple[Finding, ...]:
    """Return all findings where there is so much garbage."""
    return findings(analyse(history.snapshots), Settings(), described, confirmed, lambda: garbage)


@pytest.mark.parametrize(
    ("garbage", "verdict", "said"),
    [
        (0, "leak", "a collection would free 0 bytes in the whole process: what grew is held"),
        (20_000, "leak", "a collection would free 20,000 bytes in the whole process"),
        (30_000, "suspect", "30,000 bytes of garbage wait for a full collection: it may be this"),
        (None, "suspect", "no full garbage collection has run meanwhile"),
    ],
)
def test_growth_is_a_leak_once_all_garbage_together_is_much_less(
    history: History, garbage: int | None, verdict: str, said: str
) -> None:
    """What only waits for the collector is none."""
    ripe_shop(history)
    found, asked = judged(history, garbage)
    assert (found.verdict, asked) == (verdict, 1)
    assert found.evidence[-1].startswith(said)


def test_garbage_that_waits_for_a_collector_that_is_off_is_a_leak_by_cycles(
    history: History,
) -> None:
    """Whatever else grows then is one, too."""
    ripe_shop(history, collecting=False)
    cycles, _ = judged(history, 500_000)
    assert (cycles.verdict, cycles.cause) == (Verdict.LEAK, "reference-cycle")
    assert cycles.evidence[-1] == (
        "the garbage collector is off, and 500,000 bytes of garbage wait for it"
    )
    held, _ = judged(history, 100)
    assert (held.verdict, held.cause) == (Verdict.LEAK, None)


def test_nobody_looks_for_garbage_where_it_decides_nothing(history: History) -> None:
    """A leak that was confirmed stays one."""
    ripe_shop(history)
    fingerprint = judged(history, 0)[0].fingerprint
    found, asked = judged(history, None, (fingerprint,))
    assert (found.verdict, asked) == (Verdict.LEAK, 0)
    assert found.evidence[-1] == "when it was called a leak it was no garbage"


def test_a_young_growth_is_suspected_unless_it_may_be_garbage(history: History) -> None:
    """What a collection has left, or that of an endpoint that was a leak before, is so anyway."""
    ripe_shop(history)
    (ripe,) = found_with(history, 0)
    del history.snapshots[7:]
    assert found_with(history, 100_000) == ()
    (young,) = found_with(history, 1000)
    assert (young.verdict, young.fingerprint) == (Verdict.SUSPECT, ripe.fingerprint)
    (known,) = found_with(history, 100_000, (ripe.fingerprint,))
    assert known.verdict is Verdict.SUSPECT
    object.__setattr__(history.snapshots[-1], "collections", 1)
    (looked_at,) = found_with(history, 100_000)
    assert looked_at.verdict is Verdict.SUSPECT
