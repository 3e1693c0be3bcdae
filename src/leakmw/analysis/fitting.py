"""Explain a series of growths by series of visits: non-negative least squares on few windows.

All arithmetic is on short lists (at most the snapshots kept), so plain Python does.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.least_squares import dot, errors, solve
from leakmw.analysis.student import quantile
from leakmw.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_EXPLAINING = 4
"""Regressors that one growth is split among."""

SHORT_LIST = 12
"""Regressors tried at each step, the most parallel to what is left to explain."""

DECISIVE = 4.0
"""How much better, in units of n * log(RSS), one explanation must be to rule a given other out:
twice the log-likelihood ratio, about the 95 % point of chi-squared with one degree of freedom."""

CONFIDENCE = 0.975
"""Upper end of a two-sided 95 % interval."""


class Weight(NamedTuple):
    """Growth per unit of one regressor.

    Attributes:
        estimate: Bytes per unit.
        margin: Half the width of its 95 % interval.
        rivals: Regressors that could stand in for this one, the likeliest first.
    """

    estimate: float
    margin: float
    rivals: tuple[str, ...] = ()


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


def explain(
    growths: Sequence[float],
    regressors: Mapping[str, Sequence[float]],
    *,
    preferred: str | None,
    noise: float,
    decisive: float = DECISIVE,
) -> dict[str, Weight]:
    """Choose the few regressors that explain *growths*, by forward selection.

    Returns the weights of those chosen, all above zero.

    Args:
        growths: Growth in each window; its sum is positive.

        regressors: Amounts in each window, by name.

        preferred: Taken as long as nothing else is decisively better: what every visit or every
            second does needs no endpoint to blame.

        noise: Variance of one window's growth that says nothing.

        decisive: How much better one explanation must be to rule a given other out.
    """
    search = _Search(growths, regressors, preferred, noise, decisive)
    best = search.tried(())
    for step in (search.one, search.pair, search.another, search.another):
        found = step(best)
        if found is not None and search.pays(best, found):
            best = found
    return search.weights(best)


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
        decisive: float,
    ) -> None:
        self._growths = growths
        self._regressors = regressors
        self._preferred = preferred
        self._count = len(growths)
        self._decisive = decisive
        self._floor = max(self._count * noise, 1e-9)

    def tried(self, names: tuple[str, ...]) -> _Tried:
        """Return *names* with what they leave unexplained."""
        return _Tried(names, solve(self._growths, [self._regressors[name] for name in names])[1])

    def one(self, _best: _Tried) -> _Tried:
        """Return the best single regressor: the preferred one if it is about as good."""
        singles = [self.tried((name,)) for name in self._short_list(())]
        best = min(singles, key=lambda single: single.rss)
        for single in singles:
            if single.names == (self._preferred,) and self._gain(single, best) < self._decisive:
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

    def weights(self, best: _Tried) -> dict[str, Weight]:
        """Return what *best* comes to; a regressor may have turned out to say nothing."""
        estimates, rss = solve(self._growths, [self._regressors[name] for name in best.names])
        known = {
            name: estimate
            for name, estimate in zip(best.names, estimates, strict=True)
            if estimate > 0
        }
        if not known:
            return {}
        freedom = self._count - len(known)
        scale = quantile(CONFIDENCE, freedom) * math.sqrt(max(rss, self._floor) / freedom)
        units = errors([self._regressors[name] for name in known])
        chosen = self.tried(tuple(known))
        return {
            name: Weight(estimate, scale * unit, self._rivals(name, chosen))
            for (name, estimate), unit in zip(known.items(), units, strict=True)
        }

    def _rivals(self, name: str, chosen: _Tried) -> tuple[str, ...]:
        """Return what could stand in for *name* among those chosen.

        As it was searched for among many, each of them must be ruled out by so much more.
        """
        rest = tuple(other for other in chosen.names if other != name)
        decisive = self._decisive + 2 * math.log(len(self._regressors))
        others = [self.tried((rival, *rest)) for rival in self._short_list(rest) if rival != name]
        left = [other for other in others if self._gain(other, chosen) < decisive]
        return tuple(other.names[0] for other in sorted(left, key=lambda other: other.rss))

    def _gain(self, before: _Tried, after: _Tried) -> float:
        """Return by how much *after* is the better, in units of n * log(RSS)."""
        floor = self._floor
        return self._count * math.log(max(before.rss, floor) / max(after.rss, floor))

    def _short_list(self, chosen: tuple[str, ...]) -> list[str]:
        """Return the regressors most parallel to what is left to explain, the preferred first."""
        series = [self._regressors[name] for name in chosen]
        weights, _ = solve(self._growths, series)
        left = [
            growth - dot(weights, amounts)
            for growth, *amounts in zip(self._growths, *series, strict=True)
        ]

        def parallel(name: str) -> tuple[bool, float]:
            regressor = self._regressors[name]
            length = math.sqrt(dot(regressor, regressor))
            return name == self._preferred, dot(left, regressor) / length if length else 0.0

        rest = [name for name in self._regressors if name not in chosen]
        return sorted(rest, key=parallel, reverse=True)[:SHORT_LIST]
