"""Student's t distribution against SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leakmw.analysis.student import cdf, quantile


@given(st.floats(-50, 50), st.integers(1, 100))
def test_the_distribution_function_agrees(t: float, freedom: int) -> None:
    """For every whole number of degrees of freedom that a history can have, and many more."""
    assert cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), rel=1e-9, abs=1e-12)


@given(st.sampled_from([0.5, 0.75, 0.95, 0.975, 0.995, 0.9995]), st.integers(1, 100))
def test_the_quantile_agrees(probability: float, freedom: int) -> None:
    """Also far out with one degree of freedom, where it is in the hundreds."""
    expected = stats.t.ppf(probability, freedom)
    assert quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)
