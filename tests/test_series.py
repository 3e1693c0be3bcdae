"""The levels of each place over the snapshots kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from leakmw.analysis.growths import analyse
from leakmw.analysis.series import Place, collect, comparable
from leakmw.records import Birth, Frame, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import History

VISITS = {"GET /a": 1, "GET /b": 1}
VIEWS = {"GET /a": Span("views.py", 10, 19), "GET /b": Span("views.py", 20, 29)}


def test_only_places_that_changed_have_a_series(history: History) -> None:
    """In bytes or blocks; what is steady says nothing."""
    history.add({"a.py:1": 500, "b.py:2": 700, "c.py:3": 10}, VISITS)
    history.add({"a.py:1": 500, "b.py:2": 900, "c.py:3": 10}, VISITS)
    (series,) = collect(history.snapshots)
    assert series.place.site == Frame("b.py", 2)
    assert (series.bytes, series.blocks) == ([700, 900], [7, 9])


def test_what_is_not_in_a_complete_trace_is_not_alive(history: History) -> None:
    """It counts as nothing before its first and after its last row."""
    history.add({}, VISITS)
    history.add({"a.py:1": 300}, VISITS)
    history.add({}, VISITS)
    (series,) = collect(history.snapshots)
    assert series.bytes == [0, 300, 0]


def test_what_a_cap_left_out_does_not_grow_by_coming_back(history: History) -> None:
    """Its neighbor's level stands for the one that is not known."""
    history.add({}, VISITS, complete=False)
    history.add({"a.py:1": 300}, VISITS)
    history.add({}, VISITS, complete=False)
    history.add({"a.py:1": 400}, VISITS)
    (series,) = collect(history.snapshots)
    assert series.bytes == [300, 300, 300, 400]


def test_a_trace_that_is_complete_is_believed_beside_one_that_is_not(history: History) -> None:
    """What it does not have is gone."""
    history.add({"a.py:1": 300}, VISITS)
    history.add({}, VISITS)
    history.add({}, VISITS, complete=False)
    (series,) = collect(history.snapshots)
    assert series.bytes[:2] == [300, 0]


def test_paths_to_one_site_through_one_view_are_one_place(history: History) -> None:
    """The larger speaks for both with its traceback."""
    for extra in (0, 10):
        history.add(
            {"views.py:11 shop.py:5": 100 + extra, "views.py:12 shop.py:5": 900 + extra},
            VISITS,
            views=VIEWS,
        )
    (series,) = collect(history.snapshots)
    assert series.place == Place(Frame("shop.py", 5), frozenset({"GET /a"}), in_visit=True)
    assert series.bytes == [1000, 1020]
    assert series.traceback == (Frame("views.py", 12), Frame("shop.py", 5))


def test_the_frame_that_fewest_endpoints_share_tells_the_endpoint(history: History) -> None:
    """A dispatcher's lines are on the way to every view."""
    views = {name: Span("base.py", 1, 9) for name in VISITS}
    for size in (100, 200):
        history.add({"base.py:5 views.py:15": size}, VISITS, views=views)
    (shared,) = collect(history.snapshots)
    assert shared.place.endpoints == frozenset(VISITS)

    for snapshot in history.snapshots:
        told = {
            name: endpoint._replace(views=(Span("base.py", 1, 9), VIEWS[name]))
            for name, endpoint in snapshot.endpoints.items()
        }
        object.__setattr__(snapshot, "endpoints", told)
    (told_apart,) = collect(history.snapshots)
    assert told_apart.place.endpoints == frozenset({"GET /a"})


def test_an_endpoint_that_the_tracer_knows_is_believed(history: History) -> None:
    """Whatever the path says."""
    for size in (100, 200):
        history.add({"views.py:15": size}, VISITS, views=VIEWS)
        trace = history.snapshots[-1].trace
        tagged = tuple(row._replace(endpoint="GET /b") for row in trace.rows)
        object.__setattr__(history.snapshots[-1], "trace", trace._replace(rows=tagged))
    (series,) = collect(history.snapshots)
    assert series.place.endpoints == frozenset({"GET /b"})


def test_only_snapshots_that_were_grouped_alike_are_compared(history: History) -> None:
    """The latest ones, up to where the grouping was another."""
    for grouping in (1, 1, 2, 2, 2):
        history.add({}, VISITS, grouping=grouping)
    assert list(comparable(history.snapshots)) == history.snapshots[2:]


