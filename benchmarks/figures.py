"""Medians with their spread, and tables that a README can quote."""

from __future__ import annotations

import platform
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Spread(NamedTuple):
    """The quartiles of repeated measurements."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize *values*."""
        if len(values) == 1:
            return cls(*values, *values, *values)
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    def shown(self, digits: int) -> str:
        """Write the median with the interquartile range behind it."""
        low, median, high = (f"{value:,.{digits}f}" for value in self)
        return f"{median} ({low} to {high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows]) + "\n"


def machine() -> str:
    """Say what the figures were measured on: they hold as ratios, nowhere as times."""
    import os

    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs."
    )
