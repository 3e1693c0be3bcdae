"""The frozen records that flow from a visit to a report, and the protocols of those who make them.

Sizes are bytes, times are seconds or aware UTC datetimes. A field that is not known is ``None``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # the store reads the annotations
from enum import StrEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

Answer = TypeVar("Answer")

UNMATCHED = "(unmatched)"
"""Visits that no route of the app claimed."""

OTHER = "(other)"
"""Visits of endpoints past the cap on names."""

BACKGROUND = "(background)"
"""Memory born outside any visit, or that follows no endpoint."""

WEBSOCKET = "WS"
"""What stands for the method of a websocket."""

OTHER_METHOD = "_OTHER"
"""What stands for a method that is none of ``METHODS``."""

METHODS = frozenset(
    {
        *("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"),
        WEBSOCKET,
    }
)
"""What a client may send as a method without being counted under ``OTHER_METHOD``."""

ALL = "all"
"""Stands for every live worker where one is asked for by name."""

VISIT_KEY = "leakmw.visit"
"""Where a face puts the visit in environ or scope, so that wrapping twice counts once."""

ROUTE_KEY = "leakmw.route"
"""Where a face inside another one puts the ``Route`` it knows, for the outer one to name by."""


class Frame(NamedTuple):
    """One line of a traceback.

    Attributes:
        file: Path as the code object gives it.
        line: Line number, from 1.
        function: Name of the function around the line, where it is known.
    """

    file: str
    line: int
    function: str | None = None


Traceback = tuple[Frame, ...]
"""Frames, outermost first."""


class Span(NamedTuple):
    """The lines of one function or class body of the app: where a view's code stands.

    Attributes:
        file: Path as the code object gives it.
        first: First line.
        last: Last line, included.
    """

    file: str
    first: int
    last: int


class Route(NamedTuple):
    """What a face knows of the endpoint of one visit.

    Attributes:
        method: HTTP method, or ``WS`` for a websocket.
        template: Route template such as ``/users/{id}``; ``None`` when nothing matched. A name in
            parentheses, such as ``(other)``, stands for itself and takes no method.
        view: The app's callable that served it: looked at when the endpoint is new, never kept.
    """

    method: str
    template: str | None
    view: object = None


class Visit:
    """One request being served. Keeps nothing of the request.

    Whoever makes one sets its attributes: a constructor would cost each request a call.

    Attributes:
        endpoint: The endpoint's tally once the visit has a name; ``None`` before.
        finished: Whether it was counted.
        outer: The visit in the middle of which this one began, until it is over; where visits are
            followed.
    """

    __slots__ = ("endpoint", "finished", "outer")

    endpoint: Any
    finished: bool
    outer: Visit | None


class Endpoint(NamedTuple):
    """How often an endpoint was visited.

    Attributes:
        name: Method and route template, or one of the names in parentheses.
        visits: Finished visits since the worker started.
        views: Where the code of its view stands; empty when unknown.
    """

    name: str
    visits: int
    views: tuple[Span, ...] = ()


class Birth(NamedTuple):
    """What was born in one window and is still alive.

    Attributes:
        window: Number of the window; the oldest one told apart holds all before it, too.
        bytes: Live bytes.
        blocks: Live blocks.
        samples: Samples that say so.
        bytes_variance: Of the bytes, if such blocks come and go by chance.
        blocks_variance: Of the blocks, likewise.
    """

    window: int
    bytes: int
    blocks: int
    samples: int
    bytes_variance: float = 0.0
    blocks_variance: float = 0.0


MAX_SNAPSHOTS = 16
"""Snapshots kept. Rows that did not change are shared, so one costs what changed."""

MAX_BIRTHS = 64
"""Windows of birth that are told apart in a row; what is older counts with the oldest of them."""


class Row(NamedTuple):
    """Live memory of one origin at one moment.

    Attributes:
        path: The app's own frames on the way to the allocation, outermost first; the innermost
            library frame alone where there is none. Identifies the row across snapshots.
        bytes: Live bytes.
        blocks: Live blocks.
        traceback: A whole traceback behind the path: the one that holds most bytes.
        endpoint: Endpoint it was born under, where the tracer knows.
        births: The same by window of birth, oldest first, where the tracer knows.
        variance: Of the bytes, where they are estimated.
        in_visit: Whether it was born while a visit was on the stack; ``None`` when the traceback
            is too short to say.
        own: Whether the path is the app's own frames, where the tracer tells.
        recyclable: Whether the interpreter keeps such objects for reuse, so that others than
            those who made them may have them now.
    """

    path: Traceback
    bytes: int
    blocks: int
    traceback: Traceback
    endpoint: str | None = None
    births: tuple[Birth, ...] = ()
    variance: float = 0.0
    in_visit: bool | None = None
    own: bool = True
    recyclable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The tracer as the report names it.

    Attributes:
        name: ``tracemalloc`` or ``sampling``.
        frames: Deepest traceback kept.
        sample_bytes: Mean bytes between two samples; ``None`` for an exact tracer.
        live_samples: Samples alive; ``None`` for an exact tracer.
        cost_ratio: Share of the process's CPU time spent in leakmw's own thread and children.
        own_bytes: Memory that the tracer itself holds.
    """

    name: str
    frames: int
    sample_bytes: int | None = None
    live_samples: int | None = None
    cost_ratio: float | None = None
    own_bytes: int | None = None


