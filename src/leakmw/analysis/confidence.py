"""How often a verdict like this was right, as counted over the leak zoo.

``benchmarks/leak_zoo.py`` prints the table. A leak counts once, a suspicion once for each number
of windows over which it has grown. Shares are (right + 1) / (given + 2), Laplace's rule of
succession, so that none is ever certain.
"""

from __future__ import annotations

from leakmw.records import Verdict

_RIGHT: dict[Verdict, tuple[tuple[int, float], ...]] = {
    Verdict.LEAK: ((0, 0.98),),  # 46 of 46 leaks, 441 of 441 verdicts
    Verdict.SUSPECT: ((8, 0.7), (5, 0.92), (0, 0.87)),  # 34 of 48, 147 of 159, 59 of 67
}
"""By the least number of windows over which it has grown, most first."""


def confidence(verdict: Verdict, windows: int) -> float | None:
    """Return the share of such verdicts that were right; ``None`` where that was not counted.

    Args:
        verdict: What the growth was called.

        windows: Over how many windows it has grown.
    """
    shares = _RIGHT.get(verdict, ())
    return next((share for least, share in shares if windows >= least), None)
