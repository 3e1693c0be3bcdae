"""Explain a series of growths by series of visits: non-negative least squares on few windows.

All arithmetic is on short lists (at most the snapshots kept), so plain Python does.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.student import quantile
from leakmw.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MOST_EXPLAINING = 4
"""Regressors that one growth is split among."""

SHORT_LIST = 12
"""Regressors tried at each step, the most parallel to what is left to explain."""

DECISIVE = 4.0
"""How much better, in units of n * log(RSS), one explanation must be to rule another out: twice
the log-likelihood ratio, about the 95 % point of chi-squared with one degree of freedom."""

CONFIDENCE = 0.975
"""Upper end of a two-sided 95 % interval."""


class Fit(NamedTuple):
    """What explains a growth.

    Attributes:
        weights: Growth per unit of each regressor chosen.
        rivals: Regressors that explain it as well as those chosen.
    """

    weights: dict[str, Estimate]
    rivals: tuple[str, ...]


def ratio(
    growths: Sequence[float], amounts: Sequence[float], probability: float = CONFIDENCE
) -> Estimate:
    """Estimate growth per unit by the ratio of the totals.

    The variance is that of the ratio estimator (Cochran, Sampling Techniques, 3rd ed., 6.3), the
    interval Student's.

    Args:
        growths: Growth in each window.

        amounts: Visits or seconds in each window; their sum is positive.

        probability: Of lying below the upper end.
    """
    count, total = len(growths), sum(amounts)
    estimate = sum(growths) / total
    if count < 2:  # noqa: PLR2004
        return Estimate(estimate, None, None)
    spread = sum((g - estimate * x) ** 2 for g, x in zip(growths, amounts, strict=True))
    error = math.sqrt(spread * count / (count - 1)) / total
    margin = quantile(probability, count - 1) * error
    return Estimate(estimate, estimate - margin, estimate + margin)


def solve(
    growths: Sequence[float], regressors: Sequence[Sequence[float]]
) -> tuple[list[float], float]:
    """Return non-negative least-squares weights and the residual sum of squares.

    The optimum is the best feasible solution among the subsets' unconstrained ones, which are few.

    Args:
        growths: Growth in each window.

        regressors: At most :data:`MOST_EXPLAINING` series of the same length.
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


def explain(
    growths: Sequence[float],
    regressors: Mapping[str, Sequence[float]],
    *,
    preferred: str | None,
    noise: float,
) -> Fit:
    """Choose the few regressors that explain *growths*, by forward selection.

    A regressor is added while the extended Bayesian information criterion falls (Chen and Chen,
    Biometrika 95, 2008), which counts that it was searched for among many.

    Args:
        growths: Growth in each window; its sum is positive.

        regressors: Amounts in each window, by name.

        preferred: Taken as long as nothing else is decisively better: what every visit or every
            second does needs no endpoint to blame.

        noise: Variance of one window's growth that says nothing.
    """
    count = len(growths)
    floor = count * noise
    chosen: tuple[str, ...] = ()
    rss = sum(g * g for g in growths)
    penalty = math.log(count) + 2 * math.log(len(regressors))
    while len(chosen) < min(MOST_EXPLAINING, count - 1):
        found = _next(growths, regressors, chosen, preferred, floor)
        if found is None or _better(count, rss, found[0], floor) < penalty:
            break
        rss, chosen = found[0], (*chosen, found[1])
    weights, rss = solve(growths, [regressors[name] for name in chosen])
    chosen = tuple(name for name, weight in zip(chosen, weights, strict=True) if weight > 0)
    if not chosen:
        return Fit({}, ())
    rivals = _rivals(growths, regressors, chosen, rss, floor)
    return Fit(_estimates(growths, regressors, chosen, max(rss, floor), ambiguous=rivals), rivals)