class Estimate(NamedTuple):
    """A figure with its 95 % interval; the ends are ``None`` where one window alone gives none."""

    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The meters of the whole process, in bytes.

    Attributes:
        rss_bytes: Resident.
        pss_bytes: The same, where pages that several processes share count in part.
        uss_bytes: What no other process has.
        anonymous_bytes: Resident and from no file: heaps, stacks and maps.
        shared_bytes: Resident of files and of shared memory.
        python_bytes: Python's own allocator, of blocks up to 512 bytes, in use.
        python_free_bytes: The same, free.
        python_arena_bytes: All that it has mapped.
        native_bytes: The C heap in use, larger blocks of Python's among it.
        mapped_bytes: Part of that in blocks that are maps of their own.
        free_bytes: The C heap free.
        limit_bytes: The limit that leaves least room.
        limit_kind: ``cgroup``, ``address-space`` (``RLIMIT_AS``) or ``host``.
        used_bytes: What counts against it.
        room_bytes: What is left below it.
        seconds_to_limit: When it is met at this pace; ``None`` where nothing surely grows.
    """

    rss_bytes: int | None = None
    pss_bytes: int | None = None
    uss_bytes: int | None = None
    anonymous_bytes: int | None = None
    shared_bytes: int | None = None
    python_bytes: int | None = None
    python_free_bytes: int | None = None
    python_arena_bytes: int | None = None
    native_bytes: int | None = None
    mapped_bytes: int | None = None
    free_bytes: int | None = None
    limit_bytes: int | None = None
    limit_kind: str | None = None
    used_bytes: int | None = None
    room_bytes: int | None = None
    seconds_to_limit: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One process.

    Attributes:
        host: Host name.
        pid: Process id.
        started_at: Start of the process, aware UTC.
    """

    host: str
    pid: int
    started_at: datetime

    def is_called(self, name: str) -> bool:
        """Return whether *name* stands for it: a pid, ``host:pid``, or ``all``."""
        return name in {ALL, str(self.pid), f"{self.host}:{self.pid}"}


class Known(NamedTuple):
    """What a tracer knows to lie in a heap, and needs no other explanation.

    Attributes:
        bytes: In blocks, with what the allocator takes beside each.
        variance: Of the bytes, where they are estimated.
    """

    bytes: float
    variance: float = 0.0


