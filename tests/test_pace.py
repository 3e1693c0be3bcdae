"""How often snapshots are taken where nothing grows: as often as they can be afforded."""

from __future__ import annotations

import pytest

from leakmw.pace import AT_ONCE, LEAST_AT_ONCE, LEAST_PRESSING, LEAST_SHARE, SHARE, Pace, presses
from leakmw.records import Estimate, Growth

OVERHEAD = 0.01


def taken(times: int, cost: float) -> Pace:
    """Take snapshots of so many CPU seconds at the beginning of the process."""
    pace = Pace(OVERHEAD)
    for _ in range(times):
        pace.begin(0.0, 0.0)
        pace.end(cost)
    return pace


def test_the_first_snapshots_may_cost_what_they_do() -> None:
    """A leak that begins with the app is told by them."""
    assert taken(AT_ONCE - 1, cost=10.0).begins()
    assert taken(AT_ONCE - 1, cost=10.0).affords(100.0, 100.0)
    assert not taken(AT_ONCE, cost=10.0).begins()


@pytest.mark.parametrize(("workers", "at_once"), [(2, AT_ONCE // 2), (16, LEAST_AT_ONCE)])
def test_many_workers_need_fewer_of_them_each(workers: int, at_once: int) -> None:
    """As their windows add up; but a few each of them needs."""
    assert taken(at_once - 1, cost=10.0).affords(100.0, 100.0, workers)
    assert not taken(at_once, cost=10.0).affords(100.0, 100.0, workers)


@pytest.mark.parametrize("cost", [0.001, 0.05, 3.0])
def test_later_ones_wait_until_the_app_has_used_enough(cost: float) -> None:
    """Then the last one was a small part of it."""
    pace = taken(AT_ONCE, cost)
    assert not pace.affords(0.0, 0.99 * cost / SHARE)
    assert pace.affords(0.0, 1.01 * cost / SHARE)


@pytest.mark.parametrize("cost", [0.001, 0.05, 3.0])
def test_they_wait_longer_where_all_so_far_was_too_much(cost: float) -> None:
    """But not for ever."""
    pace = taken(AT_ONCE, cost)
    little, much = 1.01 * cost / SHARE, 1.01 * cost / LEAST_SHARE
    assert not pace.affords(3 * OVERHEAD * little, little)
    assert pace.affords(3 * OVERHEAD * much, much)


def test_a_snapshot_without_a_report_delays_none() -> None:
    """What has failed was not paid for."""
    pace = taken(AT_ONCE, cost=1.0)
    pace.begin(0.0, 0.0)
    assert pace.affords(0.0, 0.0)


@pytest.mark.parametrize(
    ("per_request", "pressing"),
    [(LEAST_PRESSING, True), (LEAST_PRESSING / 8, False), (None, True)],
)
def test_what_hardly_grows_can_wait_for_its_verdict(
    *, per_request: float | None, pressing: bool
) -> None:
    """Until its snapshots can be afforded; what is not known by request cannot."""
    estimate = None if per_request is None else Estimate(per_request, 0.0, None)
    growth = Growth(
        endpoint="GET /a", visits=1000, bytes=10_000, blocks=100, bytes_per_request=estimate
    )
    assert presses(growth) is pressing
