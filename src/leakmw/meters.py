"""How big the process is, and how much room its limits leave."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from leakmw.records import Memory, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP = Path("/sys/fs/cgroup")
PROC_CGROUP = Path("/proc/self/cgroup")
UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 where there is no limit."""


def worker() -> Worker:
    """Describe this process."""
    process = psutil.Process()
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
        rss: int = psutil.Process().memory_info().rss
    except psutil.Error:
        return None
    return rss


def limit_bytes(root: Path = CGROUP, membership: Path = PROC_CGROUP) -> int | None:
    """Return the tightest cgroup limit of this process in bytes, v2 or v1.

    Args:
        root: Where cgroups are mounted.

        membership: The file that says which cgroup the process is in.
    """
    limits = [limit for limit, _ in _cgroups(root, membership)]
    return min(limits, default=None)


def room_bytes(root: Path = CGROUP, membership: Path = PROC_CGROUP) -> int:
    """Return how many bytes more this process may take, by its cgroups and by the host."""
    rooms = [limit - used for limit, used in _cgroups(root, membership)]
    return max(0, min([psutil.virtual_memory().available, *rooms]))


def _cgroups(root: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, use) of each cgroup above the process that has a limit."""
    for folder, limit_name, use_name in _folders(root, membership):
        limit, used = _number(folder / limit_name), _number(folder / use_name)
        if limit is not None and used is not None and limit < UNLIMITED:
            yield limit, used - _reclaimable(folder)


def _folders(root: Path, membership: Path) -> Iterator[tuple[Path, str, str]]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
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
        return int(file.read_text())
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
