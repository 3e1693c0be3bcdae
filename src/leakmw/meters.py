"""How big the process is, and how much room its limits leave."""

from __future__ import annotations

import os
import resource
import socket
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from leakmw.records import Memory, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CGROUP = Path("/sys/fs/cgroup")
PROC_CGROUP = Path("/proc/self/cgroup")
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


def memory() -> Memory:
    """Read what is cheap to read; what no meter here can tell apart stays ``None``."""
    limit = tightest()
    return Memory(
        rss_bytes=rss_bytes(),
        limit_bytes=limit.bytes,
        limit_kind=limit.kind,
        used_bytes=limit.used,
        room_bytes=limit.room,
    )


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
