"""The exact tracer on real allocations."""

from __future__ import annotations

import inspect
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import leakmw
from leakmw import forked
from leakmw.records import SnapshotError
from leakmw.tracers import exact
from leakmw.tracers.exact import ExactTracer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakmw.records import Row, Trace

OVERHEAD = sys.getsizeof(b"")
PACKAGE = str(Path(leakmw.__file__).parent)


def allocate(size: int) -> bytes:
    """Return new bytes; the next line is their site."""
    return bytes(size)


SITE = (__file__, inspect.getsourcelines(allocate)[1] + 2)


def nothing() -> None:
    """Mark nothing."""


class Failures(list[str]):
    """Remembers what was told."""

    def __call__(self, where: str, error: BaseException) -> None:
        """Take an error of leakmw's own."""
        self.append(f"{where}: {error}")


@pytest.fixture(name="failures")
def _failures() -> Failures:
    """Return what the tracer tells."""
    return Failures()


@pytest.fixture(name="tracer")
def _tracer(failures: Failures) -> Iterator[ExactTracer]:
    """Return a started tracer with plenty of room."""
    tracer = ExactTracer(16, lambda: 1 << 40, failures)
    tracer.start()
    yield tracer
    tracer.stop()


def site(trace: Trace) -> tuple[int, int]:
    """Return bytes and blocks born at the site of this file."""
    rows = [row for row in trace.rows if (row.path[-1].file, row.path[-1].line) == SITE]
    return sum(row.bytes for row in rows), sum(row.blocks for row in rows)


def test_live_memory_is_exact_by_site(tracer: ExactTracer) -> None:
    """To the byte and the block, what was freed left out."""
    kept = [allocate(1000) for _ in range(100)]
    first = site(tracer.trace(frozenset(), nothing))
    del kept[40:]
    second = site(tracer.trace(frozenset(), nothing))

    assert first == (100 * (1000 + OVERHEAD), 100)
    assert second == (40 * (1000 + OVERHEAD), 40)


def test_threads_allocate_at_their_own_sites(tracer: ExactTracer) -> None:
    """What overlaps in time does not mix."""
    kept: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: kept.extend(allocate(500) for _ in range(200)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert site(tracer.trace(frozenset(), nothing)) == (800 * (500 + OVERHEAD), 800)


def test_nothing_of_leakmw_is_in_the_rows(tracer: ExactTracer) -> None:
    """Neither its own rows nor tracemalloc's, though both have allocated."""
    kept = [allocate(10) for _ in range(10)]
    tracer.trace(frozenset(), nothing)
    rows = tracer.trace(frozenset(), nothing).rows

    assert kept
    assert rows
    assert not [row for row in rows if row.traceback[-1].file.startswith(PACKAGE)]
    assert not [row for row in rows if row.traceback[-1].file == tracemalloc.__file__]


def test_a_tracemalloc_that_ran_before_is_never_stopped(failures: Failures) -> None:
    """Its shorter tracebacks are noted, and used."""
    tracemalloc.start(3)
    try:
        tracer = ExactTracer(16, lambda: 1 << 40, failures)
        tracer.start()
        kept = allocate(5000)
        trace = tracer.trace(frozenset(), nothing)
        notes, frames = tracer.notes(), tracer.engine().frames
        tracer.stop()
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()

    assert site(trace) == (len(kept) + OVERHEAD, 1)
    assert any("already running with 3 frames" in note for note in notes)
    assert frames == 3


def test_a_tracemalloc_that_leakmw_started_is_stopped(failures: Failures) -> None:
    """And only once."""
    tracer = ExactTracer(16, lambda: 1 << 40, failures)
    tracer.start()
    tracer.start()
    running = tracemalloc.is_tracing()
    tracer.stop()

    assert running
    assert not tracemalloc.is_tracing()
    tracer.stop()


def test_the_process_itself_counts_the_same_as_a_child(
    tracer: ExactTracer, monkeypatch: pytest.MonkeyPatch, failures: Failures
) -> None:
    """Where forking is not safe the rows of the app are the same."""
    kept = [allocate(700) for _ in range(30)]
    child = tracer.trace(frozenset(), nothing)
    monkeypatch.setattr(forked, "AVAILABLE", False)
    here = tracer.trace(frozenset(), nothing)

    assert site(child) == site(here) == (30 * (700 + OVERHEAD), len(kept))
    assert (child.how, here.how) == (
        "fork" if sys.platform == "linux" else "in-process",
        "in-process",
    )
    assert failures == []


def test_the_digest_is_computed_from_the_rows(tracer: ExactTracer) -> None:
    """Wherever they were grouped."""
    kept = allocate(3000)
    trace = tracer.trace(frozenset(), nothing, site)
    assert trace.digest == (len(kept) + OVERHEAD, 1)


def test_no_snapshot_is_taken_where_memory_is_short(failures: Failures) -> None:
    """The message says how much it would take, how much there is, and what to do."""
    tracer = ExactTracer(16, lambda: 5 << 20, failures)
    tracer.start()
    try:
        with pytest.raises(SnapshotError, match=r"limit leaves 5 MiB; raise the limit"):
            tracer.trace(frozenset(), nothing)
    finally:
        tracer.stop()


def test_the_process_is_not_stopped_for_long(
    tracer: ExactTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a child a large heap is declined, and a small one is not."""
    monkeypatch.setattr(forked, "AVAILABLE", False)
    assert tracer.trace(frozenset(), nothing).rows is not None
    monkeypatch.setattr(exact, "IN_PROCESS_BLOCKS", 0)
    with pytest.raises(SnapshotError, match="would stop it for too long"):
        tracer.trace(frozenset(), nothing)


def test_rows_that_did_not_change_are_shared(tracer: ExactTracer) -> None:
    """A history of snapshots costs what changed."""
    kept: list[bytes] = []
    rows: list[Row] = []
    for more in (1, 0, 1):
        kept.extend(allocate(900) for _ in range(more))
        trace = tracer.trace(frozenset(), nothing)
        rows.append(next(row for row in trace.rows if row.path[-1][:2] == SITE))
    first, same, other = rows

    assert same is first
    assert other is not first
    assert other.path is first.path


def test_rows_are_compared_only_where_they_are_grouped_alike(tracer: ExactTracer) -> None:
    """A view in an installed package makes its frames the app's own from then on."""
    before = tracer.trace(frozenset({__file__}), nothing).grouping
    same = tracer.trace(frozenset({__file__}), nothing).grouping
    after = tracer.trace(frozenset({pytest.__file__}), nothing).grouping

    assert same == before
    assert after != before
