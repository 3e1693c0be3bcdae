"""Real servers as child processes, and the CPU time that they use."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psutil

from leakmw.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

APPS = Path(__file__).parent / "apps"
VARIANT = "BENCHMARK_VARIANT"
"""Tells an app which of the compared variants it is to be."""

PATIENCE_SECONDS = 300
"""How long a server may take to start or to end: under valgrind it is slow."""

TOKEN = "benchmark" * 4
"""Lets us ask leakmw."""

NO_SETTINGS: Mapping[str, object] = MappingProxyType({})

WORKERS = 16
"""Of a fleet."""

_GUNICORN = ("gunicorn", "--log-level", "warning", "--keep-alive", "600")
_UVICORN = ("uvicorn", "--timeout-keep-alive", "600")
_SILENT = ("--log-level", "warning", "--no-access-log")
_PURE = ("--loop", "asyncio", "--http", "h11")
_COMPILED = ("--loop", "uvloop", "--http", "httptools")

COMMANDS = {
    "gunicorn sync": _GUNICORN,
    "gunicorn gthread": (*_GUNICORN, "--threads", "4"),
    # without a timeout, as it may be stopped for a while
    "gunicorn fleet": (*_GUNICORN, "--workers", str(WORKERS), "--timeout", "0"),
    "uvicorn": (*_UVICORN, *_SILENT, *_PURE),
    "uvicorn[standard]": (*_UVICORN, *_SILENT, *_COMPILED),
    "uvicorn with its access log": (*_UVICORN, *_PURE),  # as it is unless told otherwise
}
"""Servers, with one worker but for the last of gunicorn, by what their users call them."""


CORES = sorted(os.sched_getaffinity(0))
"""The client has the first one, the server the last."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        process: The server itself; workers are its children.
        address: Where it listens.
    """

    process: psutil.Popen
    address: tuple[str, int]

    def asked(self, path: str, method: str = "GET") -> Any:
        """Return what leakmw's API answers; the app has ``TOKEN`` among its settings."""
        request = urllib.request.Request(
            "http://{}:{}/__leaks__/api/{}".format(*self.address, path),
            method=method,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def family(self) -> list[psutil.Process]:
        """Return the server and its workers."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes, those that have ended included."""
        return sum(_own_cpu_seconds(one.pid) + _ended_cpu_seconds(one) for one in self.family())


@contextmanager
def serving(
    kind: str,
    app: str,
    variant: str,
    settings: Mapping[str, object] = NO_SETTINGS,
    *,
    under: Sequence[str] = (),
) -> Iterator[Server]:
    """Serve an app for the time of a block.

    Args:
        kind: One of ``COMMANDS``.

        app: A module in ``apps``.

        variant: What the app is to be.

        settings: leakmw's, by name.

        under: A command to run the server under.
    """
    address = ("127.0.0.1", _free_port())
    bind = "--bind={}:{}" if kind.startswith("gunicorn") else "--host={} --port={}"
    command = [*COMMANDS[kind], *bind.format(*address).split(), f"{app}:app"]
    with _running([*under, sys.executable, "-m", *command], variant, settings) as process:
        _await(process, address)
        yield Server(process, address)


@contextmanager
def _running(
    command: Sequence[str], variant: str, settings: Mapping[str, object]
) -> Iterator[psutil.Popen]:
    given = environment(variant, settings)
    with on_core(CORES[-1]), tempfile.TemporaryFile() as log:  # which what it starts inherits
        process = psutil.Popen(command, cwd=APPS, env=given, stdout=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run on one core for the time of a block: to move to another costs more than a visit."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


STORES = tempfile.TemporaryDirectory(prefix="leakmw-stores-")
"""Where the apps keep their histories."""


def environment(variant: str, settings: Mapping[str, object]) -> Mapping[str, str]:
    """Return the environment in which an app is *variant*, with no settings but these."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    # each app has a history of its own
    own = {"store": f"{tempfile.mkdtemp(dir=STORES.name)}/store.db"}
    given = {f"{PREFIX}{name.upper()}": str(value) for name, value in {**own, **settings}.items()}
    return inherited | given | {VARIANT: variant, "PYTHONHASHSEED": "0"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _await(process: psutil.Popen, address: tuple[str, int]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"the server did not start: {' '.join(process.args)}")


def _own_cpu_seconds(pid: int) -> float:
    """Read the clock of a process, which counts nanoseconds where /proc counts hundredths."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(pid)
    return time.clock_gettime(clock.value)


def _ended_cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    ended: float = times.children_user + times.children_system
    return ended
