"""The arithmetic of sampling, against a model of it, and the grouping of samples into rows."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.records import MAX_BIRTHS, Birth
from leakmw.tracers.ownership import PACKAGE, Ownership
from leakmw.tracers.samples import RECORD, group, weigh

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = st.integers(1, 1 << 30)
INTERVALS = st.floats(1, 1 << 30)


@dataclass
class Model:
    """What the hook does, without its speed: a countdown, weights, and a table with a cap.

    Attributes:
        interval: Mean bytes between two chosen ones.
        cap: Most samples.
        rng: Chance.
        gap: Bytes until the next chosen one.
        table: Size and interval of each live sample by block.
    """

    interval: float
    cap: int
    rng: random.Random
    gap: float = 0.0
    table: dict[int, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Begin a new gap, as long as exponential ones are: they have no memory."""
        self.gap = self.rng.expovariate(1 / self.interval)

    def allocate(self, block: int, size: int) -> None:
        """Count a block, and sample it if a chosen byte lies in it."""
        self.gap -= size
        if self.gap < 0:
            chosen_at = self.interval
            while len(self.table) >= self.cap:
                self.thin()
            if self.rng.random() * chance(size, chosen_at) < chance(size, self.interval):
                self.table[block] = size, self.interval
            self.draw()

    def thin(self) -> None:
        """Keep each sample as if the interval had been twice as long from the start."""
        self.interval *= 2
        for block, (size, interval) in list(self.table.items()):
            if self.rng.random() * chance(size, interval) < chance(size, self.interval):
                self.table[block] = size, self.interval
            else:
                del self.table[block]

    def free(self, block: int) -> None:
        """Forget a block."""
        self.table.pop(block, None)

    def estimate(self) -> tuple[float, float]:
        """Return live bytes and the variance of that."""
        weights = [weigh(*sample) for sample in self.table.values()]
        return sum(one.bytes for one in weights), sum(one.variance for one in weights)


def chance(size: int, interval: float) -> float:
    """Return how likely a block is sampled."""
    return -math.expm1(-size / interval)


@pytest.mark.parametrize("cap", [20, 10_000])
def test_the_model_is_unbiased_and_knows_its_variance(cap: int) -> None:
    """Over churn of mixed sizes, with and without a table that overflows."""
    rng = random.Random(1)
    sizes = [rng.choice([16, 100, 600, 5000, 100_000]) for _ in range(600)]
    truth = sum(sizes[::3])
    estimates, variances = [], []
    for seed in range(600):
        model = Model(2000.0, cap, random.Random(seed))
        for block, size in enumerate(sizes):
            model.allocate(block, size)
            if block % 3:
                model.free(block)
        estimate, variance = model.estimate()
        estimates.append(estimate)
        variances.append(variance)
    mean = sum(estimates) / len(estimates)
    spread = math.sqrt(sum((one - mean) ** 2 for one in estimates) / (len(estimates) - 1))
    assert abs(mean - truth) < 4 * spread / math.sqrt(len(estimates))
    assert sum(variances) / len(variances) == pytest.approx(spread**2, rel=0.35)


@given(size=SIZES, interval=INTERVALS)
def test_a_sample_stands_for_itself_at_the_least(size: int, interval: float) -> None:
    """Its expected weight is one block: weight times chance."""
    weight = weigh(size, interval)
    assert weight.blocks >= 1
    assert weight.bytes == pytest.approx(size * weight.blocks)
    assert weight.blocks * chance(size, interval) == pytest.approx(1)
    assert weight.variance >= 0


@given(size=SIZES, interval=INTERVALS)
def test_large_blocks_are_certain_and_small_ones_weigh_an_interval(
    size: int, interval: float
) -> None:
    """The two ends of the scale."""
    assert weigh(size, size / 50).variance == pytest.approx(0, abs=1e-15 * size**2)
    assert weigh(1, max(interval, 1000)).bytes == pytest.approx(max(interval, 1000), rel=0.001)


