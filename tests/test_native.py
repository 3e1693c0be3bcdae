"""Growth outside of Python's allocators: who causes it, and what is none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import History

from leakmw.analysis.attribution import ALL
from leakmw.analysis.findings import findings
from leakmw.analysis.growths import analyse
from leakmw.analysis.native import LEAST_BYTES, Outside, outside
from leakmw.analysis.native_findings import GARBAGE_PER_VISIT, with_company
from leakmw.records import BACKGROUND, Frame, Glance, Known, Memory, Verdict
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Finding

NAMES = ("GET /a", "GET /b", "GET /c")
MIB = 1 << 20

Grows = Callable[[Mapping[str, int], int], float]
"""Bytes that the C heap in use grows by in a window, from its visits and its number."""


class App:
    """An app whose C heap is known at each of its snapshots.

    Args:
        grows: Bytes that the C heap in use grows by in a window.

        pythons: Part of them that the tracer knows.

        seed: Of the traffic.
    """

    def __init__(self, grows: Grows, *, pythons: float = 0.0, seed: int = 1) -> None:
        self.history = History()
        self._grows, self._pythons = grows, pythons
        self._rng = random.Random(seed)
        self._visits: Counter[str] = Counter()
        self._windows = 0
        self._used = 40.0 * MIB
        self._large = 0.0

    def serve(self, windows: int, **given: Any) -> App:
        """Take a snapshot after each of so many windows of a thousand visits."""
        for _ in range(windows):
            drawn = Counter(self._rng.choices(NAMES, k=1000))
            self._visits += drawn
            grown = self._grows(drawn, self._windows)
            self._windows += 1
            self._used += grown
            self._large += self._pythons * grown
            self._snapshot(given)
        return self

    def _snapshot(self, given: Mapping[str, Any]) -> None:
        used = round(self._used + self._rng.gauss(0, 4096))
        known = {
            "rss_bytes": 90 * MIB + used,
            "native_bytes": used,
            "free_bytes": MIB,
            "anonymous_bytes": 60 * MIB + used,
            "python_free_bytes": MIB,
            "python_arena_bytes": 30 * MIB,
        }
        memory = Memory(**{**known, **given.get("memory", {})})
        rest = {name: value for name, value in given.items() if name != "memory"}
        large = Known(self._large)
        self.history.add({}, self._visits, **{"memory": memory, "large": large, **rest})

    def outside(self, glances: Sequence[Glance] = ()) -> Outside:
        """Return what grew."""
        return outside(self.history.snapshots, glances)

    def findings(self, garbage: int | None = 0, **settings: Any) -> tuple[Finding, ...]:
        """Return the findings, with so much garbage in the process."""
        analysis = analyse(self.history.snapshots)
        loaded = Settings.load(**settings)
        return findings(analysis, loaded, lambda traceback: traceback, (), lambda: garbage)


def leaky(drawn: Mapping[str, int], _window: int = 0) -> float:
    """Keep 2 KB of each visit of one endpoint."""
    return 2000.0 * drawn["GET /a"]


def test_a_native_leak_is_found_at_its_endpoint() -> None:
    """Suspected after five windows, a leak after eight, without a line of Python."""
    app = App(leaky).serve(7)
    assert [one.verdict for one in app.findings()] == [Verdict.SUSPECT]
    (finding,) = app.serve(3).findings()
    assert finding.verdict is Verdict.LEAK
    assert finding.growth.endpoint == "GET /a"
    assert finding.growth.site is None
    assert finding.growth.blocks is None
    assert finding.cause == "native-memory"
    assert finding.confidence is None
    assert finding.growth.bytes_per_request is not None
    assert finding.growth.bytes_per_request.estimate == pytest.approx(2000, rel=0.05)


def test_the_evidence_says_what_the_meters_saw() -> None:
    """How much grew, how much of it is Python's, and that no line can be named."""
    (finding,) = App(leaky).serve(10).findings()
    assert finding.evidence[0].startswith("the C heap in use grew by ")
    assert "Python's own blocks explain 0; resident memory moved by +" in finding.evidence[0]
    assert finding.evidence[1].startswith("no line of Python can be named")
    assert "grew in each of the last 9 windows" in finding.evidence[2]


def test_what_pythons_own_blocks_explain_is_no_native_growth() -> None:
    """Objects of more than 512 bytes lie in the C heap, too, and have findings of their own."""
    assert App(leaky, pythons=1.0).serve(16).findings() == ()
    assert App(leaky, pythons=0.95).serve(16).findings() == ()
    assert App(leaky, pythons=0.5).serve(16).findings() != ()


