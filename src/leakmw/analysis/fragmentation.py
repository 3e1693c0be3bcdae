"""Memory that the process holds and nothing uses."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from leakmw.records import BACKGROUND, Finding, Growth, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Memory, Snapshot

SNAPSHOTS = 5
"""At each of the latest of which so much was free: the next peak uses what the last one left."""

LEAST_BYTES = 32 << 20
LEAST_SHARE = 0.2
"""Of resident memory, below which nobody need care."""


class Idle(NamedTuple):
    """What was free at each of the latest snapshots, in bytes.

    Attributes:
        c_heap: Of the C heap, and resident as far as the meters can tell; 0 if it is not much.
        python: Of Python's own allocator; 0 if it is not much.
        rss: Resident at the last of them.
    """

    c_heap: int
    python: int
    rss: int


def idle(snapshots: Sequence[Snapshot]) -> Idle | None:
    """Return how much of memory lies idle; ``None`` if it is not worth a word.

    Args:
        snapshots: Those kept, oldest first.
    """
    latest = [one.memory for one in snapshots[-SNAPSHOTS:]]
    rss = latest[-1].rss_bytes
    if len(latest) < SNAPSHOTS or rss is None:
        return None
    least = max(LEAST_BYTES, LEAST_SHARE * rss)
    c_heap, python = min(map(_c_heap, latest)), min(one.python_free_bytes or 0 for one in latest)
    found = Idle(c_heap if c_heap >= least else 0, python if python >= least else 0, rss)
    return found if found.c_heap or found.python else None


def _c_heap(memory: Memory) -> int:
    """Return what is free and resident: what of that is not may not be told from the rest."""
    known = (memory.free_bytes, memory.native_bytes, memory.anonymous_bytes)
    free, used, anonymous = known
    if free is None or used is None or anonymous is None:
        return 0
    return min(free, max(0, anonymous - used - (memory.python_arena_bytes or 0)))


def fragmentation(found: Idle, given_back: int | None, arenas: int | None) -> Finding:
    """Return what is to be said of it.

    Args:
        found: What lies idle.

        given_back: Bytes that ``malloc_trim`` would give back; ``None`` if it was not tried.

        arenas: Of the C heap; ``None`` if not known.
    """
    evidence, advice = [], []
    if found.c_heap:
        evidence += _seen(found, given_back, arenas)
        advice += _advised(found, given_back, arenas)
    if found.python:
        evidence.append(
            f"Python's own allocator has held {found.python:,} bytes free or more at each of the "
            f"last {SNAPSHOTS} snapshots: it gives back an arena of 1 MiB once no object is left "
            "in it, and malloc_trim does not reach it"
        )
        advice.append(
            "avoid the peak that left Python's arenas half empty: stream what is made of many "
            "small objects at once, or do it in a process of its own"
        )
    return Finding(
        fingerprint=hashlib.sha256(Verdict.FRAGMENTATION.encode()).hexdigest()[:12],
        verdict=Verdict.FRAGMENTATION,
        growth=Growth(
            endpoint=BACKGROUND, visits=0, bytes=found.c_heap + found.python, blocks=None
        ),
        bytes_per_second=0.0,
        evidence=tuple(evidence),
        advice="; ".join(advice),
    )


def _seen(found: Idle, given_back: int | None, arenas: int | None) -> list[str]:
    held = f"the C heap has held {found.c_heap:,} bytes free or more"
    seen = [f"{held} at each of the last {SNAPSHOTS} snapshots; {found.rss:,} are resident"]
    if given_back is not None:
        seen.append(
            f"malloc_trim(0), tried in a forked copy, would give {given_back:,} bytes back; "
            "what else is free lies in pieces smaller than a page, or is not resident"
        )
    if arenas is not None and arenas > 1:
        seen.append(f"the C heap has {arenas:,} arenas, so that threads need not wait for it")
    return seen


def _advised(found: Idle, given_back: int | None, arenas: int | None) -> list[str]:
    advice = []
    if given_back is not None and given_back >= found.c_heap // 2:
        advice.append(
            "call `ctypes.CDLL('libc.so.6').malloc_trim(0)` now and then, when no peak is on: it "
            f"would give back {given_back:,} bytes"
        )
    if arenas is not None and arenas > 1:
        advice.append(
            f"start the worker with MALLOC_ARENA_MAX=2: {arenas:,} arenas each hold what is free "
            "in them"
        )
    advice.append(
        "or start it with another allocator (LD_PRELOAD of jemalloc or mimalloc), which gives "
        "back what is free by itself"
    )
    return advice
