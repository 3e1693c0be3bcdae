"""Two counts tell whether a pace has slowed, as scipy's distributions say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from leakmw.analysis.poisson import chance_of_slowing, incomplete_beta

positive = st.floats(0.01, 2000)


@given(positive, positive, st.floats(0, 1, allow_subnormal=False))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    """To nine digits, also for shapes that are not whole."""
    assert incomplete_beta(a, b, x) == pytest.approx(beta.cdf(x, a, b), abs=1e-9)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.05, 1), st.floats(0.1, 10))
def test_whole_counts_are_binomial(early: int, late: int, slower: float, visits: float) -> None:
    """The chance is the upper tail of the binomial distribution of the later count."""
    chance = chance_of_slowing(early, late, 1.0, visits, slower)
    share = slower * visits / (1 + slower * visits)
    assert chance == pytest.approx(binom.sf(late - 1, early + late, share), abs=1e-9)


def test_four_blocks_in_each_half_are_no_slowing_to_a_quarter() -> None:
    """Three are too few to say so, and so is nothing."""
    assert chance_of_slowing(4, 4, 100, 100, 0.25) < 0.06
    assert chance_of_slowing(3, 3, 100, 100, 0.25) > 0.06
    assert chance_of_slowing(8, 0, 100, 100, 0.25) == 1.0
