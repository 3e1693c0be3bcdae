"""Least squares on few windows, against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from leakmw.analysis.least_squares import errors, solve

COUNTS = st.integers(0, 1000).map(float)
GROWTHS = st.integers(-100_000, 100_000).map(float)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[list[float]]]:
    """Draw growths, and up to four series of visits in the same windows."""
    windows = draw(st.integers(2, 15))
    one = st.lists(COUNTS, min_size=windows, max_size=windows)
    growths = draw(st.lists(GROWTHS, min_size=windows, max_size=windows))
    return growths, draw(st.lists(one, min_size=1, max_size=4))


@given(problems())
def test_no_weights_leave_less(problem: tuple[list[float], list[list[float]]]) -> None:
    """What is left is what SciPy's non-negative least squares leaves, whatever depends on what."""
    growths, regressors = problem
    weights, rss = solve(growths, regressors)
    _, norm = nnls(np.array(regressors).T, np.array(growths))

    assert min(weights) >= 0
    assert rss == pytest.approx(norm**2, rel=1e-6, abs=1e-3)
    left = np.array(growths) - np.array(weights) @ np.array(regressors)
    assert rss == pytest.approx(left @ left, rel=1e-6, abs=1e-3)


def test_a_rare_endpoint_has_its_weight_beside_a_busy_one() -> None:
    """Two visits in a window say as much as a hundred thousand if their growth follows them."""
    busy = [100_000.0 + 1000 * window for window in range(10)]
    rare = [0.0, 1, 2, 0, 1, 0, 2, 2, 1, 0]
    growths = [0.1 * b + 1e6 * r for b, r in zip(busy, rare, strict=True)]
    weights, _ = solve(growths, [busy, rare])
    assert weights == pytest.approx([0.1, 1e6])


def test_endpoints_that_are_only_visited_together_are_not_told_apart() -> None:
    """One of them gets it all, which explains as much as any split."""
    visits = [10.0, 20, 15]
    weights, rss = solve([100.0, 200, 150], [visits, [2 * count for count in visits]])
    assert sorted(weights) in ([0.0, 5.0], [0.0, 10.0])
    assert rss == pytest.approx(0)


def test_the_errors_are_those_of_the_normal_equations() -> None:
    """The square roots of the diagonal of the inverse of X'X."""
    regressors = [[1.0, 2, 3, 4], [4.0, 1, 0, 2]]
    gram = np.array(regressors) @ np.array(regressors).T
    assert errors(regressors) == pytest.approx(list(np.sqrt(np.diag(np.linalg.inv(gram)))))
