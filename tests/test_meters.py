"""How big the process is, and which limit it meets first."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from leakmw import meters

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _files_are_read_anew() -> None:
    """A process stays in its cgroup, so where its files are is looked up once."""
    meters._files.cache_clear()


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_of_nested_groups_the_one_with_least_room_counts(tmp_path: Path) -> None:
    """In cgroup v2 each level may have a limit, or say ``max``."""
    _write(tmp_path / "pod", memory__max=f"{100 * MIB}\n", memory__current=f"{80 * MIB}\n")
    _write(tmp_path / "pod/app", memory__max=f"{90 * MIB}\n", memory__current=f"{10 * MIB}\n")
    _write(tmp_path, memory__max="max\n", memory__current="1\n")
    member = tmp_path / "member"
    member.write_text("0::/pod/app\n")
    assert meters.tightest(tmp_path, member) == ("cgroup", 100 * MIB, 80 * MIB, 20 * MIB)
    assert meters.room_bytes(tmp_path, member) == 20 * MIB


def test_page_cache_that_the_kernel_gives_up_does_not_count(tmp_path: Path) -> None:
    """Only what cannot be reclaimed ends a container."""
    _write(
        tmp_path,
        memory__max=f"{100 * MIB}",
        memory__current=f"{90 * MIB}",
        memory__stat=f"anon 5\ninactive_file {60 * MIB}\n",
    )
    member = tmp_path / "member"
    member.write_text("0::/\n")
    assert meters.tightest(tmp_path, member) == ("cgroup", 100 * MIB, 30 * MIB, 70 * MIB)


def test_a_container_under_the_first_version_of_cgroups(tmp_path: Path) -> None:
    """Its own group is mounted at the root, whatever path the host knows it by."""
    _write(
        tmp_path / "memory",
        memory__limit_in_bytes=f"{64 * MIB}",
        memory__usage_in_bytes=f"{16 * MIB}",
        memory__stat=f"total_inactive_file {4 * MIB}\n",
    )
    member = tmp_path / "member"
    member.write_text("4:memory:/docker/abc\n0::/docker/abc\n3:cpu,cpuacct:/\n")
    assert meters.tightest(tmp_path, member) == ("cgroup", 64 * MIB, 12 * MIB, 52 * MIB)


@pytest.mark.parametrize("limit", ["max", str((1 << 63) - 4096), "nonsense"])
def test_without_a_limit_of_its_own_the_hosts_memory_is_one(tmp_path: Path, limit: str) -> None:
    """What is left of that is what all processes leave."""
    _write(tmp_path, memory__max=limit, memory__current="1000")
    member = tmp_path / "member"
    member.write_text("0::/\n")
    found = meters.tightest(tmp_path, member)
    assert (found.kind, found.bytes) == ("host", psutil.virtual_memory().total)
    assert 0 < found.room < found.bytes
    assert found.used == pytest.approx(meters.rss_bytes(), rel=0.2)


def test_a_platform_without_cgroups_has_the_hosts_memory(tmp_path: Path) -> None:
    """No file says which group it is."""
    assert meters.tightest(tmp_path, tmp_path / "nothing").kind == "host"


ADDRESS_SPACE = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, -1))
from leakmw import meters
limit = meters.tightest()
print(limit.kind, limit.bytes, limit.used + limit.room == limit.bytes, limit.used > 1 << 20)
"""


def test_a_limit_of_the_address_space_is_one() -> None:
    """``ulimit -v``, as some supervisors set it."""
    done = subprocess.run(
        [sys.executable, "-c", ADDRESS_SPACE], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["address-space", str(2 << 30), "True", "True"]