def _next(
    growths: Sequence[float],
    regressors: Mapping[str, Sequence[float]],
    chosen: tuple[str, ...],
    preferred: str | None,
    floor: float,
) -> tuple[float, str] | None:
    tried = {
        name: solve(growths, [regressors[other] for other in (*chosen, name)])[1]
        for name in _short_list(growths, regressors, chosen, preferred)
    }
    if not tried:
        return None
    best = min(tried, key=tried.__getitem__)
    if (
        preferred in tried
        and _better(len(growths), tried[preferred], tried[best], floor) < DECISIVE
    ):
        best = preferred
    return tried[best], best


def _short_list(
    growths: Sequence[float],
    regressors: Mapping[str, Sequence[float]],
    chosen: tuple[str, ...],
    preferred: str | None = None,
) -> list[str]:
    """Return the regressors most parallel to what is left to explain, the preferred one first."""
    series = [regressors[name] for name in chosen]
    weights, _ = solve(growths, series)
    left = [
        growth - _dot(weights, amounts) for growth, *amounts in zip(growths, *series, strict=True)
    ]

    def parallel(name: str) -> tuple[bool, float]:
        length = math.sqrt(_dot(regressors[name], regressors[name]))
        return name == preferred, _dot(left, regressors[name]) / length if length else 0.0

    rest = [name for name in regressors if name not in chosen]
    return sorted(rest, key=parallel, reverse=True)[:SHORT_LIST]


def _better(count: int, rss: float, other: float, floor: float) -> float:
    """Return by how much *other* is the better residual, in units of n * log(RSS)."""
    tiny = 1e-9
    return count * math.log(max(rss, floor, tiny) / max(other, floor, tiny))


def _rivals(
    growths: Sequence[float],
    regressors: Mapping[str, Sequence[float]],
    chosen: tuple[str, ...],
    rss: float,
    floor: float,
) -> tuple[str, ...]:
    """Return what could stand in for the first one chosen."""
    rest = [regressors[name] for name in chosen[1:]]
    return tuple(
        name
        for name in _short_list(growths, regressors, chosen[1:])
        if name != chosen[0]
        and _better(len(growths), solve(growths, [regressors[name], *rest])[1], rss, floor)
        < DECISIVE
    )


def _estimates(
    growths: Sequence[float],
    regressors: Mapping[str, Sequence[float]],
    chosen: tuple[str, ...],
    rss: float,
    *,
    ambiguous: Collection[str],
) -> dict[str, Estimate]:
    series = [regressors[name] for name in chosen]
    freedom = len(growths) - len(chosen)
    weights = _least_squares(growths, series) or [0.0] * len(series)
    margins = _margins(series, rss, freedom)
    return {
        name: Estimate(weight, 0.0 if ambiguous else max(0.0, weight - margin), weight + margin)
        for name, weight, margin in zip(chosen, weights, margins, strict=True)
    }


def _margins(series: list[Sequence[float]], rss: float, freedom: int) -> list[float]:
    """Return half the widths of the weights' intervals: t * sqrt(s^2 * diag((X'X)^-1))."""
    scale = quantile(CONFIDENCE, freedom) * math.sqrt(rss / freedom)
    gram = _gram(series)
    units = [[float(row == column) for row in range(len(series))] for column in range(len(series))]
    inverse = [_gauss(gram, unit) for unit in units]
    return [
        scale * math.sqrt(max(0.0, column[index])) if column else math.inf
        for index, column in enumerate(inverse)
    ]


def _least_squares(
    growths: Sequence[float], series: Sequence[Sequence[float]]
) -> list[float] | None:
    return _gauss(_gram(series), [_dot(one, growths) for one in series])


def _residual(
    growths: Sequence[float], series: Sequence[Sequence[float]], weights: Sequence[float]
) -> float:
    return math.fsum(
        (growth - _dot(weights, amounts)) ** 2
        for growth, *amounts in zip(growths, *series, strict=True)
    )


def _gram(series: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[_dot(one, other) for other in series] for one in series]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _gauss(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Solve a small symmetric system; ``None`` where it is as good as singular."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    smallest = 1e-9 * max((matrix[index][index] for index in range(size)), default=0.0)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        if abs(rows[pivot][column]) <= smallest:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [rows[index][size] / rows[index][index] for index in range(size)]