class Trace(NamedTuple):
    """What a tracer hands over for one snapshot.

    Attributes:
        rows: Live memory by origin, most bytes first.
        complete: ``False`` when rows past the cap were left out.
        grouping: Rows of two traces may be compared only when this is equal.
        how: ``fork`` or ``in-process``.
        seconds: How long it took, the app running on.
        pause_seconds: How long the whole process stood still for it.
        window: Number of the window that ended with it, where births are known.
        large: What it knows of the C heap: blocks of Python's that are too large for its own
            allocator, and the tracer's own; ``None`` where it does not follow all of Python's.
        small: The same of Python's own allocator.
        digest: What was made of the rows where they were grouped, if anything.
    """

    rows: tuple[Row, ...]
    complete: bool
    grouping: int
    how: str
    seconds: float
    pause_seconds: float
    window: int | None = None
    large: Known | None = None
    small: Known | None = None
    digest: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the tracer and the meters say at one moment.

    Attributes:
        id: Short unique name.
        number: Counts from 1 in this worker.
        taken_at: Aware UTC.
        clock: Monotonic seconds.
        trace: The tracer's rows.
        endpoints: Every endpoint with its visits so far, by name.
        in_flight: Visits that were being served.
        collections: Full garbage collections so far; ``None`` while the collector is off.
        memory: The meters.
        engine: The tracer and its cost.
    """

    id: str
    number: int
    taken_at: datetime
    clock: float
    trace: Trace
    endpoints: Mapping[str, Endpoint]
    in_flight: int
    memory: Memory
    engine: Engine
    collections: int | None = None

    @property
    def visits(self) -> int:
        """Finished visits of all endpoints since the worker started."""
        return sum(endpoint.visits for endpoint in self.endpoints.values())


class Glance(NamedTuple):
    """The C heap at one moment between two snapshots.

    Attributes:
        clock: Monotonic seconds.
        visits: Finished visits since the glance before, by endpoint; none of those without any.
        native_bytes: The C heap in use.
    """

    clock: float
    visits: Mapping[str, int]
    native_bytes: int


MAX_GLANCES = 512
"""Glances kept; nobody glances any more once there are so many."""

LEAST_GLANCES = 64
"""Glances that tell more than the snapshots do."""


class Verdict(StrEnum):
    """What a growth is, in the order in which a report lists it."""

    LEAK = "leak"
    SUSPECT = "suspect"
    BOUNDED = "bounded"
    SETTLED = "settled"
    FRAGMENTATION = "fragmentation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one endpoint, or one site of one endpoint, grew by.

    Attributes:
        endpoint: Endpoint name or ``(background)``.
        visits: Visits of that endpoint in the same time.
        bytes: Growth in bytes; negative when it shrank.
        blocks: Growth in blocks; ``None`` where nobody counts them.
        bytes_per_request: Growth per visit of the endpoint; ``None`` without visits.
        site: The app's own innermost frame; ``None`` for an endpoint's total.
        traceback: A whole traceback behind the site.
    """

    endpoint: str
    visits: int
    bytes: int
    blocks: int | None
    bytes_per_request: Estimate | None = None
    site: Frame | None = None
    traceback: Traceback = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The path by which something that lives on keeps a growth alive."""

    path: str
    kind: str
    length: int | None = None
    grows_per_request: float | None = None
    cap: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One (endpoint, site) with its verdict and evidence.

    Attributes:
        fingerprint: Twelve hexadecimal digits, stable across snapshots, workers and restarts.
        verdict: What it is.
        growth: Endpoint, site, bytes and blocks, per request.
        bytes_per_second: What ranks it.
        confidence: Share of such verdicts that were right in the leak zoo; ``None`` where that was
            not counted.
        evidence: Plain sentences saying what was seen.
        cause: The kind of mistake; ``None`` when not looked for.
        holder: Who keeps it; ``None`` when not looked for.
        types: Share of the growth by type; ``None`` when not looked for.
        advice: What to do; ``None`` when there is none.
        born: The site with the file as its code object names it.
        doubted: Whether so much speaks against a suspect that it is none but a suspect, also if it
            was called a leak before.
    """

    fingerprint: str
    verdict: Verdict
    growth: Growth
    bytes_per_second: float
    confidence: float | None = None
    evidence: tuple[str, ...] = ()
    cause: str | None = None
    holder: Holder | None = None
    types: Mapping[str, float] | None = None
    advice: str | None = None
    born: Frame | None = None
    doubted: bool = False

    @property
    def grows(self) -> bool:
        """Whether it has not stopped."""
        return self.verdict in {Verdict.LEAK, Verdict.SUSPECT}


