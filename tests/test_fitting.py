"""Which endpoints explain a growth, and how sure that is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leakmw.analysis.fitting import MOST_EXPLAINING, explain, ratio

ALL, CLOCK = "all", "clock"


def mixed(windows: int, names: str, seed: int) -> dict[str, list[float]]:
    """Return visits in which every endpoint's part of the traffic varies."""
    rng = random.Random(seed)
    visits: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(windows):
        shares = {name: rng.lognormvariate(0, 0.5) for name in names}
        total = sum(shares.values())
        for name, share in shares.items():
            visits[name].append(round(1000 * share / total))
    return visits


def total(visits: dict[str, list[float]]) -> list[float]:
    """Return the visits of all endpoints."""
    return [sum(counts) for counts in zip(*visits.values(), strict=True)]


@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(1, 500)), min_size=2, max_size=15))
def test_the_ratio_has_the_students_interval(windows: list[tuple[int, int]]) -> None:
    """It is symmetric, as wide as SciPy says, and grows with the probability asked for."""
    growths, visits = [float(g) for g, _ in windows], [float(v) for _, v in windows]
    estimate, low, high = ratio(growths, visits)
    _, _, wider = ratio(growths, visits, 0.995)
    assert estimate == pytest.approx(sum(growths) / sum(visits))
    assert low is not None
    assert high is not None
    assert wider is not None
    assert high - estimate == pytest.approx(estimate - low)
    scale = stats.t.ppf(0.995, len(windows) - 1) / stats.t.ppf(0.975, len(windows) - 1)
    assert wider - estimate == pytest.approx(scale * (high - estimate))


def test_the_ratios_interval_covers_the_truth_as_often_as_it_says() -> None:
    """In 19 of 20 histories, for windows of unequal length and growth that scatters."""
    rng = random.Random(1)
    covered = 0
    for _ in range(4000):
        visits = [float(rng.randint(500, 1500)) for _ in range(8)]
        growths = [100 * count + rng.gauss(0, 20_000) for count in visits]
        _, low, high = ratio(growths, visits)
        assert low is not None
        assert high is not None
        covered += low <= 100 <= high
    assert 0.93 <= covered / 4000 <= 0.97


def test_one_window_alone_has_no_interval() -> None:
    """It is not known, so it is not guessed."""
    assert ratio([1000.0], [10.0]) == (100.0, None, None)


@pytest.mark.parametrize("seed", range(20))
def test_the_one_that_leaks_is_found(seed: int) -> None:
    """With its bytes per visit, whatever else is offered, and nothing could stand in for it."""
    visits = mixed(6, "abcdefgh", seed)
    growths = [250 * count for count in visits["d"]]
    weights = explain(growths, {**visits, ALL: total(visits)}, preferred=ALL, noise=1)
    assert list(weights) == ["d"]
    assert weights["d"].estimate == pytest.approx(250)
    assert weights["d"].rivals == ()


@pytest.mark.parametrize("seed", range(20))
def test_two_that_leak_together_are_found(seed: int) -> None:
    """Also where all visits together explain more than either of them alone."""
    visits = mixed(6, "abcdefgh", seed)
    growths = [200 * b + 400 * f for b, f in zip(visits["b"], visits["f"], strict=True)]
    weights = explain(growths, {**visits, ALL: total(visits)}, preferred=ALL, noise=1)
    assert {name: round(weight.estimate) for name, weight in weights.items()} == {
        "b": 200,
        "f": 400,
    }


@pytest.mark.parametrize("seed", range(20))
def test_what_everybody_does_is_blamed_on_nobody(seed: int) -> None:
    """What every visit leaks, or every second, needs no endpoint, though one may fit by chance."""
    rng = random.Random(seed)
    visits = mixed(8, "abcdefgh", seed)
    for preferred, amounts in ((ALL, total(visits)), (CLOCK, [10.0] * 8)):
        growths = [100 * amount + rng.gauss(0, amount) for amount in amounts]
        weights = explain(
            growths, {**visits, preferred: amounts}, preferred=preferred, noise=amounts[0] ** 2
        )
        assert list(weights) == [preferred]


def test_a_mix_that_never_varies_is_ambiguous() -> None:
    """Every endpoint could be the one, and all are named."""
    visits = {name: [100.0, 100, 100, 100, 100, 100] for name in "abc"}
    weights = explain([5000.0] * 6, visits, preferred=None, noise=1)
    assert len(weights) == 1
    (name,) = weights
    assert {name, *weights[name].rivals} == set("abc")


def test_the_margins_cover_the_truth_as_often_as_they_say() -> None:
    """Of both endpoints that leak through the same line, under noise."""
    covered, told = 0, 0
    for seed in range(150):
        rng = random.Random(seed)
        visits = mixed(12, "abcdef", seed)
        growths = [
            200 * b + 400 * f + rng.gauss(0, 4000)
            for b, f in zip(visits["b"], visits["f"], strict=True)
        ]
        weights = explain(growths, visits, preferred=None, noise=1)
        if set(weights) == {"b", "f"}:
            told += 1
            for name, truth in (("b", 200), ("f", 400)):
                weight = weights[name]
                covered += abs(weight.estimate - truth) <= weight.margin
    assert told > 140
    assert 0.9 <= covered / (2 * told) <= 0.99


def test_two_windows_tell_one_endpoint_at_most() -> None:
    """With as many regressors as windows anything can be explained."""
    visits = {"a": [100.0, 20], "b": [10.0, 90]}
    weights = explain([30_000.0, 6000], visits, preferred=None, noise=1)
    assert list(weights) == ["a"]
    assert explain([30_000.0], {"a": [100.0], "b": [10.0]}, preferred=None, noise=1) == {}


GROWTHS = st.lists(st.integers(-(10**6), 10**7).map(float), min_size=1, max_size=15)


@given(growths=GROWTHS, seed=st.integers(0, 2**32), alike=st.booleans())
def test_any_growth_gets_a_sound_answer(growths: list[float], seed: int, *, alike: bool) -> None:
    """Few weights, all above zero, margins known, no rival among those chosen."""
    visits = mixed(len(growths), "abcdefghijklmnop", seed)
    if alike:
        visits["b"] = visits["c"] = [0.0] * len(growths)
    weights = explain(growths, visits, preferred="a", noise=0)
    assert len(weights) <= MOST_EXPLAINING
    assert all(weight.estimate > 0 and weight.margin >= 0 for weight in weights.values())
    assert not any(set(weights) & set(weight.rivals) for weight in weights.values())
