"""The command ``leakmw``: its parser, and the one place where a command ends."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from leakmw.shell import (
    collector,
    completion,
    demo,
    doctor,
    heap,
    logs,
    report,
    scan,
    snapshots,
    top,
    workers,
)
from leakmw.shell.ending import BROKEN_PIPE, INTERRUPTED, EndingError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (demo, report, workers, top, snapshots, collector, heap, scan, logs, doctor, completion)
"""Modules that offer commands, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; those of the process when left out.

    Returns:
        The exit status.
    """
    try:
        options = parser().parse_args(argv)
        status = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is left in the buffer is nobody's; the interpreter would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(options: argparse.Namespace) -> int:
    try:
        status: int = options.command(options)
    except EndingError as ending:
        sys.stderr.write(f"leakmw {options.name}: {ending.message}\n")
        return ending.status
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    whole = argparse.ArgumentParser(
        prog="leakmw", description="Name the endpoint and the line of a memory leak."
    )
    whole.add_argument("--version", action="version", version=f"leakmw {version('leakmw')}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.offer(commands)
    return whole
