"""What glibc's allocator says of itself, and what it would give back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from leakmw import allocators, forked

MIB = 1 << 20

C_HEAP = """
import ctypes, json
from leakmw import allocators, meters

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
libc.free.argtypes = (ctypes.c_void_p,)

def blocks(count, size):
    made = [libc.malloc(size) for _ in range(count)]
    for block in made:
        libc.memset(block, 1, size)
    return made
"""

HEAP = (
    C_HEAP
    + """
before = allocators.read()
small, large = blocks(20_000, 1000), blocks(4, 40 << 20)
kept = allocators.read()
for block in small + large:
    libc.free(block)
after = allocators.read()
print(json.dumps([before, kept, after]))
"""
)

TRIM = (
    C_HEAP
    + """
failures = []
made = blocks(50_000, 1000)
for number, block in enumerate(made):
    if number % 100:
        libc.free(block)
trim = allocators.Trim(lambda where, error: failures.append(str(error)))
before = meters.rss_bytes()
given_back = trim.given_back(1)
print(json.dumps([given_back, trim.given_back(2), before - meters.rss_bytes(), failures,
                  trim.cpu_seconds]))
"""
)

PACKED = (
    C_HEAP
    + """
made = blocks(50_000, 1000)
trim = allocators.Trim(lambda where, error: None)
print(json.dumps(trim.given_back(1)))
"""
)

pytestmark = pytest.mark.skipif(allocators.read() is None, reason="the C heap is not glibc's")


def told(script: str) -> Any:
    """Run *script* in a process whose heap nobody else uses, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_what_c_takes_and_frees_is_seen_to_the_block() -> None:
    """Small blocks and such as are maps of their own."""
    before, kept, after = (allocators.CHeap(*one) for one in told(HEAP))
    assert 20_000_000 <= kept.used - before.used - 160 * MIB <= 20_000_000 * 1.05 + MIB
    assert 160 * MIB <= kept.mapped - before.mapped <= 161 * MIB
    assert abs(after.used - before.used) < MIB
    assert abs(after.mapped - before.mapped) < MIB  # Python may have mapped some for itself


@pytest.mark.skipif(not forked.AVAILABLE, reason="it is tried in a forked child")
def test_what_a_trim_gives_back_is_tried_in_a_copy() -> None:
    """The process itself stays as it is."""
    given_back, again, gone, failures, cpu_seconds = told(TRIM)
    assert given_back > 40_000_000
    assert again == pytest.approx(given_back, abs=MIB)  # but for some pages
    assert abs(gone) < 4 * MIB
    assert failures == []
    assert cpu_seconds > 0


@pytest.mark.skipif(not forked.AVAILABLE, reason="it is tried in a forked child")
def test_a_heap_that_is_in_use_gives_hardly_anything_back() -> None:
    """What is full cannot be trimmed."""
    assert told(PACKED) < 4 * MIB


def test_a_trim_that_cannot_be_tried_is_said_and_gives_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report has one figure less."""

    def refuse(*_: Any, **__: Any) -> forked.Outcome:
        raise forked.ForkError("no child could be forked: no memory")

    said: list[str] = []
    monkeypatch.setattr(forked, "run", refuse)
    trim = allocators.Trim(lambda where, error: said.append(f"{where}: {error}"))
    assert trim.given_back(1) is None
    assert said == [
        "trim: it was not tried to trim the C heap: no child could be forked: no memory"
    ]


def test_where_another_allocator_stands_before_it_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The figures of glibc's would be true, and of no heap that anybody uses."""
    addresses = iter(range(2))
    monkeypatch.setattr(allocators, "_address", lambda _: next(addresses))
    allocators._glibc.cache_clear()
    assert allocators.read() is None
    assert allocators.arenas() is None
    assert allocators.Trim(lambda *_: None).given_back(1) is None
    monkeypatch.undo()
    allocators._glibc.cache_clear()


class Clock:
    """Time that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self.now


@pytest.mark.parametrize(
    ("takes", "rest"), [(0.0005, 0.0), (0.002, 2.0), (0.02, 20.0)], ids=["short", "long", "longer"]
)
def test_a_reading_that_takes_long_is_taken_seldom(takes: float, rest: float) -> None:
    """A thousandth of the time at the most; a short one is taken whenever it is asked for."""
    clock = Clock()

    def reading() -> str:
        clock.now += takes
        return "read"

    seldom = allocators.Seldom(reading, clock, clock)
    assert seldom() == "read"
    clock.now += 0.99 * rest
    assert seldom() == ("read" if not rest else None)
    clock.now += 0.02 * rest
    assert seldom() == "read"
