"""The exact tracer: every live block with its traceback, from tracemalloc."""

from __future__ import annotations

import ctypes
import gc
import marshal
import pickle
import time
import tracemalloc
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from leakmw import forked
from leakmw.records import Engine, Frame, Known, Row, SnapshotError, Trace
from leakmw.tracers.births import UNKNOWN, traced
from leakmw.tracers.chunks import chunk_bytes, pool_bytes
from leakmw.tracers.grouping import Grouped, RawTrace, group
from leakmw.tracers.ownership import Owner, Ownership
from leakmw.tracers.transfer import Key, keyed, pack, rows_of, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from leakmw.records import Births, Wanted

    Digest = Callable[[Trace], Any]

DEADLINE_SECONDS = 60.0
"""After which the child that groups the traces is killed."""

BLOCK_BYTES = 320
"""What copying and grouping takes in the child for each live block; 250 to 290 measured."""

LEAST_CHILD_BYTES = 64 << 20
"""What the child may take however few blocks there are."""

CHUNKS_BYTES = 48
"""What tracemalloc does not count of what it needs for each live block: two blocks of C's."""

TRACE_BYTES = 53
"""What tracemalloc says that it needs for each live block."""

IN_PROCESS_BLOCKS = 500_000
"""Live blocks up to which the traces may be copied in this process, which stops it for 0.3 s."""

COST = (
    "tracemalloc is the tracer: it makes an app about 5 times slower with 1 frame, 30 times with "
    "25; cost_ratio counts leakmw's own thread and children only"
)


