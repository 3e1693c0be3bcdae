"""What of a place's memory outlives the window of its birth, and what of that goes later.

A block is sampled once, at its birth: a later snapshot shows those of the earlier one's samples
that still live. So births and deaths are known each by itself, and not only what they differ by.
What dies in its own window, as most of what serves a request does, is in neither. A block that is
moved as it grows is as old as it was, and what it has grown by counts as born, like one sample.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import MAX_BIRTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakmw.records import Birth, Row


class Turnover(NamedTuple):
    """Births and deaths at one place, in bytes or in blocks, by window of birth.

    All windows but the last, in which nothing has had the time to outlive it.

    Attributes:
        born: What has outlived its window.
        died: What has gone meanwhile of all that had done so before.
        kept: What of *born* is alive at the last snapshot.
        variance: Of *born* less *died*, if blocks came and went by chance.
    """

    born: list[float]
    died: list[float]
    kept: list[float]
    variance: list[float]

    def net(self) -> list[float]:
        """Return the growth of what outlives its window."""
        return [born - died for born, died in zip(self.born, self.died, strict=True)]

    def growth(self) -> float:
        """Return all of that together."""
        return sum(self.born) - sum(self.died)

    def alive(self) -> list[float]:
        """Return what part of each window's births is alive; 1 where there were none."""
        both = zip(self.kept, self.born, strict=True)
        return [min(1.0, kept / born) if born else 1.0 for kept, born in both]

    def last(self, windows: int) -> Turnover:
        """Return that of the last *windows*."""
        return Turnover(*(column[-windows:] for column in self))

    def cut(self, part: slice) -> Turnover:
        """Return that of the windows of *part*, whose last tells no survivors either."""
        over = range(len(self.born) + 1)[part][:-1]
        return Turnover(*(column[over.start : over.stop] for column in self))


class Survival(NamedTuple):
    """The turnover of one place in either unit.

    In bytes a list that is moved as it grows hides the small blocks that it holds, in blocks many
    small ones hide a large one.
    """

    bytes: Turnover
    blocks: Turnover

    def cut(self, part: slice) -> Survival:
        """Return that of the windows of *part*."""
        return Survival(self.bytes.cut(part), self.blocks.cut(part))


def survival(origins: Sequence[Sequence[Row | None]], newest: Sequence[int]) -> Survival:
    """Return the births and deaths at one place; none at all where nobody would ask.

    Args:
        origins: The row of each of its origins, in each snapshot.

        newest: The window that ended with each snapshot.
    """
    lives = [[() if row is None else row.births for row in rows] for rows in origins]
    if sum(_growth(births, newest) for births in lives) < LEAST_BYTES:
        return Survival(NONE, NONE)
    return added(
        [
            Survival(_turnover(births, newest, _in_bytes), _turnover(births, newest, _in_blocks))
            for births in lives
        ]
    )


def _growth(lives: Sequence[Sequence[Birth]], newest: Sequence[int]) -> int:
    """Return by how many bytes what outlives its window has grown since the second snapshot."""

    def lasting(index: int) -> int:
        return sum(birth.bytes for birth in lives[index] if birth.window < newest[index])

    return lasting(-1) - lasting(1) if len(lives) > 1 else 0


def added(several: Sequence[Survival]) -> Survival:
    """Add up what is known over the same windows."""
    known = [one for one in several if one.bytes.born] or several[:1]
    return Survival(_sum([one.bytes for one in known]), _sum([one.blocks for one in known]))


def _sum(several: Sequence[Turnover]) -> Turnover:
    columns = zip(*several, strict=True)
    return Turnover(*([sum(one) for one in zip(*lists, strict=True)] for lists in columns))


NONE = Turnover([], [], [], [])

LASTING_BYTES = 32 << 10
"""Growth in one process of what outlives its window below which nobody is called. What the
interpreter keeps for reuse stands at the line that first made it: some 150 dicts, lists and their
like, or hundreds of the strings by which C code looked up attributes (its cache has 4,096)."""


LEAST_BYTES = 2 << 10
"""The same below which nobody asks for births and deaths, also where other workers add theirs."""


class _Amount(NamedTuple):
    value: float
    variance: float


def _in_bytes(birth: Birth) -> _Amount:
    return _Amount(birth.bytes, birth.bytes_variance)


def _in_blocks(birth: Birth) -> _Amount:
    return _Amount(birth.blocks, birth.blocks_variance)


def _turnover(
    lives: Sequence[Sequence[Birth]], newest: Sequence[int], unit: Callable[[Birth], _Amount]
) -> Turnover:
    """Return births and deaths from what was alive of each window at each snapshot."""
    found = Turnover([], [], [], [])
    sums = [_Sums(births, unit) for births in lives]
    # what was born in the window just ended has not outlived it, and what was there at the first
    # snapshot may be what an app makes once
    ends = [window - 1 for window in newest]
    steps = pairwise(zip(lives[1:], sums[1:], ends[1:], strict=True))
    for (_, earlier, start), (births, later, end) in steps:
        before, now = earlier.upto(start), later.upto(end)
        left = later.upto(start) if _tells(births, start) else min(before, now)
        grown = max(0.0, left.value - before.value)
        still = sums[-1].upto(start).value
        new = sums[-1].upto(end).value - still
        still_grown = min(grown, max(0.0, still - before.value))
        found.born.append(max(0.0, now.value - left.value) + grown)
        found.died.append(max(0.0, before.value - left.value))
        found.kept.append(max(0.0, new) + still_grown)
        by_chance = max(0.0, before.variance - left.variance) + now.variance - left.variance
        found.variance.append(max(0.0, by_chance) + grown**2)
    return found


class _Sums:
    """What is alive at a snapshot of all that was born up to a window.

    Args:
        births: In the order of their windows.

        unit: What is added up of each.
    """

    __slots__ = ("_values", "_variances", "_windows")

    def __init__(self, births: Sequence[Birth], unit: Callable[[Birth], _Amount]) -> None:
        amounts = [unit(birth) for birth in births]
        self._windows = [birth.window for birth in births]
        self._values = [0.0, *accumulate(amount.value for amount in amounts)]
        self._variances = [0.0, *accumulate(amount.variance for amount in amounts)]

    def upto(self, window: int) -> _Amount:
        """Return what was born in *window* or before."""
        place = bisect_right(self._windows, window)
        return _Amount(self._values[place], self._variances[place])


def _tells(births: Sequence[Birth], window: int) -> bool:
    """Return whether *births* tell what was born by *window* from what came after."""
    if not births or births[0].window <= window:
        return True
    return births[-1].window - births[0].window + 1 < MAX_BIRTHS
