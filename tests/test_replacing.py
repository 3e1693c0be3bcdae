"""What takes the place of what was there before leakmw was is no leak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import History

from leakmw.analysis.findings import findings
from leakmw.analysis.growths import analyse
from leakmw.analysis.history import History as Remembering
from leakmw.analysis.replacing import Heap, heaps, replaced
from leakmw.records import Engine, Known, Memory, Span, Verdict
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Finding

KIB = 1 << 10
ENDPOINT = "GET /a"
GROWTH = 100 * KIB
"""Of one place in each window of a hundred visits."""


class App:
    """An app that keeps something of each visit of one endpoint.

    Args:
        variance: Of what the tracer knows.

        block: Bytes in each block that is kept: it tells in which heap they lie.
    """

    def __init__(self, variance: float = 0.0, block: int = 4 * KIB) -> None:
        self.history = History()
        self._variance = variance
        self._block = block
        self._kept, self._before = 0, 200 << 20

    def serve(self, windows: int, *, went: int, own: int = 0, other: int = 0) -> App:
        """Take a snapshot after each of so many windows.

        Args:
            windows: How many.

            went: Bytes of what was there before that go in each.

            own: Bytes of the C heap that the tracer itself has.

            other: Bytes of the other heap that nobody knows anything of.
        """
        for _ in range(windows):
            self._kept += GROWTH
            self._before -= went
            here, there = self._before + self._kept, (1 << 20) + other
            known, nothing = self._known(self._kept), self._known(0)
            is_small = self._block < KIB
            self.history.add(
                {"views.py:10": self._kept},
                {ENDPOINT: 100 * (len(self.history.snapshots) + 1)},
                views={ENDPOINT: Span("views.py", 5, 15)},
                block=self._block,
                memory=Memory(
                    native_bytes=(there if is_small else here) + own,
                    python_bytes=here if is_small else there,
                ),
                large=self._known(own) if is_small else self._known(self._kept + own),
                small=known if is_small else nothing,
                engine=Engine(name="tracemalloc", frames=8, own_bytes=own),
            )
        return self

    def _known(self, size: int) -> Known:
        return Known(float(size), self._variance)

    def finding(self) -> Finding:
        """Return what is said of it."""
        analysis = analyse(self.history.snapshots)
        found = findings(analysis, Settings(), lambda trace: trace, (), lambda: 0)
        return next(one for one in found if one.born)


SIZES = pytest.mark.parametrize("block", [100, 4 * KIB])


@SIZES
def test_a_cache_that_was_full_from_the_start_is_no_leak(block: int) -> None:
    """An old entry goes for each new one, and the evidence says so."""
    found = App(block=block).serve(12, went=GROWTH).finding()
    assert found.verdict is Verdict.SUSPECT
    assert any(
        "bytes went that had been there before leakmw was, and the heap grew by 0 in all" in one
        for one in found.evidence
    )


@SIZES
def test_a_cache_that_fills_the_process_is_a_leak_as_far_as_anybody_knows(block: int) -> None:
    """Nothing goes for what comes."""
    assert App(block=block).serve(12, went=0).finding().verdict is Verdict.LEAK


@pytest.mark.parametrize(("went", "verdict"), [(0, Verdict.LEAK), (GROWTH, Verdict.SUSPECT)])
def test_what_c_libraries_do_says_nothing_of_small_objects(went: int, verdict: Verdict) -> None:
    """They lie in a heap of their own, in which little else moves."""
    app = App(block=100)
    for number in range(12):
        app.serve(1, went=went, other=number * number % 7 * 10 * GROWTH)
    assert app.finding().verdict is verdict


def test_all_windows_tell_of_small_objects() -> None:
    """Those of leakmw itself are traced, too."""
    assert App(block=100).serve(9, went=0).finding().verdict is Verdict.LEAK


def test_a_start_alone_does_not_tell_what_takes_the_place_of_others() -> None:
    """What leakmw takes in its first windows hides what goes, so they say nothing."""
    app = App().serve(11, went=0)
    early = app.finding()
    assert early.verdict is Verdict.SUSPECT
    assert any("too early to call it a leak: about 100 more" in one for one in early.evidence)
    assert app.serve(1, went=0).finding().verdict is Verdict.LEAK


@pytest.mark.parametrize("went", [GROWTH // 4, -GROWTH])
def test_a_leak_is_one_beside_what_goes_slowly_or_comes(went: int) -> None:
    """What goes must be as much as half of what comes."""
    assert App().serve(12, went=went).finding().verdict is Verdict.LEAK


def test_a_leak_is_one_where_much_has_gone_at_once() -> None:
    """What a start leaves behind goes in one window, and takes nobody's place."""
    app = App().serve(5, went=0).serve(1, went=20 * GROWTH).serve(6, went=0)
    assert app.finding().verdict is Verdict.LEAK