def test_what_is_within_the_error_of_an_estimate_is_no_native_growth() -> None:
    """Python's own blocks are estimated from samples."""
    (sure,) = App(leaky).serve(10).findings()
    spread = (sure.growth.bytes / 2.9) ** 2 / 2
    doubtful = App(leaky)
    for _ in range(10):
        doubtful.serve(1, large=Known(0.0, variance=spread))
    assert doubtful.findings() == ()


def test_the_fingerprint_stays_the_same_as_it_grows() -> None:
    """And is another one at another endpoint."""

    def other(drawn: Mapping[str, int], _window: int) -> float:
        return 2000.0 * drawn["GET /b"]

    app = App(leaky).serve(10)
    (first,), (later,) = app.findings(), app.serve(3).findings()
    (elsewhere,) = App(other).serve(10).findings()
    assert first.fingerprint == later.fingerprint != elsewhere.fingerprint


def test_it_is_ignored_by_its_cause() -> None:
    """There is no file that a pattern could name."""
    assert App(leaky).serve(10).findings(ignore=("native-*",)) == ()
    assert App(leaky).serve(10).findings(ignore=("shop/*",)) != ()


@pytest.mark.parametrize(
    ("garbage", "verdict", "said"),
    [
        (None, Verdict.SUSPECT, "no full garbage collection has run"),
        (1000, Verdict.LEAK, "a collection would free 1,000 bytes: too little"),
        (10**6, Verdict.SUSPECT, "1,000,000 bytes of garbage wait for a full collection"),
    ],
)
def test_a_little_garbage_may_hold_much_native_memory(
    garbage: int | None, verdict: Verdict, said: str
) -> None:
    """So it is no leak until a full collection has left it, or there is next to no garbage."""
    (finding,) = App(leaky).serve(10, collections=0).findings(garbage)
    assert finding.verdict is verdict
    assert said in " ".join(finding.evidence)


def test_the_garbage_that_is_allowed_is_measured_by_the_visits() -> None:
    """A piece for every eight visits would leave 64 bytes each."""
    app = App(leaky).serve(10, collections=0)
    (finding,) = app.findings(0)
    most = GARBAGE_PER_VISIT * finding.growth.visits
    assert app.findings(most)[0].verdict is Verdict.LEAK
    assert app.findings(most + 1)[0].verdict is Verdict.SUSPECT


def every_visit(drawn: Mapping[str, int], _window: int) -> float:
    """Keep as much of every visit, whatever its endpoint."""
    return 2000.0 * sum(drawn.values())


def test_what_all_visits_do_alike_is_nobodys_leak() -> None:
    """It stands at ``(background)``, with who it may be, however long it grows."""
    found = App(every_visit).serve(16).findings()
    assert {one.verdict for one in found} == {Verdict.SUSPECT}
    assert {one.growth.endpoint for one in found} == {BACKGROUND}
    assert "every request alike" in " ".join(found[0].evidence)


def some(drawn: Mapping[str, int], rng: random.Random) -> float:
    """Keep 14 KB of a visit in five of one endpoint."""
    return 14_000.0 * sum(rng.random() < 0.2 for _ in range(drawn["GET /a"]))


def test_glances_between_snapshots_tell_an_endpoint_that_windows_do_not() -> None:
    """Where only some of its visits leave anything, windows differ by chance more than by mix."""
    rng = random.Random(4)
    app = App(lambda drawn, _: some(drawn, rng)).serve(12)
    alone = app.outside()
    assert alone.undecided
    assert {one.share.endpoint for one in alone.suspects} <= {BACKGROUND}
    seen = app.outside(glances(rng, 400))
    assert [one.share.endpoint for one in seen.suspects] == ["GET /a"]
    assert seen.suspects[0].judgement.verdict in {Verdict.LEAK, Verdict.SUSPECT}
    assert not seen.undecided


def glances(rng: random.Random, count: int, *, alike: bool = False) -> list[Glance]:
    """Return glances after fifty visits each, during the windows of an app."""
    used, taken = 40.0 * MIB, []
    for number in range(count):
        drawn = Counter(rng.choices(NAMES, k=50))
        used += 12_000 * rng.random() * 2 if alike else some(drawn, rng)
        taken.append(Glance(20 + number / 4, dict(drawn), round(used + rng.gauss(0, 4096))))
    return taken


def test_what_the_first_window_has_warmed_up_is_not_looked_closer_at() -> None:
    """A few bytes more in each window since then would have the heap read for ever."""
    warmed = App(lambda _, window: 8_000.0 if window else 2.0 * MIB).serve(9)
    assert warmed.outside() == Outside()
    leaking = App(lambda _, window: 200_000.0 if window else 2.0 * MIB).serve(9)
    assert leaking.outside() != Outside()


