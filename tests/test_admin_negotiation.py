"""The form of an answer is the one that the client's Accept header weighs most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.admin.negotiation import preferred

OFFERS = ("text/html", "text/plain", "text/markdown")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/*", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/plain", "text/plain"),
        ("TEXT/Plain; charset=utf-8", "text/plain"),
        ("text/markdown, text/plain;q=0.9", "text/markdown"),
        ("text/html;q=0.1, text/plain;q=0.2", "text/plain"),
        ("text/plain;q=0.5, */*;q=0.4", "text/plain"),
        ("text/plain, text/html", "text/html"),
        ("text/*;q=0.9, text/html;q=0", "text/plain"),
        ("*/*, text/html;q=0.5", "text/plain"),
        ("text/html;level=1;q=0.3, text/markdown;q=0.4", "text/markdown"),
        ("application/json", "text/html"),
        ("text/plain;q=0", "text/html"),
    ],
)
def test_the_heaviest_offer_wins(accept: str, expected: str) -> None:
    """The most specific range counts; a tie and a refusal of everything go to the first."""
    assert preferred(accept, OFFERS) == expected


@pytest.mark.parametrize("weight", ["2", "-1", "nan", "inf", "1e0", "0.1234", "1.1", "\u0661", ""])
def test_a_malformed_weight_does_not_count(weight: str) -> None:
    """What is no weight by the letter must not win."""
    assert preferred(f"text/markdown;q={weight}, text/plain;q=0.1", OFFERS) == "text/plain"


@given(accept=st.text())
def test_any_header_gets_one_of_the_offers(accept: str) -> None:
    """No text breaks it."""
    assert preferred(accept, OFFERS) in OFFERS


@given(weights=st.permutations([0.1, 0.5, 0.9]))
def test_the_order_of_a_header_does_not_matter(weights: list[float]) -> None:
    """Only the weights do."""
    ranges = [f"{offer};q={weight}" for offer, weight in zip(OFFERS, weights, strict=True)]
    heaviest = OFFERS[weights.index(0.9)]

    assert preferred(",".join(ranges), OFFERS) == heaviest
    assert preferred(", ".join(reversed(ranges)), OFFERS) == heaviest
