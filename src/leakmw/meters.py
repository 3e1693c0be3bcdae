"""How big the process is, what that is made of, and how much room its limits leave."""

from __future__ import annotations

import math
import os
import resource
import socket
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from leakmw import allocators
from leakmw.records import Memory, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

CGROUP = Path("/sys/fs/cgroup")
PROC_CGROUP = Path("/proc/self/cgroup")
STATM = Path("/proc/self/statm")
ROLLUP = Path("/proc/self/smaps_rollup")
UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 where there is no limit."""


def worker() -> Worker:
    """Describe this process."""
    process = _process(os.getpid())
    return Worker(
        host=socket.gethostname(),
        pid=process.pid,
        started_at=datetime.fromtimestamp(process.create_time(), UTC),
    )


def lives(worker: Worker) -> bool | None:
    """Say whether a process lives; ``None`` if it is on another host."""
    if worker.host != socket.gethostname():
        return None
    try:
        found = psutil.Process(worker.pid)
        started = found.create_time()
        ended = found.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # not ours to look at, and so there
        return True
    # another process may have its number by now
    return not ended and abs(started - worker.started_at.timestamp()) < SAME_START_SECONDS


SAME_START_SECONDS = 1.0


class Meters:
    """Reads the meters, each only as often as it is cheap: what is not read is ``None``.

    Args:
        pools: Reads Python's own allocator: bytes of its arenas, used of them and free.
    """

    def __init__(self, pools: Callable[[], tuple[int, int, int] | None]) -> None:
        allocators.read()  # to find glibc takes longer than to ask it, and is no reading
        self._pools = allocators.Seldom(pools)
        self._c_heap = allocators.Seldom(allocators.read)
        self._rollup = allocators.Seldom(rollup)

    def memory(self) -> Memory:
        """Read all but the C heap."""
        limit, pages = tightest(), anonymous_and_shared()
        private = self._rollup()
        arenas, used, free = self._pools() or (None, None, None)
        return Memory(
            rss_bytes=rss_bytes(),
            pss_bytes=private and private[0],
            uss_bytes=private and private[1],
            anonymous_bytes=pages and pages[0],
            shared_bytes=pages and pages[1],
            python_bytes=used,
            python_free_bytes=free,
            python_arena_bytes=arenas,
            limit_bytes=limit.bytes,
            limit_kind=limit.kind,
            used_bytes=limit.used,
            room_bytes=limit.room,
        )

    def c_heap(self) -> Mapping[str, int]:
        """Read the C heap, while no other thread of Python runs; nothing if it is too early."""
        heap = self._c_heap()
        if heap is None:
            return {}
        return {"native_bytes": heap.used, "mapped_bytes": heap.mapped, "free_bytes": heap.free}


def anonymous_and_shared(statm: Path = STATM) -> tuple[int, int] | None:
    """Return what is resident of the process's own, and of files and shared memory; 10 µs.

    Args:
        statm: The file that the kernel tells it in.
    """
    try:
        resident, shared = (int(field) for field in statm.read_bytes().split()[1:3])
    except (OSError, ValueError):
        return None
    page = resource.getpagesize()
    return (resident - shared) * page, shared * page


def rollup(file: Path = ROLLUP) -> tuple[int, int] | None:
    """Return the proportional and the unique set size: after a fork pages are shared.

    The kernel looks at each page for it, which takes 20 ms per GiB, but stops nobody.

    Args:
        file: Where the kernel tells it.
    """
    try:
        lines = file.read_text("ascii").splitlines()[1:]
    except OSError:
        return None
    kib = {name: int(size.split()[0]) for name, size in (line.split(":") for line in lines)}
    try:
        return (
            kib["Pss"] << 10,
            kib["Private_Clean"] + kib["Private_Dirty"] + kib.get("Private_Hugetlb", 0) << 10,
        )
    except KeyError:
        return None


def rss_bytes() -> int | None:
    """Return the resident memory of this process, ``None`` where the platform refuses."""
    try:
        rss: int = _process(os.getpid()).memory_info().rss
    except psutil.Error:
        return None
    return rss


class Limit(NamedTuple):
    """What ends the process, or its container, when it grows.

    Attributes:
        kind: ``cgroup``, ``address-space`` or ``host``.
        bytes: The limit.
        used: What counts against it and grows with this process.
        room: What is left.
    """

    kind: str
    bytes: int
    used: int
    room: int


def tightest(root: Path = CGROUP, membership: Path = PROC_CGROUP) -> Limit:
    """Return the limit that leaves least room: a cgroup's, v2 or v1, ``RLIMIT_AS``, or the host's.

    Args:
        root: Where cgroups are mounted.

        membership: The file that says which cgroup the process is in.
    """
    limits = [*_cgroups(root, membership), *_address_space()]
    if limits:
        return min(limits, key=lambda limit: limit.room)
    host = psutil.virtual_memory()
    return Limit("host", host.total, rss_bytes() or 0, host.available)


def room_bytes(root: Path = CGROUP, membership: Path = PROC_CGROUP) -> int:
    """Return how many bytes more this process may take, by its limits and by the host."""
    return max(0, min(psutil.virtual_memory().available, tightest(root, membership).room))


def _cgroups(root: Path, membership: Path) -> Iterator[Limit]:
    for use, limit in _limits(root, membership):
        used = _number(use)
        if used is not None:
            used -= _reclaimable(use.parent)
            yield Limit("cgroup", limit, used, limit - used)


def _address_space() -> Iterator[Limit]:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        used = _process(os.getpid()).memory_info().vms
        yield Limit("address-space", soft, used, soft - used)


_OF_THE_LIMIT = ("limit_bytes", "limit_kind", "used_bytes", "room_bytes")


def summed(several: Sequence[Memory]) -> Memory:
    """Return what several processes take together, and the limit that leaves least room.

    A meter that one of them has not read is ``None``.
    """
    names = {field.name for field in fields(Memory)} - {*_OF_THE_LIMIT, "seconds_to_limit"}
    columns = {name: [getattr(one, name) for one in several] for name in names}
    tight = min(several, key=lambda one: math.inf if one.room_bytes is None else one.room_bytes)
    ends = [one.seconds_to_limit for one in several if one.seconds_to_limit is not None]
    return Memory(
        **{name: None if None in column else sum(column) for name, column in columns.items()},
        **{name: getattr(tight, name) for name in _OF_THE_LIMIT},
        seconds_to_limit=min(ends, default=None, key=lambda one: one.estimate),
    )


@cache
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)  # looks up when the process began


def _limits(root: Path, membership: Path) -> Iterator[tuple[Path, int]]:
    """Yield (file that tells the use, limit) of each cgroup above the process that has a limit."""
    for limit_file, use_file in _files(root, membership):
        limit = _number(limit_file)
        if limit is not None and limit < UNLIMITED:
            yield use_file, limit


@cache
def _files(root: Path, membership: Path) -> tuple[tuple[Path, Path], ...]:
    """Return the files of limit and use of each cgroup above the process: it stays in its own."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return ()
    return tuple(
        (folder / limit_name, folder / use_name)
        for folder, limit_name, use_name in _folders(root, lines)
    )


def _folders(root: Path, lines: Iterable[str]) -> Iterator[tuple[Path, str, str]]:
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        # inside a container the path is the host's, and the mount is already the container's own
        folder = base / path.lstrip("/")
        for level in (folder, *folder.parents):
            yield level, *names
            if level == base:
                break


def _number(file: Path) -> int | None:
    try:
        return int(file.read_bytes())
    except (OSError, ValueError):  # "max" says that there is no limit
        return None


def _reclaimable(folder: Path) -> int:
    """Return the page cache that the kernel drops before it kills anybody."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
