"""What a block of Python's takes of the heap in which it lies."""

from __future__ import annotations

import sys

SMALL_BYTES = 512 if sys.getallocatedblocks() else 0
"""Up to here Python has an allocator of its own, unless it was told to leave all to C's."""

HEADER_BYTES = 8
ALIGNMENT = 16


def chunk_bytes(size: int) -> int:
    """Return what the C heap has in use for a block of *size* bytes: nothing if it is small.

    That of glibc keeps a word before each block and rounds up to 16 bytes. Blocks of 128 KiB and
    more may be maps of their own, of whole pages: up to 3 % more, which is left out.
    """
    if size <= SMALL_BYTES:
        return 0
    return _rounded(size + HEADER_BYTES)


def pool_bytes(size: int) -> int:
    """Return what Python's allocator has in use for a block of *size* bytes: nothing if large."""
    return _rounded(size) if size <= SMALL_BYTES else 0


def _rounded(size: int) -> int:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