TREE = {
    1: (0, "/srv/server.py", 1, "serve"),
    2: (1, PACKAGE + "wsgi.py", 90, "LeakMiddleware.__call__"),
    3: (2, "/app/views.py", 10, "page"),
    4: (3, "/app/helper.py", 5, "helper"),
    5: (2, PACKAGE + "monitor.py", 7, "Monitor.begin"),
    6: (0, "/app/worker.py", 3, "run"),
}


def visit(name: str | None) -> Any:
    """Return a visit of an endpoint, one without a name yet for ``None``."""
    return SimpleNamespace(endpoint=name and SimpleNamespace(name=name))


def grouped(*samples: tuple[int, int, int, Any], cap: int = 100) -> Any:
    """Group samples of node, birth, size and visit, each of which stands for itself alone."""
    return packed([(*sample, 0) for sample in samples], cap)


def packed(samples: Sequence[tuple[int, int, int, Any, int]], cap: int = 100) -> Any:
    """Group samples of node, birth, size, visit, and whether Python recycles such objects."""
    records = b"".join(
        RECORD.pack(node, birth, size, 0.001, recyclable)
        for node, birth, size, _, recyclable in samples
    )
    visits = [whose for _, _, _, whose, _ in samples]
    return group(records, visits, TREE.__getitem__, Ownership(), cap)


def test_rows_are_told_apart_by_path_and_endpoint() -> None:
    """Frames outside the face are the server's; the traceback keeps them."""
    found = grouped(
        (4, 1, 100, visit("GET /a")), (4, 1, 50, visit("GET /b")), (4, 2, 7, visit("GET /a"))
    )
    first, second = found.rows
    assert (first.endpoint, first.bytes, first.blocks) == ("GET /a", 107, 2)
    assert first.births == (Birth(1, 100, 1, 1, 100**2, 1), Birth(2, 7, 1, 1, 7**2, 1))
    assert [frame.function for frame in first.path] == ["page", "helper"]
    assert first.traceback[0].file == "/srv/server.py"
    assert (second.endpoint, second.bytes, second.in_visit) == ("GET /b", 50, True)


def test_what_is_born_outside_of_visits_has_no_endpoint() -> None:
    """Nor has a visit that has no name yet."""
    outside, unnamed = grouped((6, 1, 100, None), (4, 1, 50, visit(None))).rows
    assert (outside.endpoint, outside.in_visit) == (None, False)
    assert (unnamed.endpoint, unnamed.in_visit) == (None, True)


def test_what_python_recycles_is_told_apart() -> None:
    """It may be another visit's by now."""
    one = visit("GET /a")
    plain, recyclable = packed([(4, 1, 100, one, 0), (4, 1, 64, one, 1)]).rows
    assert (plain.bytes, plain.recyclable) == (100, False)
    assert (recyclable.bytes, recyclable.recyclable) == (64, True)
    assert (plain.path, plain.endpoint) == (recyclable.path, recyclable.endpoint)


def test_what_leakmw_allocates_itself_is_its_own() -> None:
    """It is no row, and it is told."""
    found = grouped((5, 1, 100, visit("GET /a")), (4, 1, 50, visit("GET /a")))
    assert [row.bytes for row in found.rows] == [50]
    assert found.own_bytes == 100


def test_rows_past_the_cap_are_left_out_and_that_is_said() -> None:
    """Those with fewest bytes."""
    found = grouped(*[(4, 1, size, visit(f"GET /e{size}")) for size in range(1, 11)], cap=3)
    assert [row.bytes for row in found.rows] == [10, 9, 8]
    assert not found.complete


def test_old_births_are_told_as_one() -> None:
    """However long the worker runs."""
    found = grouped(*[(4, birth, 10, visit("GET /a")) for birth in range(1, 101)])
    (row,) = found.rows
    assert len(row.births) == MAX_BIRTHS
    assert row.births[0].bytes == 10 * (100 - MAX_BIRTHS + 1)
    assert row.bytes == 1000


def test_a_block_that_no_python_code_asked_for_has_a_place_too() -> None:
    """It has no frames at all."""
    (row,) = grouped((0, 1, 10, None)).rows
    assert row.path[0].file == "<unknown>"
