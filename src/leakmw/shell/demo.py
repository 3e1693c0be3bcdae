"""``leakmw demo``: a leaky shop, found while you wait."""

from __future__ import annotations

from argparse import ArgumentTypeError
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from leakmw.shell.ending import USAGE, EndingError

if TYPE_CHECKING:
    from argparse import Namespace

EXTRA = ("httpx", "rich", "uvicorn")
"""What it needs besides leakmw's own dependencies."""


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="serve a leaky shop, send it traffic and print the report",
        description="Serve a leaky shop on this machine, send it traffic and print the report. "
        "Exit status: 0 if the leaking endpoint was found, 1 if not, 2 if the demo cannot run.",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--healthy",
        action="store_true",
        help="switch the leak off; exit status 1 then means that something was suspected",
    )
    parser.add_argument(
        "--requests",
        type=_count,
        metavar="N",
        help="how many requests to send (default: as many as it takes; few may not do)",
    )
    parser.set_defaults(command=run, name="demo")


def run(options: Namespace) -> int:
    """Run the demonstration."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        command = "pip install 'leakmw[demo]'"
        raise EndingError(f"{', '.join(missing)} missing; run: {command}", USAGE)
    from leakmw.demo.process import ServerError
    from leakmw.demo.run import run as demonstrate

    try:
        return demonstrate(
            requests=options.requests, healthy=options.healthy, as_json=options.json
        )
    except ServerError as error:
        raise EndingError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
