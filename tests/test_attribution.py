"""Which endpoint a place's growth belongs to, in histories where the truth is known."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from leakmw.analysis.attribution import MAX_FITS, attribute, windows
from leakmw.records import BACKGROUND, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import History

    from leakmw.analysis.attribution import Share

NAMES = [f"GET /e{number}" for number in range(8)]
HELPER = "shop/prices.py:5"


def visited(history: History) -> list[Share]:
    """Attribute what is in *history*."""
    return attribute(history.snapshots, windows(history.snapshots))


def parts(history: History) -> dict[str, float]:
    """Return each endpoint's part of the whole growth."""
    grown: dict[str, float] = {}
    for share in visited(history):
        grown[share.endpoint] = grown.get(share.endpoint, 0.0) + sum(share.bytes)
    whole = sum(grown.values())
    return {name: size / whole for name, size in grown.items() if size}


@dataclass(frozen=True)
class Traffic:
    """Eight windows of visits, and what they leave.

    Attributes:
        leaks: Bytes for each visit by endpoint, for each second in the background.
        mix: How much the endpoints' parts of the traffic vary; 0 only by chance.
        noise: Standard deviation of what is in flight.
        in_visit: Whether the memory is born in visits.
        seed: Of the mix.
    """

    leaks: Mapping[str, int]
    mix: float = 0.5
    noise: int = 0
    in_visit: bool | None = True
    seed: int = 1

    def into(self, history: History) -> None:
        """Add the snapshots."""
        rng = random.Random(self.seed)
        visits: Counter[str] = Counter()
        for window in range(9):
            if window:
                weights = [rng.lognormvariate(0, self.mix) for _ in NAMES]
                visits.update(rng.choices(NAMES, weights, k=1000))
            amounts = Counter({**visits, BACKGROUND: 10 * window})
            level = sum(amounts[name] * size for name, size in self.leaks.items())
            level += round(rng.gauss(0, self.noise))
            history.add({HELPER: 1_000_000 + level}, visits, in_visit=self.in_visit)


