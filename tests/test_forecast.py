"""When the limit is met: by the growth per visit, and the visits per second of late."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from leakmw.analysis.forecast import Level, seconds_to_limit, slope


def levels(
    per_visit: float, *, count: int = 12, noise: float = 0.0, pace: int = 100
) -> list[Level]:
    """Return levels that grow by so much, at so many visits per second, below a limit of 1 GB."""
    chance = random.Random(7)
    used = [
        round(50e6 + per_visit * 1000 * number + noise * chance.gauss(0, 1))
        for number in range(count)
    ]
    return [
        Level(1000 * number, 1000 * number / pace, size, 10**9 - size)
        for number, size in enumerate(used)
    ]


def test_a_straight_line_is_met_when_it_says() -> None:
    """Room over growth per visit and visits per second, whatever the start-up was."""
    forecast = seconds_to_limit([Level(0, 0.0, 1, 10**9), *levels(1000)[1:]])
    assert forecast is not None
    assert forecast.estimate == pytest.approx((10**9 - 61e6) / (1000 * 100))


def test_noise_widens_the_interval_around_the_truth() -> None:
    """Which lies within it."""
    forecast = seconds_to_limit(levels(1000, noise=500_000))
    assert forecast is not None
    assert forecast.low is not None
    assert forecast.high is not None
    assert forecast.low < 939e6 / 1e5 < forecast.high
    assert forecast.low < forecast.estimate < forecast.high


def test_the_pace_is_that_of_late() -> None:
    """At night there are fewer requests, and the worker lives longer."""
    day, night = levels(1000), levels(1000, pace=10)
    late = [
        one._replace(seconds=day[-1].seconds + one.seconds, visits=day[-1].visits + one.visits)
        for one in night[1:]
    ]
    both = [*day, *(one._replace(used=one.used + 11_000_000) for one in late)]
    forecast = seconds_to_limit(both)
    assert forecast is not None
    assert forecast.estimate == pytest.approx(late[-1].room / (1000 * 10), rel=0.1)


@pytest.mark.parametrize(
    "quiet",
    [
        levels(0),
        levels(0, noise=500_000),
        levels(-500),
        levels(1000)[:5],
        [*levels(1000), *(levels(1000)[-1]._replace(visits=11_000 + n * 1000) for n in range(14))],
    ],
    ids=["flat", "noisy", "shrinking", "too few", "stopped"],
)
def test_where_nothing_surely_grows_there_is_no_forecast(quiet: list[Level]) -> None:
    """No figure is better than one that scares."""
    assert seconds_to_limit(quiet) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(-(10**6), 10**6)),
        min_size=5,
        max_size=16,
        unique_by=(lambda point: point[0], lambda point: point[1]),
    )
)
def test_slopes_and_intervals_are_scipys(points: list[tuple[int, int]]) -> None:
    """For points without ties."""
    xs, ys = zip(*points, strict=True)
    expected = theilslopes(ys, xs, alpha=0.95)
    found = slope(points)
    assert found.estimate == pytest.approx(expected.slope, rel=1e-9, abs=1e-12)
    assert found.low == pytest.approx(expected.low_slope, rel=1e-9, abs=1e-12)
    assert found.high == pytest.approx(expected.high_slope, rel=1e-9, abs=1e-12)
