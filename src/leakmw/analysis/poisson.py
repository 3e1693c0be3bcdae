"""Whether one of two counts shows a rate so much lower than the other's.

Given their sum, one of two Poisson counts is binomial, whatever the rates are (Przyborowski and
Wilenski, Biometrika 31, 1940). The binomial tail is an incomplete beta function, here by its
continued fraction (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.5.8), so that
counts need not be whole: those behind an estimate are not.
"""

from __future__ import annotations

import math

TERMS = 300
TINY = 1e-300
PRECISION = 1e-12


def chance_of_slowing(
    early: float, late: float, early_visits: float, late_visits: float, slower: float
) -> float:
    """Return how likely so many late events are if their rate is *slower* times the early one.

    Args:
        early: Events in the earlier part.

        late: Events in the later part.

        early_visits: Visits in the earlier part, more than 0.

        late_visits: Visits in the later part, more than 0.

        slower: Later rate over earlier rate, between 0 and 1.

    Returns:
        The probability of *late* events or more, of as many in both.
    """
    if late <= 0:
        return 1.0
    expected = slower * late_visits
    return incomplete_beta(late, max(0.0, early) + 1, expected / (early_visits + expected))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function, for positive *a* and *b*."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)  # where the fraction converges fast
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(scale + a * math.log(x) + b * math.log1p(-x)) / a
    return min(1.0, front * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction by Lentz's method (Applied Optics 15, 1976)."""
    value, upper, lower = 1.0, 1.0, 0.0
    for term in range(1, TERMS):
        m = term // 2
        if term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / _not_zero(1 + factor * lower)
        upper = _not_zero(1 + factor / upper)
        value *= upper * lower
        if abs(upper * lower - 1) < PRECISION:
            break
    return 1 / value


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
