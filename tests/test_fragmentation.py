"""Memory that the process holds and nothing uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from leakmw.analysis.fragmentation import Idle, fragmentation, idle
from leakmw.records import BACKGROUND, Memory, Verdict

if TYPE_CHECKING:
    from tests.conftest import History

MIB = 1 << 20


def memory(**given: int | None) -> Memory:
    """Return meters of a process of 200 MiB, half of whose C heap is free."""
    known: dict[str, Any] = {
        "rss_bytes": 200 * MIB,
        "anonymous_bytes": 190 * MIB,
        "python_arena_bytes": 30 * MIB,
        "python_free_bytes": 2 * MIB,
        "native_bytes": 80 * MIB,
        "free_bytes": 80 * MIB,
    }
    return Memory(**{**known, **given})


def looked(history: History, *meters: Memory) -> Idle | None:
    """Return what lies idle after snapshots with these meters."""
    for number, one in enumerate(meters):
        history.add({}, {"GET /a": number}, memory=one)
    return idle(history.snapshots)


def test_a_c_heap_that_stays_half_free_lies_idle(history: History) -> None:
    """At each of five snapshots."""
    found = looked(history, *[memory()] * 4, memory(free_bytes=70 * MIB))
    assert found == Idle(70 * MIB, 0, 200 * MIB)


@pytest.mark.parametrize(
    "given",
    [
        {"free_bytes": 30 * MIB},
        {"anonymous_bytes": 130 * MIB},
        {"rss_bytes": 800 * MIB},
        {"free_bytes": None},
        {"rss_bytes": None},
        {"anonymous_bytes": None},
    ],
    ids=["little", "not resident", "a small part", "unknown", "no rss", "not told apart"],
)
def test_what_is_little_or_not_known_is_not_worth_a_word(
    history: History, given: dict[str, int | None]
) -> None:
    """Nor what the kernel has back already."""
    assert looked(history, *[memory(**given)] * 5) is None


def test_what_is_used_again_at_times_does_not_lie_idle(history: History) -> None:
    """The next peak needs it."""
    peak = memory(native_bytes=155 * MIB, free_bytes=5 * MIB)
    assert looked(history, memory(), memory(), peak, memory(), memory()) is None
    assert looked(history, *[memory()] * 4) is not None


def test_four_snapshots_are_too_few(history: History) -> None:
    """It may be a moment's."""
    assert looked(history, *[memory()] * 4) is None


def test_half_empty_arenas_of_pythons_lie_idle_too(history: History) -> None:
    """A peak of small objects leaves them."""
    arenas = memory(python_free_bytes=60 * MIB, python_arena_bytes=90 * MIB, free_bytes=MIB)
    assert looked(history, *[arenas] * 5) == Idle(0, 60 * MIB, 200 * MIB)


def test_the_finding_says_what_would_give_it_back() -> None:
    """With figures: what a trim gives, how many arenas there are, and what else helps."""
    finding = fragmentation(Idle(70 * MIB, 0, 200 * MIB), 60 * MIB, 9)
    assert finding.verdict is Verdict.FRAGMENTATION
    assert finding.growth.endpoint == BACKGROUND
    assert finding.growth.bytes == 70 * MIB
    assert (
        "malloc_trim(0), tried in a forked copy, would give 62,914,560 bytes back"
        in (finding.evidence[1])
    )
    assert finding.evidence[2].startswith("the C heap has 9 arenas")
    assert finding.advice is not None
    for word in ("malloc_trim(0)", "MALLOC_ARENA_MAX=2", "jemalloc"):
        assert word in finding.advice


def test_a_trim_that_gives_little_is_not_advised() -> None:
    """Nor is a limit to arenas where there is one."""
    finding = fragmentation(Idle(70 * MIB, 0, 200 * MIB), MIB, 1)
    assert finding.advice is not None
    assert "malloc_trim" not in finding.advice
    assert "MALLOC_ARENA_MAX" not in finding.advice
    assert "jemalloc" in finding.advice


def test_a_trim_that_was_not_tried_is_not_spoken_of() -> None:
    """Python's own allocator is out of its reach."""
    finding = fragmentation(Idle(0, 60 * MIB, 200 * MIB), None, 4)
    (said,) = finding.evidence
    assert said.startswith("Python's own allocator has held 62,914,560 bytes free")
    assert finding.fingerprint == fragmentation(Idle(MIB, 0, MIB), None, 1).fingerprint
