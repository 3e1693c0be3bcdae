"""What outlives the window of its birth: counted from snapshots, and whether it piles up."""

from __future__ import annotations

import random
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.analysis.lasting import is_new, lasting, parts, stopped
from leakmw.analysis.survival import LASTING_BYTES, Survival, Turnover, added, survival
from leakmw.records import MAX_BIRTHS, Birth, Frame, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATH = (Frame("shop.py", 5),)
SIZE = 100
STANDS_FOR = 1000
"""Blocks that one sample stands for."""


def row(samples: dict[int, int], size: int = SIZE, stands_for: int = STANDS_FOR) -> Row:
    """Return a row with so many samples alive of each window of birth."""
    births = tuple(
        Birth(
            window,
            number * stands_for * size,
            number * stands_for,
            number,
            number * (stands_for * size) ** 2,
            number * stands_for**2,
        )
        for window, number in sorted(samples.items())
    )
    size, blocks = sum(one.bytes for one in births), sum(one.blocks for one in births)
    return Row(PATH, size, blocks, PATH, "GET /a", births)


def turnover(born: Sequence[float], died: Sequence[float]) -> Turnover:
    """Return the turnover of so many samples, each of which stands for one."""
    variance = [b + d for b, d in zip(born, died, strict=True)]
    return Turnover(list(born), list(died), list(born), variance)


def test_what_outlives_its_window_is_born_and_what_goes_later_dies() -> None:
    """The samples of the window that has just ended are in neither: they may be in flight.

    Nor are those that were there at the first snapshot born.
    """
    rows = [
        row({1: 5, 2: 9}),
        row({1: 4, 2: 3, 3: 7}),
        row({1: 4, 2: 2, 3: 6, 4: 8}),
        row({1: 4, 2: 2, 3: 5, 4: 1, 5: 9}),
    ]
    found = survival([rows], [2, 3, 4, 5]).blocks
    assert found.born == [6000, 1000]
    assert found.died == [1000, 1000]
    assert found.kept == [5000, 1000]
    assert found.variance == [7 * STANDS_FOR**2, 2 * STANDS_FOR**2]
    assert found.net() == [5000, 0]


def test_a_block_that_grows_grows_though_it_is_not_born() -> None:
    """As long as it is there: it goes with all that it has grown by."""
    rows = [row({1: 1}, size=100 * moment) for moment in (1, 2, 3, 4, 6)]
    found = survival([rows], [2, 3, 4, 5, 6]).bytes
    assert found.net() == found.born == found.kept == [100_000.0, 100_000.0, 200_000.0]
    shrinking = [*rows[:4], row({1: 1}, size=250), row({1: 1}, size=600)]
    gone = survival([shrinking], [2, 3, 4, 5, 6, 7])
    assert gone.bytes.net() == [100_000.0, 100_000.0, -150_000.0, 350_000.0]
    assert gone.blocks.net() == [0.0] * 4


GROWING = [None, None, row({3: 9}), row({3: 9})]
"""Without growth nobody asks."""


def test_a_place_that_is_not_there_yet_or_no_more_has_no_samples() -> None:
    """Neither is missing."""
    found = survival([[None, row({2: 3}), row({2: 3}), None], GROWING], [1, 2, 3, 4]).bytes
    assert found.born == [300_000, 900_000]
    assert found.died == [0, 300_000]
    assert found.kept == [0, 900_000]


def test_what_is_too_old_to_be_told_apart_is_told_by_the_level() -> None:
    """The oldest window told apart holds all before it."""
    old = row(dict.fromkeys(range(1, 11), 1))
    folded = row({200: 150, **dict.fromkeys(range(201, 200 + MAX_BIRTHS), 1)})
    found = survival([[None, old, folded]], [0, 10, 200 + MAX_BIRTHS - 1]).blocks
    assert found.died == [0]
    assert found.born == [(150 + MAX_BIRTHS - 2 - 9) * STANDS_FOR]


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=8, max_size=8), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_births_and_deaths_account_for_each_change(
    rows_born: list[list[int]], chance: random.Random
) -> None:
    """Whatever lives how long: what was there, and is born, and has not died, is there."""
    found, levels = [], [0] * 6
    for born in rows_born:
        alive: dict[int, int] = {}
        rows = []
        for window, number in enumerate(born):
            alive = {w: chance.randint(0, left) for w, left in alive.items()} | {window: number}
            rows.append(row(alive))
        found.append(rows)
        for index, (earlier, later) in enumerate(pairwise(rows[1:])):
            levels[index] += _lasting(later, index + 1) - _lasting(earlier, index)
    both = survival(found, range(8))
    assert both.blocks.net() == (levels if sum(levels) * SIZE >= LASTING_BYTES else [])
    assert all(amount >= 0 for column in both.blocks for amount in column)
    assert [amount * SIZE for amount in both.blocks.born] == both.bytes.born


def _lasting(one: Row, window: int) -> int:
    return sum(birth.blocks for birth in one.births if birth.window <= window)


def test_a_place_that_has_not_grown_is_not_looked_at() -> None:
    """There are thousands of them."""
    still = survival([[row({1: 9}), row({1: 9, 2: 4}), row({1: 9, 3: 9})]], [1, 2, 3])
    assert still == Survival(Turnover([], [], [], []), Turnover([], [], [], []))


def test_a_leak_is_seen_from_eight_samples() -> None:
    """If none has gone, and over windows enough; fewer may be chance."""
    assert lasting(turnover([3, 2, 3], [0, 0, 0]), [1000.0] * 3) == 3
    assert lasting(turnover([3, 2, 2], [0, 0, 0]), [1000.0] * 3) == 0
    assert lasting(turnover([4, 4], [0, 0]), [1000.0] * 2) == 0


