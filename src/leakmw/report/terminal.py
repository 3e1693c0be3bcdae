"""Text that a terminal shows as it stands: nothing acts, nothing hides, nothing runs too long.

Names in a report come from URLs, methods and file names, so strangers can choose them. A column is
one cell of a monospaced font; wide characters take two.
"""

from __future__ import annotations

from unicodedata import east_asian_width


def printable(text: str) -> str:
    """Return *text* with everything but visible characters and plain spaces escaped.

    Control characters could drive the terminal, bidirectional marks could reorder the line, and
    lone surrogates could not be written at all.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


def width(text: str) -> int:
    """Return the columns that *text* takes at most; combining characters count as one each."""
    if text.isascii():
        return len(text)
    return sum(_cells(sign) for sign in text)


def shorten(text: str, columns: int) -> str:
    """Return *text* printable and in *columns*, without its middle where it is longer.

    The end gets two thirds of the room: it tells two paths apart.
    """
    if len(text) > 2 * columns:
        text = text[:columns] + text[-columns:]  # what is certainly left out costs nothing
    text = printable(text)
    if width(text) <= columns:
        return text
    head = _beginning(text, (columns - 1) // 3)
    tail = _beginning(text[::-1], columns - 1 - width(head))[::-1]
    return f"{head}…{tail}"


def pad(text: str, columns: int) -> str:
    """Return *text* in exactly *columns*, shortened or followed by spaces."""
    text = shorten(text, columns)
    return text + " " * (columns - width(text))


def wrap(text: str, columns: int) -> list[str]:
    """Return *text* in lines of *columns*, broken at spaces; a longer word is shortened."""
    lines: list[str] = []
    line = ""
    for word in printable(text).split():
        part = shorten(word, columns)
        if line and width(line) + 1 + width(part) > columns:
            lines.append(line)
            line = part
        else:
            line = f"{line} {part}" if line else part
    return [*lines, line]


def _cells(sign: str) -> int:
    return 2 if east_asian_width(sign) in {"W", "F"} else 1


def _beginning(text: str, columns: int) -> str:
    used = 0
    for index, sign in enumerate(text):
        used += _cells(sign)
        if used > columns:
            return text[:index]
    return text
