"""How big the process is, and how much room its limits leave."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

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
    return Memory(rss_bytes=rss_bytes(), limit_bytes=limit_bytes())


def rss_bytes() -> int | None:
    """Return the resident memory of this process, ``None`` where the platform refuses."""
    try:
        rss: int = _process(os.getpid()).memory_info().rss
    except psutil.Error:
        return None
    return rss


def limit_bytes(root: Path = CGROUP, membership: Path = PROC_CGROUP) -> int | None:
    """Return the tightest cgroup limit of this process in bytes, v2 or v1.

    Args:
        root: Where cgroups are mounted.

        membership: The file that says which cgroup the process is in.
    """
    return min((limit for *_, limit in _limits(root, membership)), default=None)


def room_bytes(root: Path = CGROUP, membership: Path = PROC_CGROUP) -> int:
    """Return how many bytes more this process may take, by its cgroups and by the host."""
    rooms = [
        limit - used + _reclaimable(use.parent)
        for use, limit in _limits(root, membership)
        if (used := _number(use)) is not None
    ]
    return max(0, min([psutil.virtual_memory().available, *rooms]))


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
