"""Protocol buffers as they are written: enough for messages of integers, texts and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARINT, _LENGTH = 0, 2
_64_BITS = (1 << 64) - 1


def integer(field: int, number: int) -> bytes:
    """Return an ``int64`` or ``uint64``; nothing for 0, which is what a reader takes it for.

    Args:
        field: Number of the field.

        number: From -2⁶³ to 2⁶⁴ - 1.
    """
    return _varint(field << 3 | _VARINT) + _varint(number) if number else b""


def integers(field: int, numbers: Iterable[int]) -> bytes:
    """Return a repeated integer, packed; nothing if there is none."""
    packed = b"".join(map(_varint, numbers))
    return content(field, packed) if packed else b""


def content(field: int, given: bytes) -> bytes:
    """Return a message, or a text in UTF-8; also an empty one, which counts where it is repeated.

    Args:
        field: Number of the field.

        given: The message or text.
    """
    return _varint(field << 3 | _LENGTH) + _varint(len(given)) + given


def _varint(number: int) -> bytes:
    """Return *number* by seven bits, the lowest first; a negative one has ten groups of them."""
    rest = number & _64_BITS
    groups = bytearray()
    while rest > 0x7F:  # noqa: PLR2004  # seven bits
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    groups.append(rest)
    return bytes(groups)
