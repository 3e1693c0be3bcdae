"""A thousand forks of a process with files, sockets, databases and locks open: no harm done."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import forked

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="nothing is forked here")

FORKS = 1000
NEEDED = "REQUIRE_TOOLS"
"""Set where a missing PostgreSQL is a failure and not a reason to skip."""

_DEBIANS = "usr/lib/postgresql/*/bin"
"""Where its package has the programs, most of which are on no path."""


def _server_user() -> pwd.struct_passwd | None:
    """Return who runs the server, which refuses to be run by root; ``None``: whoever this is."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.fail("PostgreSQL does not run as root, and there is neither postgres nor nobody")


class Server:
    """A PostgreSQL of its own, on a socket in a folder of its own."""

    def __init__(self, folder: Path, initdb: str) -> None:
        self._folder = folder
        self._bin = Path(initdb).resolve().parent
        self._user = _server_user()
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self.log = folder / "log"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), "--pgdata", str(self._folder / "data"), *arguments]
        user = self._user
        who: dict[str, Any] = {}
        if user is not None:
            who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        subprocess.run(command, cwd=self._folder, stdout=subprocess.DEVNULL, check=True, **who)

    def start(self) -> str:
        """Start it; return what connects to it."""
        self._run("initdb", "--username=shop", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = f"-k {self._folder} -h '' -F"
        self._run("pg_ctl", "--wait", "--log", str(self.log), "--options", options, "start")
        return f"host={self._folder} user=shop dbname=postgres"

    def stop(self) -> None:
        """Stop it."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")


@pytest.fixture(name="postgres")
def _postgres() -> Iterator[tuple[str, Server]]:
    """Return what connects to a PostgreSQL, and that."""
    folders = [os.environ.get("PATH", ""), *map(str, Path("/").glob(_DEBIANS))]
    initdb = shutil.which("initdb", path=os.pathsep.join(folders))
    if initdb is None:
        if os.environ.get(NEEDED):
            pytest.fail("there is no PostgreSQL")
        pytest.skip("there is no PostgreSQL")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: the name of a socket is, too
    try:
        server = Server(folder, initdb)
        address = server.start()
        yield address, server
        server.stop()
    finally:
        shutil.rmtree(folder)


MAIN = "inherited.say(*sys.argv[1:])"
USUAL = f"import sys; from tests.apps import inherited; {MAIN}"


def forked_often(*arguments: object, code: str = USUAL) -> dict[str, Any]:
    """Return what a process saw that forked so often."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # a look that was declined is said
    said = [one for one in done.stderr.splitlines() if not one.startswith("leakmw.self_error ")]
    assert (done.returncode, said) == (0, [])
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def untouched(seen: dict[str, Any], forks: int) -> None:
    """Assert that nothing of the app was touched, and that each look came to its end."""
    said: dict[str, int] = seen["said"]
    declined = sum(count for name, count in said.items() if name.startswith("declined: "))
    assert sum(said.values()) == forks
    # a lock of the C library may hang a child, which costs one look
    assert declined <= forks // 50, said
    assert seen["told"] == 0
    assert (seen["heard"], seen["socket"]) == ("", "bye")
    assert seen["files"] == ["what the app wrote, once\n"] * 2
    assert seen["locked"] is True
    assert seen["sqlite"] == [[[1], [2]], "ok"]
    assert seen["children"] == 0


def test_forks_leave_all_that_is_open_alone(tmp_path: Path, postgres: tuple[str, Server]) -> None:
    """Finalizers, hooks, files, sockets, two databases in a transaction, threads with locks."""
    address, server = postgres
    seen = forked_often(tmp_path, FORKS, address)
    untouched(seen, FORKS)
    assert seen["postgres"] == [[1], [2]]
    log = server.log.read_text("utf-8")
    assert not [line for line in log.splitlines() if _is_complaint(line)]


def _is_complaint(line: str) -> bool:
    return any(word in line for word in ("ERROR", "FATAL", "PANIC", "WARNING", "unexpected"))


def test_forks_leave_what_is_open_alone_without_a_server(tmp_path: Path) -> None:
    """The same on a machine without PostgreSQL, not as often."""
    untouched(forked_often(tmp_path, 80), 80)


GUILTY = f"""
import atexit, ctypes, os, sys, warnings
from leakmw import forked
from tests.apps import inherited

def run(task, mark, *, seconds, memory_bytes):
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        atexit._run_exitfuncs()
        ctypes.CDLL(None).exit(0)
    os.waitpid(child, 0)
    raise forked.ChildError("it was forked as Python does")

forked.run = run
{MAIN}
"""


def test_a_fork_as_python_does_it_would_be_told(tmp_path: Path) -> None:
    """Its hooks run, those at the end of a process too, and what C has not written yet is."""
    seen = forked_often(tmp_path, 1, code=GUILTY)
    assert seen["told"] > 3
    assert seen["files"][1] == "what the app wrote, once\n" * 2
    ((said, _),) = seen["said"].items()
    assert said.endswith("it was forked as Python does")