@pytest.mark.parametrize("mix", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("in_visit", [True, False, None])
def test_one_endpoint_that_leaks_in_a_shared_helper_is_found(
    history: History, mix: float, *, in_visit: bool | None
) -> None:
    """By the varying mix of visits alone, also in worker threads that show no visit."""
    Traffic({"GET /e3": 200}, mix=mix, in_visit=in_visit).into(history)
    assert parts(history) == {"GET /e3": 1.0}


@pytest.mark.parametrize("seed", range(10))
def test_two_that_leak_through_one_helper_share_its_growth(history: History, seed: int) -> None:
    """Each gets what it left, to the percent."""
    Traffic({"GET /e1": 200, "GET /e6": 500}, seed=seed).into(history)
    last = history.snapshots[-1].endpoints
    left = {"GET /e1": 200 * last["GET /e1"].visits, "GET /e6": 500 * last["GET /e6"].visits}
    whole = sum(left.values())
    wanted = {name: size / whole for name, size in left.items()}
    assert parts(history) == pytest.approx(wanted, abs=0.01)


def test_the_right_endpoint_is_found_among_what_is_in_flight(history: History) -> None:
    """In most histories under noise; else it is among the candidates, and no other is named."""
    named, right = 0, 0
    for seed in range(50):
        history.snapshots.clear()
        Traffic({"GET /e3": 200}, noise=2000, seed=seed).into(history)
        candidates = {name for share in visited(history) for name in share.candidates}
        named += parts(history).get("GET /e3", 0) > 0.9
        right += set(parts(history)) == {BACKGROUND} and "GET /e3" in candidates
    assert named >= 30
    assert named + right >= 48


def test_what_middleware_leaks_is_spread_over_all_visits(history: History) -> None:
    """Every endpoint gets its part, as it had of the traffic."""
    Traffic(dict.fromkeys(NAMES, 100)).into(history)
    last = history.snapshots[-1].endpoints
    wanted = {name: last[name].visits / 8000 for name in NAMES}
    assert parts(history) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("in_visit", [False, None])
def test_what_grows_with_the_clock_is_in_the_background(
    history: History, *, in_visit: bool | None
) -> None:
    """While every endpoint is visited now more, now less."""
    Traffic({BACKGROUND: 10_000}, in_visit=in_visit).into(history)
    assert parts(history) == {BACKGROUND: 1.0}


def test_nobody_is_named_where_all_fit_alike(history: History) -> None:
    """The growth stands in the background, with those who may be the ones."""
    for window in range(6):
        visits = dict.fromkeys(NAMES[:3], 100 * window)
        history.add({HELPER: 5000 * window}, visits, in_visit=True)
    (share,) = visited(history)
    assert share.endpoint == BACKGROUND
    assert {*NAMES[:3]} < {*share.candidates}


def test_where_one_of_two_is_undecided_the_other_gets_its_part(history: History) -> None:
    """Here the traceback's endpoint is sure, and two others are always visited together."""
    rng, visits = random.Random(1), Counter(NAMES[:4])
    for _ in range(10):
        level = 300 * visits["GET /e0"] + 500 * visits["GET /e1"]
        history.add({HELPER: level}, visits, in_visit=True)
        first, second = rng.randrange(100, 1000), rng.randrange(100, 1000)
        visits.update({"GET /e0": first, "GET /e1": second, "GET /e2": second, "GET /e3": 500})
    shares = {share.endpoint: share for share in visited(history)}
    assert set(shares) == {"GET /e0", BACKGROUND}
    assert sum(shares["GET /e0"].bytes) == pytest.approx(300 * visits["GET /e0"], rel=0.1)
    assert shares[BACKGROUND].candidates == ("GET /e1", "GET /e2")


def test_a_view_on_the_stack_settles_it(history: History) -> None:
    """Whatever the windows say: here the other endpoint's visits fit the growth exactly."""
    views = {"GET /a": Span("views.py", 10, 19), "GET /b": Span("views.py", 20, 29)}
    for window in range(6):
        visits = {"GET /a": 100 * window, "GET /b": 10 * window**2}
        history.add({f"views.py:12 {HELPER}": 1000 * window**2}, visits, views=views)
    (share,) = visited(history)
    assert (share.endpoint, share.solved, share.margin) == ("GET /a", False, 0.0)


def test_views_that_share_their_code_are_told_apart_by_their_visits(history: History) -> None:
    """Only among themselves: the third endpoint is not looked at though it fits as well."""
    shared = Span("views.py", 10, 19)
    views = {"GET /a": shared, "GET /b": shared}
    rng, visits = random.Random(1), Counter(["GET /a", "GET /b", "GET /c"])
    for _ in range(8):
        history.add({"views.py:12": 1000 * visits["GET /b"]}, visits, views=views)
        mix = rng.choices(("GET /a", "GET /b"), (rng.random(), rng.random()), k=100)
        visits.update([*mix, *["GET /c"] * mix.count("GET /b")])
    assert parts(history) == {"GET /b": 1.0}


def test_an_endpoint_whose_visits_never_end_owns_what_its_view_leaks(history: History) -> None:
    """A websocket stays open for hours."""
    views = {"WS /live": Span("live.py", 1, 50)}
    for window in range(6):
        visits = {"WS /live": 0, "GET /a": 100 * window}
        history.add({"live.py:7": 1000 * window}, visits, views=views)
    assert parts(history) == {"WS /live": 1.0}


@pytest.mark.parametrize("in_visit", [True, False, None])
def test_growth_without_any_visit_is_in_the_background(
    history: History, *, in_visit: bool | None
) -> None:
    """As between two snapshots taken by hand."""
    for window in range(4):
        history.add({HELPER: 5000 * window}, {"GET /a": 7}, in_visit=in_visit)
    assert parts(history) == {BACKGROUND: 1.0}


def test_nothing_is_lost_or_counted_twice(history: History) -> None:
    """The parts of all endpoints add up to the growth of each window, in bytes and blocks."""
    leaks = {"GET /e1": 200, "GET /e6": 500, BACKGROUND: 700}
    Traffic(leaks, noise=500, in_visit=None).into(history)
    shares = visited(history)
    levels = [snapshot.trace.rows[0].bytes for snapshot in history.snapshots]
    for window, (before, after) in enumerate(pairwise(levels)):
        assert sum(share.bytes[window] for share in shares) == pytest.approx(after - before)
        blocks = sum(share.blocks[window] for share in shares)
        assert blocks == pytest.approx(after // 100 - before // 100)


def test_what_shrinks_is_attributed_like_what_grows(history: History) -> None:
    """An endpoint that frees what others left is the one that freed it."""
    Traffic({"GET /e3": -100}).into(history)
    assert parts(history) == {"GET /e3": 1.0}
    assert all(sum(share.bytes) < 0 for share in visited(history))


def test_only_so_many_places_are_solved(history: History) -> None:
    """Those that grew most; the rest is nobody's."""
    rng, visits = random.Random(1), Counter(NAMES)
    for _ in range(8):
        levels = {
            f"shop/m{number}.py:1": (number + 100) * visits["GET /e2"]
            for number in range(2 * MAX_FITS)
        }
        history.add(levels, visits)
        visits.update(rng.choices(NAMES, [rng.random() for _ in NAMES], k=500))
    shares = visited(history)
    solved = {share.place.site.file for share in shares if share.endpoint == "GET /e2"}
    assert solved == {f"shop/m{number}.py" for number in range(MAX_FITS, 2 * MAX_FITS)}
    assert {share.endpoint for share in shares} == {"GET /e2", BACKGROUND}