def test_a_leak_of_a_sample_now_and_then_is_seen_all_the_same() -> None:
    """Whatever windows have none."""
    born = [0, 1, 0, 0, 2, 0, 1, 0, 1, 1, 0, 0, 1, 0, 2]
    assert lasting(turnover(born, [0] * 15), [1000.0] * 15) == 15


def test_a_list_that_moves_as_it_grows_hides_nothing() -> None:
    """In bytes its own block comes and goes, in blocks it is but one beside what it holds."""
    leaked = [row({1: 1} | dict.fromkeys(range(2, end + 1), 1)) for end in range(2, 14)]
    moved = [row({end - 1: 1}, 400_000, 1) for end in range(2, 14)]
    both = survival([leaked, moved], range(2, 14))
    amounts = [1000.0] * 10
    assert not lasting(both.bytes, amounts)
    assert lasting(both.blocks, amounts) == 10


def test_a_leak_that_begins_late_is_seen_in_the_later_half() -> None:
    """What was quiet before does not hide it."""
    born = [0] * 8 + [3] * 7
    assert lasting(turnover(born, [0] * 15), [1000.0] * 15) == 8


def test_what_comes_in_a_few_bursts_is_no_leak() -> None:
    """A table that doubles stays; with more visits in those windows it would be a leak."""
    bursts = turnover([1, 9, 0, 1, 0, 8, 0, 1, 0], [0] * 9)
    assert lasting(bursts, [1000.0] * 9) == 0
    assert lasting(bursts, [100.0, 900, 0, 100, 0, 800, 0, 100, 0]) == 9


def test_what_swings_comes_back_to_where_it_was() -> None:
    """Growth after a fall is not new."""
    born, died = [0, 0, 0, 0, 9, 9, 9, 9], [12, 12, 0, 12, 0, 0, 0, 0]
    assert lasting(turnover(born, died), [1000.0] * 8) == 0
    assert is_new([9.0] * 4, [0.0] * 4)
    assert not is_new([9.0] * 4, [-12.0, -12.0, 0.0, -12.0])


def test_what_filled_has_stopped_once_so_much_was_to_be_expected() -> None:
    """Three quiet windows say nothing of what left a sample in some only."""
    filled = turnover([9] * 6 + [0] * 6, [0] * 12)
    assert stopped(filled, [1000.0] * 12) == 3
    assert lasting(filled, [1000.0] * 12) == 0
    sparse = turnover([1, 0, 1, 1, 0, 1, 1, 0, 0, 0], [0] * 10)
    assert stopped(sparse, [1000.0] * 10) == 0
    assert stopped(turnover([0] * 9, [0] * 9), [1000.0] * 9) == 0


def test_windows_without_visits_are_none_in_which_growth_was_expected() -> None:
    """An endpoint that nobody visits does not stop leaking."""
    leak = turnover([5] * 6 + [0] * 4, [0] * 10)
    assert stopped(leak, [1000.0] * 6 + [0.0] * 4) == 0
    assert stopped(leak, [1000.0] * 10) == 3


def test_parts_hold_about_equal_amounts() -> None:
    """Whatever the windows are."""
    assert parts([1, 2, 3, 4, 5, 6], [10.0] * 6) == [(3, 20), (7, 20), (11, 20)]
    assert parts([30, 1, 1, 1], [90.0, 30, 30, 30]) == [(30, 90), (1, 30), (2, 60)]
    assert parts([1, 1], [0.0, 0.0]) == []


def steady(rng: random.Random, windows: int, alive: int, lifetime: float) -> Turnover:
    """Return births and deaths of what is *alive* on average and lives so many windows."""
    born, died, count = [], [], alive
    for _ in range(windows):
        going = sum(rng.random() < 1 / lifetime for _ in range(count))
        coming = sum(rng.random() < 1 / lifetime for _ in range(alive))
        count += coming - going
        born.append(coming)
        died.append(going)
    return turnover(born, died)


def refreshed(rng: random.Random, windows: int, alive: int, lifetime: float) -> Turnover:
    """Return births and deaths of what is replaced as a whole now and then."""
    due = [rng.random() < 1 / lifetime for _ in range(windows)]
    sizes = [sum(rng.random() < 0.5 for _ in range(2 * alive)) for _ in range(windows + 1)]
    steps = [size if now else 0 for size, now in zip(sizes, due, strict=False)]
    held = [sizes[-1], *accumulate(steps, lambda before, step: step or before, initial=alive)]
    return turnover(steps, [old if now else 0 for old, now in zip(held[1:], due, strict=False)])


@pytest.mark.parametrize("process", [steady, refreshed])
@pytest.mark.parametrize(("alive", "lifetime"), [(3, 2.0), (10, 5.0), (30, 10.0), (10, 20.0)])
def test_what_comes_and_goes_slowly_is_hardly_ever_taken_for_a_leak(
    process: Callable[[random.Random, int, int, float], Turnover], alive: int, lifetime: float
) -> None:
    """At none of 28 looks in at least 97 of 100 histories."""
    rng, alarms = random.Random(1), 0
    for _ in range(200):
        history = process(rng, 30, alive, lifetime)
        alarms += any(
            lasting(Turnover(*(column[:end] for column in history)), [1000.0] * end)
            for end in range(3, 31)
        )
    assert alarms <= 6


def test_both_units_are_summed_place_by_place() -> None:
    """Two origins of one site are one."""
    one = survival([[None, row({1: 1}), row({1: 1, 2: 2})]], [1, 2, 3])
    still = survival([[None, None, None]], [1, 2, 3])
    both = added([one, still, one])
    assert added([still, still]) == still
    for single, double in zip(one, both, strict=True):
        assert [2 * amount for amount in single.born] == double.born
    assert all(after >= before for before, after in pairwise(sorted(both.bytes.born)))
