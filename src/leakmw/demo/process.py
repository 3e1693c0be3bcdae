"""Starts the shop in a process of its own and ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from leakmw.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS = 10
"""After which a server that was asked to end is killed."""

ENDING_SECONDS = 1
"""How long a server that no longer answers is given to end."""


class ServerError(Exception):
    """The shop did not start, or stopped answering; the message says why."""


@contextmanager
def serving(settings: Mapping[str, object], *, leaky: bool) -> Iterator[str]:
    """Serve the shop as long as the block runs.

    Args:
        settings: leakmw's, by name; those of the user's shell do not reach the demonstration.

        leaky: Whether the shop leaks.

    Yields:
        Its URL.

    Raises:
        ServerError: If it does not start.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
    }
    environment |= {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
    environment["SHOP_LEAKS"] = str(int(leaky))
    with tempfile.TemporaryFile("w+") as said:
        process = _start(environment, said)
        try:
            yield f"http://127.0.0.1:{_port(process)}"
        except ServerError as error:
            raise _why_ended(process, said) or error from error
        finally:
            _end(process)


def _start(environment: Mapping[str, str], said: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # this Python, this package
        [sys.executable, "-P", "-m", "leakmw.demo.server"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        start_new_session=True,  # Ctrl-C is for the caller, who ends it in order
    )


def _port(process: subprocess.Popen[str]) -> int:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise ServerError("the shop did not start")
    return int(line)


def _why_ended(process: subprocess.Popen[str], said: IO[str]) -> ServerError | None:
    """Return what the process ended with, if it did."""
    try:
        status = process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    said.seek(0)
    last = (said.read().splitlines() or ["it said nothing"])[-1]
    return ServerError(f"the shop ended with status {status}: {last}")


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=PATIENCE_SECONDS)  # closes its input: the sign to end
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
