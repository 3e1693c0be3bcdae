"""The windows of several workers are one history, whichever worker made them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.analysis.attribution import Share, Windows
from leakmw.analysis.growths import Analysis, Candidate, joined, judged
from leakmw.analysis.replacing import Heap, Heaps
from leakmw.analysis.series import Place
from leakmw.analysis.survival import Survival, Turnover
from leakmw.analysis.together import TOLD, Seen, Total, together
from leakmw.analysis.wire import packed, unpacked
from leakmw.records import Frame, Verdict, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.analysis.growths import Candidate

ENDPOINT = "GET /a"
BLOCK = 1000.0


def share(
    growths: Sequence[float], *, line: int = 10, native: bool = False, died: float = 0.0
) -> Share:
    """Return what grew by so many bytes in each window, in blocks of 1,000 bytes."""
    born = list(growths[:-1])
    blocks = [growth / BLOCK for growth in born]
    size = Turnover(born, [died] * len(born), born, [BLOCK * growth for growth in born])
    count = Turnover(blocks, [died / BLOCK] * len(born), blocks, list(blocks))
    place = Place(Frame("shop.py", line), frozenset({ENDPOINT}), None, tagged=True, native=native)
    return Share(
        ENDPOINT,
        place,
        (Frame("shop.py", line, "view"),),
        list(growths),
        [growth / BLOCK for growth in growths],
        survival=Survival(size, count),
    )


def seen(
    *growths: float,
    age: float = 500.0,
    visits: float = 1000.0,
    collected: bool = True,
    line: int = 10,
) -> Seen:
    """Return what a worker has seen of one place."""
    each = [visits] * len(growths)
    small, large = (
        Heap([in_use] * len(growths), [unseen] * len(growths), exact=True)
        for in_use, unseen in ((2.0, -3.0), (4.0, -1.0))
    )
    during = Windows(
        {ENDPOINT: each},
        [10.0] * len(growths),
        4,
        [1.0 * collected] * len(growths),
        Heaps(small, large),
    )
    one = share(growths, line=line)
    return Seen(100.0, 200.0, age, during, [one], {ENDPOINT: Total(one.bytes, one.blocks)})


def candidates(several: Sequence[Seen]) -> list[Candidate]:
    """Return what is to be said of each place that several workers have seen."""
    found, _ = judged(together(several), lambda: together([one.looked_at() for one in several]))
    return found


def verdicts(several: Sequence[Seen]) -> list[Verdict | None]:
    """Return what is said of each place."""
    return [one.judgement.verdict for one in candidates(several)]


def test_one_worker_is_itself() -> None:
    """Also where others have seen nothing yet."""
    alone, nothing = seen(1e5, 1e5, 1e5), seen()
    assert together([alone]) is alone
    assert together([nothing, alone, nothing]) is alone
    assert together([nothing]) is nothing


SEVERAL = st.lists(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=6).map(lambda growths: seen(*growths)),
    min_size=1,
    max_size=5,
)


@given(SEVERAL)
def test_nothing_is_lost_and_nothing_counts_twice(several: list[Seen]) -> None:
    """Bytes, blocks, visits, seconds, births and collections add up."""
    whole = together(several)
    (one,) = whole.shares
    every = [part.shares[0] for part in several]
    assert sum(one.bytes) == pytest.approx(sum(sum(part.bytes) for part in every))
    assert sum(one.blocks) == pytest.approx(sum(sum(part.blocks) for part in every))
    assert sum(whole.during.every_visit()) == 1000 * sum(len(part.bytes) for part in every)
    assert sum(whole.during.seconds) == 10 * sum(len(part.bytes) for part in every)
    known = [part.survival.bytes for part in every if part.survival]
    assert one.survival is not None
    assert sum(one.survival.bytes.born) == pytest.approx(sum(sum(part.born) for part in known))
    assert len(one.survival.bytes.born) == len(whole.during.seconds) - 1 == len(one.bytes) - 1
    assert sum(whole.totals[ENDPOINT].bytes) == pytest.approx(sum(one.bytes))
    assert sum(whole.during.collections or ()) == sum(len(part.bytes) for part in every)


def test_windows_stand_in_the_order_of_their_workers_age() -> None:
    """And the last ones of all workers, which tell no survivors, are one."""
    young, old = seen(1.0, 2.0, 3.0), seen(10.0, 20.0, 30.0, age=900.0)
    (one,) = together([old, young]).shares
    assert one.bytes == [1.0, 10.0, 2.0, 20.0, 33.0]


def test_four_workers_call_a_leak_in_a_quarter_of_the_time() -> None:
    """What one of them cannot know yet all of them do."""
    one = seen(*[40 * BLOCK] * 3)
    assert verdicts([one]) == [None]
    assert verdicts([one] * 4) == [Verdict.LEAK]
    assert verdicts([seen(*[40 * BLOCK] * 9)]) == [Verdict.LEAK]


def exact(*growths: float) -> Seen:
    """Return what a worker has seen whose figures are exact, and tell of no births."""
    one = seen(*growths)
    return one._replace(shares=[part._replace(survival=None) for part in one.shares])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_leak_in_one_of_several_workers_is_called(workers: int) -> None:
    """Though the others serve the same endpoint: a window later than in a worker alone."""

    def said(windows: int) -> list[Verdict | None]:
        others = [exact(*[0.0] * windows)] * (workers - 1)
        return verdicts([*others, exact(*[40 * BLOCK] * windows)])

    assert said(4) == [None]
    assert said(6) == [Verdict.SUSPECT]
    assert said(9) == [Verdict.LEAK]


def test_a_level_that_stands_still_now_and_then_in_each_worker_is_no_leak() -> None:
    """Each of them has stopped by then, whatever they do together."""
    one = exact(*[40 * BLOCK, 0, 0, 40 * BLOCK] * 3)
    assert all(verdicts([one] * workers) == [None] for workers in (1, 2, 3, 5))


def test_a_cache_that_fills_in_each_worker_is_no_leak() -> None:
    """However many workers fill theirs: it stops at the same age in all of them."""
    one = seen(100 * BLOCK, 60 * BLOCK, 20 * BLOCK, 0, 0, 0, 0)
    assert verdicts([one] * 4) == [Verdict.SETTLED]
    assert verdicts([one] * 16) == [Verdict.SETTLED]


def test_what_a_collection_has_seen_is_asked_only_where_something_grows() -> None:
    """To put that together, too, takes as long as all the rest, and most apps are healthy."""
    filled = together([seen(100 * BLOCK, 60 * BLOCK, 20 * BLOCK, 0, 0, 0, 0)] * 4)
    growing = together([seen(*[40 * BLOCK] * 3)] * 4)
    looked_at = Mock(return_value=growing)
    judged(filled, looked_at)
    looked_at.assert_not_called()
    judged(growing, looked_at)
    looked_at.assert_called_once()


def test_what_each_interpreter_keeps_for_itself_is_no_leak() -> None:
    """However much that is in all of them together: what one may keep each of them may."""
    little, more = seen(*[2 * BLOCK] * 12), seen(*[4 * BLOCK] * 12)
    assert verdicts([little] * 16) == [None]
    assert verdicts([more] * 16) == [Verdict.LEAK]


def test_workers_that_idle_hide_no_leak() -> None:
    """They have seen less of it, and say so by their visits."""
    leaking, idle = seen(*[40 * BLOCK] * 10), seen(*[0.0] * 10, visits=0.0)
    assert verdicts([leaking, idle, idle, idle]) == [Verdict.LEAK]


def test_a_place_that_one_worker_alone_has_is_told_of() -> None:
    """The others have not grown there."""
    found = candidates([seen(*[40 * BLOCK] * 12), seen(*[0.0] * 12, line=20)])
    by_line = {one.growth.site.line: one for one in found if one.growth.site}
    assert by_line[10].growth.bytes == 12 * 40 * BLOCK
    assert by_line[20].judgement.verdict is None


def test_a_worker_without_a_collector_is_not_overruled() -> None:
    """Where it is off in one, nobody knows what of all the growth is garbage."""
    off = seen(*[40 * BLOCK] * 3)
    off = off._replace(during=off.during._replace(collections=None))
    on = seen(*[40 * BLOCK] * 3)
    assert together([on, off]).during.collections is None
    assert Verdict.LEAK not in verdicts([on, off, on, on])


def test_the_evidence_says_how_many_have_seen_it() -> None:
    """After what was seen."""
    one = seen(*[40 * BLOCK] * 3)
    found = joined(_analysis(one), [one] * 3).candidates
    assert [candidate.judgement.evidence[1] for candidate in found] == [
        "seen in 4 workers together"
    ]


def test_the_first_snapshot_of_a_new_worker_forgets_nothing() -> None:
    """It has seen no window yet, and speaks for all the others."""
    one = seen(*[40 * BLOCK] * 3)
    whole = joined(_analysis(None), [one] * 4)
    assert [candidate.judgement.verdict for candidate in whole.candidates] == [Verdict.LEAK]
    assert whole.window.visits == 12_000


def test_a_worker_tells_of_what_grew_most() -> None:
    """As much as a snapshot can bear; growth outside of Python's allocators is its own affair."""
    many = [share([1e4 * line] * 3, line=line) for line in range(1, TOLD + 20)]
    one = seen(1.0)._replace(shares=[*many, share([1e9] * 3, native=True), share([1.0] * 3)])
    told = one.told().shares
    assert [entry.place.site.line for entry in told] == list(range(TOLD + 19, 19, -1))