def test_a_small_leak_is_one_in_a_process_that_moves_by_more() -> None:
    """What comes and goes of other things, by chance, says nothing of it."""
    moves = [-9, -12, 11, -7, 9, -12, -8, 10, -11, -9, 8, -7]
    assert sum(moves) < -GROWTH // KIB // 4
    app = App().serve(3, went=0)
    for move in moves:
        app.serve(1, went=-move * GROWTH)
    assert app.finding().verdict is Verdict.LEAK


def test_what_was_called_a_leak_is_none_any_more_where_old_things_go_for_it() -> None:
    """It may be seen late, and then it is taken back."""
    leak = App().serve(12, went=0).finding()
    doubted = App().serve(12, went=GROWTH).finding()
    weak = App().serve(7, went=0).finding()
    for later, verdict in ((weak, Verdict.LEAK), (doubted, Verdict.SUSPECT)):
        remembering = Remembering()
        remembering.update([leak], {leak.fingerprint}, {ENDPOINT: 1200})
        (now,), _ = remembering.update([later], {later.fingerprint}, {ENDPOINT: 1900})
        assert now.verdict is verdict


def test_the_tables_of_the_tracer_are_no_growth_of_the_process() -> None:
    """A traced block has an entry in them, in place of an old one or not."""
    app = App(variance=1.0)
    for number in range(12):
        app.serve(1, went=GROWTH, own=number * GROWTH)
    assert app.finding().verdict is Verdict.SUSPECT


def test_where_a_tracer_estimates_the_heap_must_not_have_grown() -> None:
    """Its errors look like something that went."""
    growths = [100.0] * 10
    errors = Heap([100.0] * 10, [-80.0] * 10)
    assert replaced(growths, errors) is None
    assert replaced(growths, errors._replace(in_use=[20.0] * 10)) is not None
    assert replaced(growths, errors._replace(exact=True)) is not None


def test_it_is_not_told_without_the_meters(history: History) -> None:
    """Another C library, or an allocator that Python does not know."""
    for _ in range(3):
        history.add({"views.py:10": 100}, {ENDPOINT: 1}, memory=Memory(native_bytes=1))
    assert heaps(history.snapshots) is None


def test_a_reading_that_is_missing_counts_in_the_next_window() -> None:
    """To read a large heap takes too long to be done each time."""
    app = App().serve(6, went=GROWTH)
    left_out = app.history.snapshots[3]
    object.__setattr__(left_out, "memory", Memory())
    told = heaps(app.history.snapshots)
    assert told is not None
    assert told.large.unseen[3:] == [-2 * GROWTH, -GROWTH]


COLUMNS = st.integers(1, 20).flatmap(
    lambda length: st.tuples(
        *[st.lists(st.floats(-1e9, 1e9), min_size=length, max_size=length)] * 3
    )
)


@given(COLUMNS)
def test_what_went_is_at_least_half_of_what_came(
    columns: tuple[Sequence[float], list[float], list[float]],
) -> None:
    """Whatever the windows show: the look at the heap alone is left out of it."""
    growths, in_use, unseen = columns
    found = replaced(growths, Heap(in_use, unseen))
    if found is not None:
        latest = growths[-found.windows :]
        assert found.went > -max(unseen)
        assert found.windows in {len(growths), 8}
        assert max(latest) > 0
