"""The sampling tracer: always on, live memory by endpoint and origin from a hook in C."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from leakmw.background import giving_way, process
from leakmw.records import Engine, Frame, Trace
from leakmw.tracers.births import sampled
from leakmw.tracers.ownership import Owner, Ownership
from leakmw.tracers.samples import Tracebacks, group

try:
    from leakmw.tracers import _sampler
except ImportError as error:
    _missing: str | None = str(error)
else:
    _missing = None

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar

    from leakmw.records import Births, Wanted

    Digest = Callable[[Trace], Any]

FIRST_INTERVAL = 64 << 10
"""Mean bytes between two samples before the cost is known."""


def unavailable() -> str | None:
    """Return why this Python cannot sample; ``None`` if it can."""
    return _missing


class _Hook:
    """The one hook of a process, which all tracers in it share.

    Attributes:
        starts: Grows by one whenever sampling begins anew: nothing before can be compared.
    """

    def __init__(self) -> None:
        self.starts = 0
        self._pid = 0
        self._parts: dict[int, float] = {}

    def join(self, user: object, begin: Callable[[], None]) -> None:
        """Begin sampling for *user* unless this process does."""
        if self._pid != process.pid:  # a forked child inherits its parent's samples
            self._pid, self._parts = process.pid, {}
        if not self._parts:
            self.renew(begin)
        self.ease(user, 1.0)

    def renew(self, begin: Callable[[], None]) -> None:
        """Begin sampling anew."""
        begin()
        self.starts += 1

    def ease(self, user: object, part: float) -> None:
        """Keep to a part of the budget for *user*, or more if another one needs it."""
        self._parts[id(user)] = part
        self._keep_to_most()

    def leave(self, user: object) -> None:
        """End sampling when nobody needs it any more."""
        if self._pid == process.pid and self._parts.pop(id(user), None) is not None:
            if self._parts:
                self._keep_to_most()
            else:
                _sampler.stop()

    def _keep_to_most(self) -> None:
        _sampler.ease(max(self._parts.values()))


_hook = _Hook()


class SamplingTracer:
    """Live memory by endpoint and origin, estimated from samples at a bounded cost.

    Several in one process share the hook: the settings of the first are the ones in force.

    Args:
        frames: Deepest traceback kept.

        overhead: Share of CPU time that taking samples may cost.

        sample_bytes: A fixed mean interval in bytes instead.

        visit: Holds the current visit.

        ours: Its value on leakmw's own thread, where nothing is sampled.
    """

    child_cpu_seconds = 0.0
    least_visits = 0

    def __init__(
        self,
        frames: int,
        overhead: float,
        sample_bytes: int | None,
        visit: ContextVar[Any],
        ours: object,
    ) -> None:
        self._frames = frames
        self._overhead = overhead
        self._sample_bytes = sample_bytes
        self._visit = visit
        self._ours = ours
        self._started = False
        self._own_bytes = 0
        self._window = 0
        self._owner = Owner()
        self._ownership = self._owner.of(frozenset())

    def start(self) -> None:
        """Begin sampling, unless this process does already."""
        if not self._started:
            _hook.join(self, self._begin)
            self._started = True

    def stop(self) -> None:
        """Stop sampling if no other tracer in this process needs it."""
        if self._started:
            self._started = False
            _hook.leave(self)

    def ease(self, part: float) -> None:
        """Keep to so much of the budget, above 0 and at most 1, until told otherwise.

        A fixed interval stays as it is.
        """
        if self._started:
            _hook.ease(self, part)

    def engine(self) -> Engine:
        """Describe the tracer."""
        figures = _sampler.figures()
        return Engine(
            name="sampling",
            frames=self._frames,
            sample_bytes=round(figures["interval"]),
            live_samples=figures["live"],
            own_bytes=figures["bytes"] + self._own_bytes,
        )

    @property
    def hook_cpu_seconds(self) -> float:
        """CPU time that taking samples has cost on the app's own threads."""
        return _sampler.figures()["seconds"]

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the figures must know."""
        return ()

    def born(self, thing: object) -> Frame | None:
        """Return the app's own line in which *thing* was born, where a sample says so."""
        frames = [Frame(*frame) for frame in _sampler.birth(thing) or ()]
        return self._ownership.site(frames)

    def trace(
        self, views: frozenset[str], mark: Callable[[], object], digest: Digest | None = None
    ) -> Trace:
        """Return live memory by origin and endpoint.

        Args:
            views: Files in which the app's views stand.

            mark: Called at the very moment that the trace shows.

            digest: Plain computing on the trace.
        """
        self.start()
        if not _sampler.figures()["reached"]:
            _hook.renew(self._begin)  # a tracemalloc that ended has taken the hook with it
        self._ownership = ownership = self._owner.of(views)
        started = time.perf_counter()
        mark()
        records, visits = _sampler.read()
        pause = time.perf_counter() - started
        with giving_way():
            try:
                weighted = group(records, visits, _sampler.frame, ownership)
            finally:
                _sampler.release(records)
            del visits
            self._own_bytes = weighted.own_bytes
            self._window = weighted.window
            trace = Trace(
                rows=weighted.rows,
                complete=weighted.complete,
                grouping=_hook.starts + self._owner.changes,
                how="in-process",
                seconds=time.perf_counter() - started,
                pause_seconds=pause,
                window=weighted.window,
                large=weighted.large,
                small=weighted.small,
            )
            return trace if digest is None else trace._replace(digest=digest(trace))

    def births(self, wanted: Wanted, views: frozenset[str]) -> Births:
        """Return what tells whose an object is, by the sample of its block.

        Args:
            wanted: The findings that are asked for.

            views: Files in which the app's views stand.
        """
        tracebacks = Tracebacks(_sampler.frame, Ownership(views))
        return sampled(wanted, _sampler.find, tracebacks.path, self._window)

    def _begin(self) -> None:
        _sampler.start(
            self._visit,
            self._ours,
            self._frames,
            0.0 if self._sample_bytes else self._overhead,
            float(self._sample_bytes or FIRST_INTERVAL),
            random.getrandbits(64),
        )
