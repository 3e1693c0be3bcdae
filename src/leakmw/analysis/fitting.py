"""Explain a series of growths by series of visits: non-negative least squares on few windows.

All arithmetic is on short lists (at most the snapshots kept), so plain Python does.
"""

from __future__ import annotations

import math
from itertools import combinations
from operator import mul
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

    Args:
        growths: Growth in each window; its sum is positive.

        regressors: Amounts in each window, by name.

        preferred: Taken as long as nothing else is decisively better: what every visit or every
            second does needs no endpoint to blame.

        noise: Variance of one window's growth that says nothing.
    """
    search = _Search(growths, regressors, preferred, noise)
    best = search.tried(())
    for step in (search.one, search.pair, search.another, search.another):
        found = step(best)
        if found is not None and search.pays(best, found):
            best = found
    weights, rss = solve(growths, [regressors[name] for name in best.names])
    chosen = tuple(name for name, weight in zip(best.names, weights, strict=True) if weight > 0)
    if not chosen:
        return Fit({}, ())
    rivals = search.rivals(chosen)
    spread = max(rss, len(growths) * noise)
    return Fit(_estimates(growths, regressors, chosen, spread, ambiguous=rivals), rivals)


class _Tried(NamedTuple):
    """Regressors with the residual sum of squares that they leave."""

    names: tuple[str, ...]
    rss: float


class _Search:
    """Looks for the few regressors that explain a growth."""

    def __init__(
        self,
        growths: Sequence[float],
        regressors: Mapping[str, Sequence[float]],
        preferred: str | None,
        noise: float,
    ) -> None:
        self._growths = growths
        self._regressors = regressors
        self._preferred = preferred
        self._count = len(growths)
        self._floor = max(self._count * noise, 1e-9)

    def tried(self, names: tuple[str, ...]) -> _Tried:
        """Return *names* with what they leave unexplained."""
        return _Tried(names, solve(self._growths, [self._regressors[name] for name in names])[1])

    def one(self, _best: _Tried) -> _Tried | None:
        """Return the best single regressor: the preferred one if it is about as good."""
        singles = [self.tried((name,)) for name in self._short_list(())]
        best = min(singles, key=lambda single: single.rss, default=None)
        for single in singles:
            if single.names == (self._preferred,) and not self._decides(single, best):
                return single
        return best

    def pair(self, best: _Tried) -> _Tried | None:
        """Return the best two: what is the sum of two may look most like a third."""
        if best.rss <= self._floor:
            return None
        pairs = map(self.tried, combinations(self._short_list(()), 2))
        return min(pairs, key=lambda pair: pair.rss, default=None)

    def another(self, best: _Tried) -> _Tried | None:
        """Return what is best with one more."""
        larger = (self.tried((*best.names, name)) for name in self._short_list(best.names))
        return min(larger, key=lambda more: more.rss, default=None)

    def pays(self, best: _Tried, found: _Tried) -> bool:
        """Say whether *found* explains enough more for the regressors that it has more.

        This is the extended Bayesian information criterion (Chen and Chen, Biometrika 95, 2008),
        which counts that they were searched for among many, corrected for few windows as Hurvich
        and Tsai (Biometrika 76, 1989) do.
        """
        size = len(found.names)
        freedom = self._count - size - 1
        if size > MOST_EXPLAINING or freedom < 0:
            return False
        price = math.log(self._count) + 2 * math.log(len(self._regressors))
        added = size - len(best.names)
        return self._gain(best, found) >= added * price * self._count / max(1, freedom)

    def rivals(self, chosen: tuple[str, ...]) -> tuple[str, ...]:
        """Return what could stand in for one of those chosen."""
        best = self.tried(chosen)
        found: dict[str, None] = {}
        for name in chosen:
            rest = tuple(other for other in chosen if other != name)
            for rival in self._short_list(rest):
                if rival != name and not self._decides(self.tried((rival, *rest)), best):
                    found[rival] = None
        return tuple(found)

    def _decides(self, other: _Tried, best: _Tried | None) -> bool:
        return best is not None and self._gain(other, best) >= DECISIVE

    def _gain(self, before: _Tried, after: _Tried) -> float:
        """Return by how much *after* is the better, in units of n * log(RSS)."""
        floor = self._floor
        return self._count * math.log(max(before.rss, floor) / max(after.rss, floor))

    def _short_list(self, chosen: tuple[str, ...]) -> list[str]:
        """Return the regressors most parallel to what is left to explain, the preferred first."""
        series = [self._regressors[name] for name in chosen]
        weights, _ = solve(self._growths, series)
        left = [
            growth - _dot(weights, amounts)
            for growth, *amounts in zip(self._growths, *series, strict=True)
        ]

        def parallel(name: str) -> tuple[bool, float]:
            regressor = self._regressors[name]
            length = math.sqrt(_dot(regressor, regressor))
            return name == self._preferred, _dot(left, regressor) / length if length else 0.0

        rest = [name for name in self._regressors if name not in chosen]
        return sorted(rest, key=parallel, reverse=True)[:SHORT_LIST]


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
    return math.fsum(map(mul, one, other))


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
