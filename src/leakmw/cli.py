"""The command ``leakmw``."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = 2
"""Exit status of a command that cannot be run as it was given or where it was given."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""

DEMO_EXTRA = ("httpx", "rich", "uvicorn")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; those of the process when left out.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    try:
        status: int = options.command(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leakmw", description="Name the endpoint and the line of a memory leak."
    )
    parser.add_argument("--version", action="version", version=f"leakmw {version('leakmw')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="serve a leaky shop, send it traffic and print the report",
        description="Serve a leaky shop on this machine, send it traffic and print the report. "
        "Exit status: 0 if the leaking endpoint was found, 1 if not, 2 if the demo cannot run.",
    )
    demo.add_argument("--json", action="store_true", help="print the report as JSON")
    demo.add_argument(
        "--healthy",
        action="store_true",
        help="switch the leak off; exit status 1 then means that something was suspected",
    )
    demo.add_argument(
        "--requests",
        type=_count,
        metavar="N",
        help="how many requests to send (default: as many as it takes; few may not do)",
    )
    demo.set_defaults(command=_demo)
    doctor = commands.add_parser(
        "doctor",
        help="look whether this Python can do all that leakmw needs",
        description="Look whether this Python can do all that leakmw needs, and say what to do. "
        "Exit status: 0 if all is well, 1 if not.",
    )
    doctor.add_argument("--json", action="store_true", help="print what was found as JSON")
    doctor.set_defaults(command=_doctor)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in DEMO_EXTRA if find_spec(name) is None]
    if missing:
        return _fail(f"{', '.join(missing)} missing; run: pip install 'leakmw[demo]'", USAGE)
    from leakmw.demo.process import ServerError
    from leakmw.demo.run import run

    try:
        return run(requests=options.requests, healthy=options.healthy, as_json=options.json)
    except ServerError as error:
        return _fail(str(error), 1)


def _doctor(options: argparse.Namespace) -> int:
    from leakmw.doctor import examine

    checks = examine()
    if options.json:
        print(json.dumps([check._asdict() for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok' if check.good else 'bad':4}{check.name:8}{check.found}")
            if check.remedy:
                print(f"            {check.remedy}")
    return 0 if all(check.good for check in checks) else 1


def _fail(message: str, status: int) -> int:
    print(f"leakmw demo: {message}", file=sys.stderr)
    return status
