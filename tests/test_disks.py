"""The store on disks that fill up, or can only be read: it says so and goes on when it can."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.test_fleet import FLEETS, fleet, said_of_the_store, until, visit, visits_told

from leakmw.store.database import Database
from leakmw.store.failure import StoreError
from leakmw.tracers import sampling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.test_servers import Server

DISK_BYTES = 512 << 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_BYTES},mode=0700"
    try:
        mounted = _done("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here")
    yield folder
    assert _done("umount", str(folder))


def _done(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _visit(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO visits VALUES ('GET /', '', 1) "
            "ON CONFLICT DO UPDATE SET visits = visits + 1"
        )


def _filled(disk: Path) -> Path:
    """Take all room that is left; return the file that does."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as other:
        while True:
            other.write(bytes(1024))
    assert shutil.disk_usage(disk).free == 0
    return filler


def _visits(database: Database) -> int:
    with database.reading() as connection:
        found: int = connection.execute("SELECT sum(visits) FROM visits").fetchone()[0]
    return found


def test_a_full_disk_takes_nothing_that_was_committed(disk: Path) -> None:
    """And with some room again, the store goes on."""
    database = Database(disk / "shop.db")
    _visit(database)
    filler = _filled(disk)
    confirmed = 1

    def fill() -> None:
        nonlocal confirmed
        for _ in range(DISK_BYTES):
            _visit(database)
            confirmed += 1

    with pytest.raises(StoreError, match=r"is full|look at the disk|fails"):
        fill()
    filler.unlink()
    assert _visits(database) == confirmed
    _visit(database)
    assert _visits(database) == confirmed + 1
    database.close()


def test_a_worker_that_starts_on_a_full_disk_lives(disk: Path) -> None:
    """Without a store, until there is room for one."""
    filler = _filled(disk)
    database = Database(disk / "shop.db")
    for _ in range(3):
        with pytest.raises(StoreError, match=r"is full|look at the disk|fails|cannot be opened"):
            _visit(database)
    filler.unlink()
    _visit(database)
    assert _visits(database) == 1
    database.close()


def test_a_disk_that_gets_read_only_is_said(disk: Path) -> None:
    """And once it can be written again, nothing is missing."""
    database = Database(disk / "shop.db")
    _visit(database)
    database.close()
    assert _done("mount", "-o", "remount,ro", str(disk))
    with pytest.raises(StoreError, match=r"cannot be (opened|written)|fails") as said:
        _visit(database)
    assert str(disk / "shop.db") in str(said.value)
    assert _done("mount", "-o", "remount,rw", str(disk))
    _visit(database)
    assert _visits(database) == 2
    database.close()


def _harmed(disk: Path, tmp_path: Path) -> Any:
    """Return a fleet whose store lies on the disk."""
    return fleet(FLEETS["gthread"], tmp_path, harmed=True, LEAKMW_STORE=str(disk / "store.db"))


def _reasons(server: Server) -> list[str]:
    """Return what was said of the store; each worker must have said it once."""
    said = said_of_the_store(server)
    assert len(dict(said)) == len(said)
    return [line for _, line in said]


needs_extension = pytest.mark.skipif(
    bool(sampling.unavailable()), reason="the extension is not built"
)


@needs_extension
def test_a_disk_that_fills_up_reaches_no_request(disk: Path, tmp_path: Path) -> None:
    """Every answer is the app's own; with some room again, all that was visited is told."""
    with _harmed(disk, tmp_path) as server:
        visit(server)
        until(lambda: visits_told(disk), lambda: visit(server))
        before, filler = visits_told(disk), _filled(disk)
        until(lambda: _reasons(server), lambda: visit(server))
        visit(server)
        filler.unlink()
        until(lambda: visits_told(disk) > before, lambda: visit(server))
        assert all("is full" in one or "look at the disk" in one for one in _reasons(server))


@needs_extension
def test_a_disk_that_is_read_only_reaches_no_request(disk: Path, tmp_path: Path) -> None:
    """Once it can be written, all that was visited is told."""
    assert _done("mount", "-o", "remount,ro", str(disk))
    with _harmed(disk, tmp_path) as server:
        visit(server)
        until(lambda: _reasons(server), lambda: visit(server))
        visit(server)
        # with room, so that there is nothing else to say
        assert _done("mount", "-o", "remount,rw,size=64m", str(disk))
        until(
            lambda: (disk / "store.db").exists() and visits_told(disk),
            lambda: visit(server),
        )
        _reasons(server)