def test_glances_do_not_blame_an_endpoint_for_what_all_do() -> None:
    """However often they are looked at."""
    rng = random.Random(8)
    for _ in range(6):
        app = App(every_visit, seed=rng.randrange(1000)).serve(12)
        taken = glances(rng, 400, alike=True)
        for count in range(80, 400, 80):
            found = app.outside(taken[:count]).suspects
            assert {one.share.endpoint for one in found} <= {BACKGROUND}


def warm_up(_drawn: Mapping[str, int], window: int) -> float:
    """Load libraries at first."""
    return 8.0 * MIB if window < 3 else 0.0


def cache(_drawn: Mapping[str, int], window: int) -> float:
    """Fill ever more slowly."""
    return float(20 * MIB * 0.6**window)


def peaks(_drawn: Mapping[str, int], window: int) -> float:
    """Rise and fall."""
    return float(30 * MIB * (-1) ** window)


def steps_up(_drawn: Mapping[str, int], window: int) -> float:
    """Take a new arena now and then."""
    return 10.0 * MIB if window % 4 == 0 else 0.0


def little(drawn: Mapping[str, int], _window: int) -> float:
    """Grow by less than anybody need care for."""
    return 0.9 * LEAST_BYTES / 16_000 * sum(drawn.values())


@pytest.mark.parametrize("grows", [warm_up, cache, peaks, steps_up, little])
def test_a_c_heap_that_only_looks_so_is_no_leak(grows: Grows) -> None:
    """At no snapshot."""
    app = App(grows)
    for _ in range(16):
        found = app.serve(1).findings()
        assert Verdict.LEAK not in {one.verdict for one in found}
        assert grows is cache or not found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5 * MIB, 5 * MIB), min_size=16, max_size=16))
def test_a_level_that_wanders_is_no_leak(moves: list[float]) -> None:
    """Whatever way it goes: it must keep to the visits of an endpoint to be called one."""
    app = App(lambda _, window: moves[window]).serve(16)
    assert Verdict.LEAK not in {one.verdict for one in app.findings()}


def test_without_the_meters_nothing_is_said() -> None:
    """Another allocator than glibc's, or a tracer that does not know all of Python's blocks."""
    assert App(leaky).serve(16, memory={"native_bytes": None}).findings() == ()
    assert App(leaky).serve(16, large=None).findings() == ()


def test_maps_that_nobody_tells_of_are_suspect_and_never_a_leak() -> None:
    """What is resident may only have been touched late."""
    app = App(lambda *_: 0.0)
    level = 0
    for _ in range(16):
        app.serve(1, memory={"anonymous_bytes": 100 * MIB + level})
        level += 3000 * (app.history.snapshots[-1].endpoints["GET /a"].visits - level // 3000)
    found = app.findings()
    assert [one.verdict for one in found] == [Verdict.SUSPECT]
    assert "maps that neither Python nor the C heap tells of" in found[0].evidence[0]


def test_numpy_and_the_lines_of_the_same_endpoint_are_named() -> None:
    """They are where to look first."""
    app = App(leaky).serve(10)
    (native,) = with_company(app.findings(), {"numpy": None})
    assert any("NumPy is loaded" in one for one in native.evidence)
    assert native.advice is not None
    assert "GET /a" in native.advice
    (plain,) = with_company(app.findings(), {})
    assert not any("NumPy" in one for one in plain.evidence)


@pytest.mark.parametrize(
    ("beside", "verdict"),
    [(Verdict.BOUNDED, Verdict.SUSPECT), (Verdict.LEAK, Verdict.LEAK), (None, Verdict.LEAK)],
)
def test_native_memory_behind_what_has_a_cap_is_no_leak(
    beside: Verdict | None, verdict: Verdict
) -> None:
    """It stops when the cache of such objects is full."""
    (native,) = App(leaky).serve(10).findings()
    growth = replace(native.growth, site=Frame("shop.py", 7, "quote"))
    others = [replace(native, growth=growth, verdict=beside, cause=None)] if beside else []
    told, *_ = with_company([native, *others], {})
    assert told.verdict is verdict
    assert any("shop.py:7" in one for one in told.evidence) is (beside is not None)


def test_the_mix_is_told_from_the_clock() -> None:
    """A thread that leaks by itself is nobody's visit."""
    found = App(lambda *_: 3.0 * MIB).serve(16).findings()
    assert {one.growth.endpoint for one in found} <= {BACKGROUND}
    assert Verdict.LEAK not in {one.verdict for one in found}


def test_the_candidates_of_what_is_undecided_are_given() -> None:
    """All endpoints that share the mix."""
    (one,) = App(every_visit).serve(16).outside().suspects
    assert ALL in one.share.candidates
