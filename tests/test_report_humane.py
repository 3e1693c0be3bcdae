"""Figures are said as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from leakmw.report import humane


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (0, "0 B"),
        (-0.0, "0 B"),
        (0.0004, "0 B"),
        (0.04, "0.04 B"),
        (512, "512 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (1123.9, "1.1 KiB"),
        (-400, "-400 B"),
        (4_508_876, "4.3 MiB"),
        (2**63, "8 EiB"),
        (None, "unknown"),
        (float("nan"), "unknown"),
        (float("inf"), "unknown"),
    ],
)
def test_sizes(figure: float | None, said: str) -> None:
    """A size has three digits and a binary unit."""
    assert humane.size(figure) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (9.9, "9.9 s"),
        (59.6, "1 min"),
        (340.2, "5 min 40 s"),
        (3605, "1 h"),
        (11_000, "3 h 3 min"),
        (90_000, "1 d 1 h"),
        (None, "unknown"),
        (float("inf"), "unknown"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    """A time is said in the two units that matter."""
    assert humane.duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "request", "0 requests"),
        (1, "request", "1 request"),
        (12012, "request", "12,012 requests"),
        (-4, "block", "-4 blocks"),
        (12012, "", "12,012"),
    ],
)
def test_counts(number: int, noun: str, said: str) -> None:
    """A count agrees with its noun."""
    assert humane.count(number, noun) == said


def test_shares() -> None:
    """A share is said in percent."""
    assert humane.share(0.006) == "0.6 %"
    assert humane.share(1) == "100 %"
    assert humane.share(None) == "unknown"


def test_moments_are_said_in_utc() -> None:
    """Readers and workers in several time zones see one time."""
    there = datetime(2026, 11, 22, 13, 0, 0, tzinfo=timezone(timedelta(hours=1)))

    assert humane.moment(there) == "2026-11-22 12:00:00 UTC"
    assert humane.moment(there.astimezone(UTC)) == "2026-11-22 12:00:00 UTC"