@given(SEVERAL)
def test_what_is_told_is_what_is_heard(several: list[Seen]) -> None:
    """To the precision of single floats."""
    one = together(several)
    heard = unpacked(packed(one))
    assert heard.during == one.during._replace(workers=1)  # whole numbers
    assert heard._replace(shares=[], during=one.during, totals={}) == one._replace(
        shares=[], totals={}
    )
    for told, said in zip(one.shares, heard.shares, strict=True):
        assert said.bytes == pytest.approx(told.bytes)
        assert said.survival is not None
        assert told.survival is not None
        assert said.survival.blocks.kept == pytest.approx(told.survival.blocks.kept)
        assert said == told._replace(
            bytes=said.bytes, blocks=said.blocks, survival=said.survival, processes=1
        )


@given(st.binary(max_size=200))
def test_what_nobody_has_told_is_refused(content: bytes) -> None:
    """With the one error that a reader expects."""
    with pytest.raises(ValueError):  # noqa: PT011  # its words are for nobody
        unpacked(content)


def test_what_was_cut_short_is_refused() -> None:
    """At any place."""
    whole = packed(seen(1.0, 2.0, 3.0))
    for length in range(len(whole)):
        with pytest.raises(ValueError):  # noqa: PT011  # as above
            unpacked(whole[:length])


def _analysis(one: Seen | None) -> Analysis:
    now = datetime.now(UTC)
    candidates: tuple[Candidate, ...] = ()
    return Analysis(Window(start=now, end=now, visits=0, seconds=0.0), (), candidates, seen=one)
