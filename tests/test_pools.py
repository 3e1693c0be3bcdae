"""What Python's own allocator says of itself, also while somebody hooks it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from leakmw.tracers import chunks, pools

POOLS = """
import contextvars, json, sys, tracemalloc
from leakmw.tracers import pools
if len(sys.argv) > 2:
    tracemalloc.start()
elif len(sys.argv) > 1:
    from leakmw.tracers import _sampler
    _sampler.start(contextvars.ContextVar("visit"), None, 4, 0.01, 65536.0, 1)
before = pools.read()
kept = [str(number) * 5 for number in range(100_000, 300_000)]
full = pools.read()
large = [bytes(2000) for _ in range(10_000)]
beside = pools.read()
del kept[:], large[:]
print(json.dumps([before, full, beside, pools.read()]))
"""

pytestmark = pytest.mark.skipif(pools.read() is None, reason="nobody tells of the pools")


def told(*arguments: str, **environment: str) -> Any:
    """Run the script in a process of its own."""
    command = [sys.executable, "-c", POOLS, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, env=environment or None)
    return json.loads(done.stdout)


@pytest.mark.parametrize("hooks", [(), ("sampler",), ("tracemalloc", "tracemalloc")])
def test_small_objects_are_in_the_pools_whoever_hooks_the_allocator(
    hooks: tuple[str, ...],
) -> None:
    """Large ones are not; what was freed is free."""
    before, full, beside, after = (pools.Pools(*one) for one in told(*hooks))
    made = 200_000 * 80  # 30 characters and 41 bytes around them
    assert 0.98 * made < full.used - before.used < 1.1 * made
    assert abs(beside.used - full.used) < 1 << 20
    assert after.used < before.used + (2 << 20)
    assert after.free + after.used <= after.arenas


def test_without_an_allocator_of_its_own_python_tells_nothing() -> None:
    """Everything lies in the C heap then."""
    assert told(PYTHONMALLOC="malloc") == [None] * 4


def test_a_text_that_is_not_understood_gives_no_figures() -> None:
    """Another Python may say it in another way."""
    assert pools.parsed(b"3 arenas * 1048576 bytes/arena     =            3,145,728\n") is None


def test_a_block_takes_of_the_c_heap_what_c_rounds_it_up_to() -> None:
    """Small ones lie in the pools, with nothing beside them."""
    assert [chunks.chunk_bytes(size) for size in (1, 512, 513, 1000, 1008)] == [
        *(0, 0, 528),
        *(1008, 1024),
    ]