class State(StrEnum):
    """How far a finding has come."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    RESOLVED = "resolved"


class Change(NamedTuple):
    """A finding that has come to another state."""

    state: State
    finding: Finding


class Remembered(NamedTuple):
    """What was said of a finding.

    Attributes:
        state: Said last.
        finding: As it was when it was seen last.
        took: Visits of its endpoint after which it came to that state.
        seen: Visits of its endpoint when it was seen last.
        since: When it was first said.
    """

    state: State
    finding: Finding
    took: int
    seen: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The visits between two snapshots."""

    start: datetime
    end: datetime
    visits: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything said about one worker, or about all of an app, at one moment.

    Attributes:
        id: Short unique name.
        taken_at: Aware UTC.
        service: Name of the app, where it was given.
        version: Its version, where it was given.
        worker: The process.
        engine: The tracer.
        window: From the first comparable snapshot to the last.
        memory: The meters.
        endpoints: Growth by endpoint, most growth first.
        findings: Worst first.
        notes: What the reader must know to read the rest, in plain sentences.
        workers: How many have been looked at together. Where there are several, the worker and the
            engine are those of the one that made the report, and the meters are sums of those
            that live.
    """

    id: str
    taken_at: datetime
    service: str | None
    version: str | None
    worker: Worker
    engine: Engine
    window: Window
    memory: Memory
    endpoints: tuple[Growth, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker as all of them know it.

    Attributes:
        worker: The process.
        alive: Whether it still runs.
        seen_at: When it last spoke, aware UTC.
        visits: Finished visits since it started.
        snapshots: Taken since it started.
        errors: Of leakmw's own in it, since it started.
        service: Name of the app, where it was given.
        version: Its version, where it was given.
        engine: Its tracer; ``None`` before the first snapshot.
        memory: Its meters at the latest snapshot; ``None`` before the first.
        snapshot_seconds: How long the latest snapshot took.
        pause_seconds: How long the process stood still for it.
    """

    worker: Worker
    alive: bool
    seen_at: datetime
    visits: int = 0
    snapshots: int = 0
    errors: int = 0
    service: str | None = None
    version: str | None = None
    engine: Engine | None = None
    memory: Memory | None = None
    snapshot_seconds: float | None = None
    pause_seconds: float | None = None


class Live(NamedTuple):
    """Live memory of one traceback.

    Attributes:
        endpoint: Endpoint it was born under; ``None`` where the tracer does not know.
        traceback: Frames, outermost first.
        bytes: Live bytes.
        blocks: Live blocks.
    """

    endpoint: str | None
    traceback: Traceback
    bytes: int
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The live memory of one worker at one snapshot.

    Attributes:
        worker: The process.
        snapshot: Id of the snapshot.
        taken_at: Aware UTC.
        sample_bytes: Mean bytes between two samples; ``None`` for an exact tracer.
        rows: Most bytes first.
    """

    worker: Worker
    snapshot: str
    taken_at: datetime
    sample_bytes: int | None
    rows: tuple[Live, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Growth between two snapshots, by endpoint and by site, most growth first."""

    older: Snapshot
    newer: Snapshot
    endpoints: tuple[Growth, ...]
    sites: tuple[Growth, ...]


class Collections(NamedTuple):
    """What the collections of one generation have taken and brought.

    Attributes:
        generation: Its number; 2 is the whole heap.
        times: How many there were.
        seconds: All of them together.
        longest_seconds: The longest one.
        collected: Objects they freed.
        uncollectable: Objects they found and could not free.
    """

    generation: int
    times: int
    seconds: float
    longest_seconds: float
    collected: int
    uncollectable: int


