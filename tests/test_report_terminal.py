"""What strangers name cannot act on a terminal, hide in it or run too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.report import terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /users/{id}", "GET /users/{id}"),
        ("café 商品 🛒", "café 商品 🛒"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u2028b", "a\\u2028b"),
        ("a\xa0b", "a\\xa0b"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_no_visible_character_is_escaped(text: str, shown: str) -> None:
    """Letters of every script stay; what acts or hides is spelled out."""
    assert terminal.printable(text) == shown


@given(st.text(st.characters()))
def test_printable_text_is_printable(text: str) -> None:
    """Whatever the name, the result is visible, can be encoded, and stays as it is."""
    shown = terminal.printable(text)

    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert terminal.printable(shown) == shown


def test_shortening_leaves_out_the_middle() -> None:
    """The beginning tells where, the end tells which."""
    path = "/srv/app/releases/2026-11-22/shop/catalogue/views.py"

    assert terminal.shorten(path, 30) == "/srv/app/…p/catalogue/views.py"
    assert terminal.shorten(path, len(path)) == path


def test_wide_characters_take_two_columns() -> None:
    """East Asian names and pictures do not push their neighbors out of line."""
    assert terminal.width("商品") == 4
    assert terminal.pad("商品", 6) == "商品  "
    assert terminal.shorten("商品商品商品", 7) == "商…商品"


@given(st.text(st.characters()), st.integers(1, 120))
def test_shortened_text_fits(text: str, columns: int) -> None:
    """However long or wide, the room is kept, and padding fills it exactly."""
    assert terminal.width(terminal.shorten(text, columns)) <= columns
    assert terminal.width(terminal.pad(text, columns)) == columns


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 120))
def test_wrapped_lines_fit(text: str, columns: int) -> None:
    """No line of a wrapped sentence is too long."""
    assert all(terminal.width(line) <= columns for line in terminal.wrap(text, columns))


@given(st.lists(st.text("abc", min_size=1, max_size=9)))
def test_wrapping_keeps_every_word(words: list[str]) -> None:
    """Lines are only broken where a space was."""
    assert " ".join(terminal.wrap(" ".join(words), 9)).split() == words