def recyclable(
    history: History,
    plain: int,
    recycled: int,
    *,
    windows: Sequence[int] = (6, 7),
    variance: float = 0.0,
) -> list[Place]:
    """Return the places of what one line made, in so many bytes of either kind.

    The latter were born in the windows 6 and 7, the former in *windows*; 4 to 8 are compared.
    The *variance* is of what was born in one window.
    """
    history.snapshots.clear()
    for scale in (1, 2):
        history.add({"views.py:15": 100}, VISITS, views=VIEWS)
        trace = history.snapshots[-1].trace
        (row,) = trace.rows
        rows = tuple(
            row._replace(
                bytes=scale * size,
                endpoint="GET /a",
                recyclable=kind,
                births=tuple(
                    Birth(one, scale * size // len(born), 1, 1, variance) for one in born
                ),
            )
            for size, kind, born in ((plain, False, windows), (recycled, True, (6, 7)))
        )
        object.__setattr__(
            history.snapshots[-1], "trace", trace._replace(rows=rows, window=4 * scale)
        )
    return [series.place for series in collect(history.snapshots)]


def test_dicts_that_stay_without_what_is_in_them_may_be_anybodys(history: History) -> None:
    """Python hands dead ones on; where other things have stayed too, that is where they are."""
    (backed,) = recyclable(history, 1000, 2000)
    assert (backed.endpoints, backed.recycled) == (frozenset({"GET /a"}), False)
    alone = {place.recycled: place for place in recyclable(history, 100, 2000)}
    assert alone[False].endpoints == frozenset({"GET /a"})
    assert (alone[True].endpoints, alone[True].in_visit) == (frozenset(), None)


@pytest.mark.parametrize(("plain", "recycled"), [(80, False), (8, True)])
def test_growth_that_is_known_to_the_byte_is_backed_by_the_list_that_holds_it(
    history: History, plain: int, *, recycled: bool
) -> None:
    """Without births there are the levels; keys of dicts that others have got stand alone."""
    for number in range(3):
        history.add({"views.py:15": 100}, VISITS, views=VIEWS)
        trace = history.snapshots[-1].trace
        (row,) = trace.rows
        keys = row._replace(bytes=1200 * number, blocks=10 * number, recyclable=True)
        rows = (row._replace(bytes=5000 + plain * number), keys)
        object.__setattr__(history.snapshots[-1], "trace", trace._replace(rows=rows))
    found = {series.place.recycled for series in collect(history.snapshots)}
    assert (True in found) is recycled


@pytest.mark.parametrize("windows", [(3, 4), (7,)], ids=["the start", "requests in flight"])
def test_what_has_stayed_for_another_reason_tells_nothing_of_dicts(
    history: History, windows: Sequence[int]
) -> None:
    """What a server keeps for itself stands at the same line of the app, which has but one."""
    places = recyclable(history, 1000, 2000, windows=windows)
    assert {place.recycled for place in places} == {False, True}


def test_a_sample_or_two_of_what_else_has_stayed_tell_nothing_of_dicts(history: History) -> None:
    """Where it is estimated, so much of it must be there that chance does not say it."""
    surely = recyclable(history, 3000, 2000, variance=300.0**2)
    assert {place.recycled for place in surely} == {False}
    perhaps = recyclable(history, 3000, 2000, variance=1500.0**2)
    assert {place.recycled for place in perhaps} == {False, True}


def test_what_python_has_handed_on_counts_where_it_is_kept(history: History) -> None:
    """Each dict that is kept is missing where the next one is needed: there a new one is made."""
    for number in range(1, 11):
        history.add({"views.py:15": 1000 * number}, {"GET /a": 10 * number}, views=VIEWS)
        trace = history.snapshots[-1].trace
        (kept,) = trace.rows
        elsewhere = kept._replace(
            path=(Frame("views.py", 99),), bytes=500 * number, blocks=5 * number, recyclable=True
        )
        object.__setattr__(history.snapshots[-1], "trace", trace._replace(rows=(kept, elsewhere)))
    analysis = analyse(history.snapshots)
    assert {growth.endpoint: growth.bytes for growth in analysis.endpoints}["GET /a"] == 9 * 1500
    assert sum(growth.bytes for growth in analysis.endpoints) == 9 * 1500
    (found,) = analysis.candidates
    assert (found.growth.site, found.growth.bytes) == (Frame("views.py", 15), 9 * 1500)
    assert found.growth.blocks == 9 * 15
    assert any("4,500 bytes of it are dicts" in said for said in found.judgement.evidence)
    assert found.growth.bytes_per_request == pytest.approx((150, 150, 150))