class Collecting(NamedTuple):
    """The collections of this process.

    Attributes:
        since: When counting began.
        generations: One for each generation.
        endpoints: Those of each endpoint's visits, by its name; ``None`` where visits are not
            followed. What is ``None`` in there had no name at the time.
    """

    since: datetime
    generations: tuple[Collections, ...]
    endpoints: Mapping[str | None, tuple[Collections, ...]] | None


class CycleGroup(NamedTuple):
    """Cycles of garbage with the same types in them.

    Attributes:
        types: Objects in the cycles by the name of their type, most first.
        types_left_out: Types that are not named.
        cycles: How many there are.
        objects: Objects in them.
        hanging_objects: Objects that only they keep, and that are in no cycle.
        bytes: Of all these, and of what nothing else refers to.
        finalizers: Names of those types among them that have a ``__del__``.
        uncollectable: Names of the types among them whose objects no collection frees; ``None``
            where that cannot be told.
        frozen_objects: Objects in the cycles that ``gc.freeze()`` has put aside.
        kept_objects: Objects in the cycles that ``gc.garbage`` holds.
        births: Where objects in the cycles were born and how many are known to have been, most
            first.
    """

    types: tuple[tuple[str, int], ...]
    types_left_out: int
    cycles: int
    objects: int
    hanging_objects: int
    bytes: int
    finalizers: tuple[str, ...]
    uncollectable: tuple[str, ...] | None
    frozen_objects: int
    kept_objects: int
    births: tuple[tuple[Frame, int], ...]


class Cycles(NamedTuple):
    """The garbage that was found by reachability.

    Attributes:
        objects: All that nothing alive refers to.
        bytes: Of them, and of what nothing else refers to.
        groups: Cycles by the types in them, most bytes first.
        groups_left_out: Groups that are not listed.
        cycles_left_out: Cycles in those.
    """

    objects: int
    bytes: int
    groups: tuple[CycleGroup, ...]
    groups_left_out: int
    cycles_left_out: int


class Inspection(NamedTuple):
    """A look for cycles.

    Attributes:
        found: What it found.
        seconds: How long it took.
        pause_seconds: How long the process stood still for it.
    """

    found: Cycles
    seconds: float
    pause_seconds: float


class Waiting(NamedTuple):
    """Garbage that a collection of one generation would free, and of no younger one.

    Attributes:
        objects: Objects.
        bytes: Of them, and of what nothing else refers to.
    """

    objects: int
    bytes: int


class Container(NamedTuple):
    """A container of the app.

    Attributes:
        path: Its name.
        kind: ``dict``, ``list``, ``lru_cache`` …
        length: Entries.
        cap: Entries that it will not exceed; ``None`` if nothing says so.
        grown: Entries more than at the last look; ``None`` if it was not seen then.
    """

    path: str
    kind: str
    length: int
    cap: int | None
    grown: int | None


class Kind(NamedTuple):
    """The objects of one type.

    Attributes:
        name: Of the type.
        objects: How many there are.
        bytes: Their own, without what they refer to.
    """

    name: str
    objects: int
    bytes: int


class Holdings(NamedTuple):
    """What was seen in a walk through the heap.

    Attributes:
        objects: That the collector walks through.
        containers: Those that grew most since the last walk, then the longest.
        types: Those with most bytes.
        findings: What grows, with what holds it.
        seconds: How long it took.
        pause_seconds: How long the process stood still for it; ``None`` where the walk was taken
            in the process itself, a little at a time.
    """

    objects: int
    containers: tuple[Container, ...]
    types: tuple[Kind, ...]
    findings: tuple[Finding, ...]
    seconds: float
    pause_seconds: float | None


