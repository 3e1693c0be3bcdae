"""How often a verdict like this was right, as counted over the leak zoo.

``benchmarks/leak_zoo.py`` prints the table; here both engines are counted. A leak counts once, a
suspicion once for each number of windows over which it has grown. Shares are (right + 1) / (given
+ 2), Laplace's rule of succession, so that none is ever certain.
"""

from __future__ import annotations

from leakmw.records import Verdict

_RIGHT: dict[Verdict, tuple[tuple[int, float], ...]] = {
    Verdict.LEAK: ((0, 0.98),),  # 96 of 96 leaks; an innocent case was called in some other runs
    Verdict.SUSPECT: ((8, 0.77), (5, 0.9), (0, 0.94)),  # 189 of 245, 479 of 531, 161 of 171
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