class ExactTracer:
    """Live memory by origin, exact to the byte, at tracemalloc's price.

    Copying the traces of a million blocks stops a process for about a second, so it is done in a
    forked child, which groups them too and sends back a few thousand rows.

    Args:
        frames: Deepest traceback kept.

        room: Says how many bytes the process may still take.

        failed: Told when no child could be forked and this process had to do the work itself.
    """

    hook_cpu_seconds = 0.0  # nobody knows what tracemalloc costs the app
    least_visits = 0

    def __init__(
        self,
        frames: int,
        room: Callable[[], int],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._frames = frames
        self._room = room
        self._failed = failed
        self._started = False
        self._owner = Owner()
        self._ownership = self._owner.of(frozenset())
        self._starts = 0
        self._rows: dict[Key, Row] = {}
        self._own_bytes = 0
        self.child_cpu_seconds = 0.0

    def start(self) -> None:
        """Begin tracing, unless somebody else does already."""
        if not tracemalloc.is_tracing():
            tracemalloc.start(self._frames)
            self._started = True
            # what was traced before is gone: nothing can be compared with it
            self._starts += 1

    def stop(self) -> None:
        """Stop tracing if this tracer began it."""
        if self._started:
            self._started = False
            tracemalloc.stop()

    def ease(self, part: float) -> None:
        """Do nothing: tracemalloc has no budget."""

    def births(self, wanted: Wanted, views: frozenset[str]) -> Births:
        """Return what tells whose an object is, by its traceback.

        Args:
            wanted: The findings that are asked for.

            views: Files in which the app's views stand.
        """
        return traced(wanted, Ownership(views)) if tracemalloc.is_tracing() else UNKNOWN

    def engine(self) -> Engine:
        """Describe the tracer."""
        tracing = tracemalloc.is_tracing()
        return Engine(
            name="tracemalloc",
            frames=tracemalloc.get_traceback_limit() if tracing else self._frames,
            own_bytes=self._own_bytes,
        )

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the figures must know."""
        limit = tracemalloc.get_traceback_limit()
        if tracemalloc.is_tracing() and not self._started and limit < self._frames:
            short = (
                f"tracemalloc was already running with {limit} frames when leakmw started: "
                f"tracebacks are that short; start it with {self._frames}, or leave it to leakmw"
            )
            return (COST, short)
        return (COST,)

    def born(self, thing: object) -> Frame | None:
        """Return the app's own line in which *thing* was born, if tracemalloc has seen it.

        Python 3.11 never finds it for an object with an attribute dictionary.
        """
        frames = tracemalloc.get_object_traceback(thing) or ()
        inward = [Frame(frame.filename, frame.lineno) for frame in reversed(frames)]
        return self._ownership.site(inward)

    def trace(
        self, views: frozenset[str], mark: Callable[[], object], digest: Digest | None = None
    ) -> Trace:
        """Return live memory by origin.

        Args:
            views: Files in which the app's views stand.

            mark: Called at the very moment that the trace shows.

            digest: Plain computing on the trace, done in the child: here tracemalloc would make it
                some thirty times slower, and the app would wait for the GIL.

        Raises:
            SnapshotError: If memory or time do not allow it now.
        """
        self.start()
        self._ownership = ownership = self._owner.of(views)
        started = time.perf_counter()
        try:
            trace = self._from_child(ownership, mark, digest)
        except forked.ChildError as error:
            raise SnapshotError(f"no snapshot: {error}") from error
        except forked.ForkError as error:
            trace = self._here(ownership, mark, digest, str(error))
            if forked.AVAILABLE:
                stopped = SnapshotError(f"the process was stopped to copy its traces: {error}")
                self._failed("fork", stopped)
        self._rows = keyed(trace.rows)
        return trace._replace(seconds=time.perf_counter() - started)

    def _from_child(
        self, ownership: Ownership, mark: Callable[[], object], digest: Digest | None
    ) -> Trace:
        def work() -> bytes:
            _empty_interpreter_caches()
            traces = _raw_traces()
            tables = _tables(traces)
            tracemalloc.stop()  # of no more use in the child, and makes all of this slow
            heaps = _Heaps.of(traces, tables)
            grouped = group(traces, ownership)
            del traces
            rows = rows_of(grouped.groups, self._rows)
            digested = self._trace(rows, grouped, heaps, digest).digest
            pieces = pack(rows, self._rows)
            return marshal.dumps((pieces, grouped[1:], tuple(heaps), pickle.dumps(digested)))

        memory = self._affordable()
        outcome = forked.run(work, mark, seconds=DEADLINE_SECONDS, memory_bytes=memory)
        self.child_cpu_seconds += outcome.cpu_seconds
        pieces, rest, heaps, digested = marshal.loads(outcome.result)  # noqa: S302  # our own child's
        rows = tuple(unpack(pieces, self._rows))
        return self._trace(rows, Grouped([], *rest), _Heaps(*heaps), None)._replace(
            how="fork",
            pause_seconds=outcome.pause_seconds,
            digest=pickle.loads(digested),  # noqa: S301  # our own child's
        )

    def _affordable(self) -> int:
        """Return the bytes that the child may take; raise if the limit leaves less."""
        needed = max(_live_blocks() * BLOCK_BYTES, LEAST_CHILD_BYTES)
        room = self._room()
        if room < needed:
            raise SnapshotError(
                f"no snapshot: it takes up to {needed >> 20} MiB for a moment and the memory "
                f"limit leaves {room >> 20} MiB; raise the limit or use fewer workers"
            )
        return needed

    def _here(
        self, ownership: Ownership, mark: Callable[[], object], digest: Digest | None, reason: str
    ) -> Trace:
        blocks = _live_blocks()
        if blocks > IN_PROCESS_BLOCKS:
            raise SnapshotError(
                f"no snapshot: {reason}, and copying about {blocks:,} live blocks in this process "
                "would stop it for too long"
            )
        mark()
        started = time.perf_counter()
        traces = _raw_traces()
        pause = time.perf_counter() - started
        heaps = _Heaps.of(traces, _tables(traces))
        grouped = group(traces, ownership)
        rows = rows_of(grouped.groups, self._rows)
        return self._trace(rows, grouped, heaps, digest)._replace(pause_seconds=pause)

    def _trace(
        self, rows: tuple[Row, ...], grouped: Grouped, heaps: _Heaps, digest: Digest | None
    ) -> Trace:
        self._own_bytes = grouped.own_bytes + heaps.tables
        trace = Trace(
            rows=rows,
            complete=grouped.complete,
            grouping=self._starts + self._owner.changes,
            how="in-process",
            seconds=0.0,
            pause_seconds=0.0,
            large=Known(heaps.large + heaps.tables),
            small=Known(heaps.small),
        )
        return trace if digest is None else trace._replace(digest=digest(trace))


def _empty_interpreter_caches() -> None:
    """Free what is dead and only kept by the interpreter; for the child alone.

    Free lists keep up to 2,000 tuples of each length, and the type cache 4,096 names, each at the
    line that used it last. Until they are full that looks like growth.
    """
    gc.callbacks.clear()  # they are the app's
    gc.set_debug(0)
    gc.freeze()  # a full collection empties the free lists, and is to look at nothing else
    gc.collect()
    ctypes.pythonapi.PyType_ClearCache()


def _live_blocks() -> int:
    return tracemalloc.get_tracemalloc_memory() // TRACE_BYTES


class _Heaps(NamedTuple):
    """What all live blocks take, in bytes.

    Attributes:
        large: Of the C heap.
        small: Of Python's own allocator.
        tables: What tracemalloc keeps for them, of the C heap, too.
    """

    large: int
    small: int
    tables: int

    @classmethod
    def of(cls, traces: list[RawTrace], tables: int) -> _Heaps:
        """Add up the blocks."""
        sizes = Counter(map(itemgetter(1), traces))
        large = sum(chunk_bytes(size) * count for size, count in sizes.items())
        small = sum(pool_bytes(size) * count for size, count in sizes.items())
        return cls(large, small, tables)


def _tables(traces: list[RawTrace]) -> int:
    """Return what tracemalloc keeps, with what it does not count of that; for as long as it runs.

    Args:
        traces: Of all live blocks.
    """
    return tracemalloc.get_tracemalloc_memory() + CHUNKS_BYTES * len(traces)


def _raw_traces() -> list[RawTrace]:
    # the public take_snapshot() wraps the same list and keeps it whole
    traces: list[RawTrace] = tracemalloc._get_traces()  # type: ignore[attr-defined]  # noqa: SLF001
    return traces