class Request(NamedTuple):
    """A request to the admin API of one worker.

    Attributes:
        method: ``GET`` or ``POST``.
        path: Below the admin path, such as ``/api/gc``.
        query: As in an address, without the question mark.
    """

    method: str
    path: str
    query: str = ""


class Reply(NamedTuple):
    """The answer to it.

    Attributes:
        status: As in HTTP.
        body: JSON.
    """

    status: int
    body: str

    @classmethod
    def refusal(cls, status: int, code: str, message: str) -> Reply:
        """Return an error as the API words it."""
        return cls(status, json.dumps({"error": {"code": code, "message": message}}))


class Heap(Protocol):
    """What may be asked of the heap; answered in a forked child.

    Each raises ``SnapshotError`` where memory, time or the platform do not allow it now.
    """

    def cycles(self) -> Inspection:
        """Find cyclic garbage without collecting it."""

    def holdings(self) -> Holdings:
        """Walk the heap for what holds what grows."""

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the garbage of each generation."""

    def referrers(self) -> Mapping[str, Mapping[str, int]]:
        """Return by type of what ``gc.garbage`` holds how often which types refer to it."""


class SnapshotError(Exception):
    """A snapshot could not be taken; the message says why and what to do."""


class Failure(NamedTuple):
    """An error of leakmw's own, without the frames and values that the exception holds on to.

    Attributes:
        where: The step that failed: ``endpoint``, ``snapshot``, ``report``, ``log`` …
        kind: Type name of the exception, or of what it is derived from: a name that was made at
            run time may be a value of the app.
        message: What may be shown: the words of our own errors and of the operating system. The
            text of any other exception may hold the app's values.
        place: ``module:line`` where it was raised.
    """

    where: str
    kind: str
    message: str | None
    place: str | None

    @classmethod
    def of(cls, where: str, error: BaseException) -> Failure:
        """Describe *error*, keeping nothing of it."""
        message = None
        if isinstance(error, SnapshotError):
            message = str(error)
        elif isinstance(error, OSError) and error.errno is not None:
            message = os.strerror(error.errno)
        return cls(where, kind_of(error), message, _place(error.__traceback__))


def kind_of(error: BaseException) -> str:
    """Return the name of the nearest class of an exception that a module has under that name."""
    for kind in _mro_of(type(error)):
        name, namespace = _name_of(kind), _module_of(kind)
        if _is_source(namespace) and namespace.get(name) is kind:
            return name
    return "BaseException"


# The getters of ``type`` itself, which no metaclass can override.
_mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_name_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module_name_of: Callable[[type], object] = type.__dict__["__module__"].__get__


def _module_of(kind: type) -> Mapping[str, Any]:
    """Return the names in the module that a class says it is of; none if it says nothing."""
    try:
        name = _module_name_of(kind)
    except AttributeError:
        return {}
    module = sys.modules.get(name) if type(name) is str else None
    return vars(module) if type(module) is ModuleType else {}


def _place(traceback: TracebackType | None) -> str | None:
    """Return module and line where an exception was raised."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return None
    namespace = traceback.tb_frame.f_globals
    module = namespace.get("__name__") if _is_source(namespace) else "…"
    return f"{module}:{traceback.tb_lineno}"


def _is_source(namespace: Mapping[str, Any]) -> bool:
    """Say whether a module has a name that was not made at run time: a file's, or Python's."""
    name = namespace.get("__name__")
    return name in {"__main__", "builtins"} or isinstance(namespace.get("__file__"), str)


Born = Callable[[object, int], str | None]
"""Says whose an object is, by fingerprint, from it and the address of a block of its memory;
``None`` where nobody asks for it."""


class Births(NamedTuple):
    """What tells whose an object is.

    Attributes:
        of: Says it.
        by_block: Whether by the block, so that all blocks of an object may tell.
        begin: To be called first, in a copy of the process and nowhere else.
        told: Whether anything is known of births at all.
    """

    of: Born
    by_block: bool
    begin: Callable[[], object] = bool
    told: bool = True


