"""Student's t distribution for whole degrees of freedom.

The distribution function is the finite series of Abramowitz and Stegun, Handbook of Mathematical
Functions, 26.7.3 and 26.7.4; the quantile inverts it by bisection.
"""

from __future__ import annotations

import math
from functools import lru_cache


def cdf(t: float, freedom: int) -> float:
    """Return the probability that a t variable with *freedom* degrees of freedom is below *t*."""
    theta = math.atan(t / math.sqrt(freedom))
    cosine_squared = math.cos(theta) ** 2
    term, total = 1.0, 1.0
    for step in range(2 + freedom % 2, freedom - 1, 2):
        term *= cosine_squared * (step - 1) / step
        total += term
    if freedom % 2 == 0:
        central = math.sin(theta) * total
    elif freedom == 1:
        central = 2 * theta / math.pi
    else:
        central = 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * total)
    return (1 + central) / 2


@lru_cache(256)
def quantile(probability: float, freedom: int) -> float:
    """Return the t below which a variable lies with *probability*, of 0.5 or more."""
    low, high = 0.0, 1.0
    while cdf(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
