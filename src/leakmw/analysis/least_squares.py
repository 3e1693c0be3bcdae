"""Least squares, plain and non-negative, on series of a few dozen figures."""

from __future__ import annotations

import math
from itertools import combinations
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SINGULAR = 1e-9
"""Part of a regressor that the others must leave unexplained for it to have a weight."""


def solve(
    growths: Sequence[float], regressors: Sequence[Sequence[float]]
) -> tuple[list[float], float]:
    """Return non-negative least-squares weights and the residual sum of squares.

    The optimum is the best feasible solution among the subsets' unconstrained ones, which are few.

    Args:
        growths: Growth in each window.

        regressors: Few series of the same length: every subset is tried.
    """
    best, least = [0.0] * len(regressors), sum(g * g for g in growths)
    for size in range(1, len(regressors) + 1):
        for subset in combinations(range(len(regressors)), size):
            weights = _least_squares(growths, [regressors[index] for index in subset])
            if weights is None or min(weights) < 0:
                continue
            rss = _residual(growths, [regressors[index] for index in subset], weights)
            if rss < least:
                least, best = rss, [0.0] * len(regressors)
                for index, weight in zip(subset, weights, strict=True):
                    best[index] = weight
    return best, least


def errors(regressors: Sequence[Sequence[float]]) -> list[float]:
    """Return the standard errors of the weights for residuals of one: sqrt(diag((X'X)^-1)).

    Args:
        regressors: Such that none follows from the others.
    """
    gram, size = _gram(regressors), range(len(regressors))
    inverse = [_gauss(gram, [float(row == column) for row in size]) for column in size]
    return [math.sqrt(column[index]) for index, column in enumerate(inverse) if column]


def _least_squares(
    growths: Sequence[float], series: Sequence[Sequence[float]]
) -> list[float] | None:
    return _gauss(_gram(series), [dot(one, growths) for one in series])


def _residual(
    growths: Sequence[float], series: Sequence[Sequence[float]], weights: Sequence[float]
) -> float:
    return math.fsum(
        (growth - dot(weights, amounts)) ** 2
        for growth, *amounts in zip(growths, *series, strict=True)
    )


def _gram(series: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[dot(one, other) for other in series] for one in series]


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the sum of the products, rounded once."""
    return math.fsum(map(mul, one, other))


def _gauss(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Solve a small positive definite system; ``None`` where it is as good as singular.

    What is left of a regressor's own square, once those before it are taken out, tells how far it
    says anything new. That is compared with the whole: an endpoint visited twice has small ones.
    """
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(size):
        if rows[column][column] <= SINGULAR * matrix[column][column]:
            return None
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [rows[index][size] / rows[index][index] for index in range(size)]