Wanted = Mapping[tuple[str, int], Mapping[str, str]]
"""The findings that are asked for: by file and line of birth, then fingerprint by endpoint."""


class Tracer(Protocol):
    """What knows which blocks are alive and where they were born."""

    def start(self) -> None:
        """Begin tracing; safe to call again, also after a fork."""

    def stop(self) -> None:
        """Stop what this tracer itself started, nothing else."""

    def ease(self, part: float) -> None:
        """Keep to so much of its budget, above 0 and at most 1, until told otherwise."""

    def trace(
        self,
        views: frozenset[str],
        mark: Callable[[], int],
        digest: Callable[[Trace], Any] | None = None,
    ) -> Trace:
        """Return live memory by origin.

        Args:
            views: Files in which the app's views stand: they are the app's own wherever they lie.

            mark: Counts visits and returns their number. It may be called at any time; the last
                call is at the very moment that the trace shows.

            digest: Plain computing on the trace, done where the rows are grouped: off the app's
                back if that is a forked child.

        Raises:
            SnapshotError: If memory, time or the platform do not allow it now.
        """

    def born(self, thing: object) -> Frame | None:
        """Return the app's own line in which *thing* was born; ``None`` where it is not known.

        It may be asked in a forked child.
        """

    def births(self, wanted: Wanted, views: frozenset[str]) -> Births:
        """Return what tells whose an object is.

        Args:
            wanted: The findings that are asked for.

            views: Files in which the app's views stand.
        """

    def engine(self) -> Engine:
        """Describe the tracer and the memory that it holds."""

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of its figures must know, in plain sentences."""

    @property
    def child_cpu_seconds(self) -> float:
        """CPU time that its forked children have used."""

    @property
    def hook_cpu_seconds(self) -> float:
        """CPU time that it has used on the app's own threads, as far as it is known."""

    @property
    def least_visits(self) -> int:
        """Visits between two traces that keep its cost within its share."""


class Monitored(Protocol):
    """What the admin service may ask of the monitor of this worker."""

    def own_report(self) -> Report | None:
        """Return the latest report on this worker alone."""

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return every worker of this app on this host that is known, those alive first."""

    def profiles(self, timeout: float) -> tuple[Profile, ...]:
        """Return the latest profile of each live worker.

        Raises:
            SnapshotError: If they cannot be read, or not within *timeout* seconds.
        """

    def ask(self, workers: str, request: Request, timeout: float) -> Mapping[Worker, Reply] | None:
        """Return the answers of other workers to a request; ``None`` if *workers* is this one.

        Raises:
            KeyError: If no worker that *workers* stands for lives.

            SnapshotError: If there is no answer, or not within *timeout* seconds.
        """

    def serve(self, answer: Callable[[Request], Reply]) -> None:
        """Have *answer*, a bound method that is only held weakly, answer other workers."""

    def report(self) -> Report | None:
        """Return the latest report on all workers."""

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the snapshots kept, oldest first."""

    def take_snapshot(self, timeout: float) -> Snapshot:
        """Take one now; callers that come while one is under way get the same.

        Raises:
            SnapshotError: If it cannot be taken, or not within *timeout* seconds.
        """

    def diff(self, older: str, newer: str) -> Diff:
        """Compare two kept snapshots by their ids.

        Raises:
            KeyError: If one of them is not kept.
            SnapshotError: If they cannot be compared.
        """

    def collecting(self) -> Collecting | None:
        """Return what collections have taken; ``None`` where nobody counts them."""

    def births(self, things: Sequence[object]) -> Sequence[Frame | None]:
        """Return where each of *things* was born; ``None`` where it is not known."""

    def look(self, question: Callable[[Heap], Answer], timeout: float) -> Answer:
        """Ask the heap; callers that ask the same while that is under way get the same answer.

        Raises:
            SnapshotError: If it cannot be told, or not within *timeout* seconds.
        """


EndpointNamer = Callable[[Mapping[str, Any]], str | None]
"""The user's own naming of a visit, from its environ or scope."""
