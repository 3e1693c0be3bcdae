"""Whom a command asks: a running endpoint by HTTP, or the store of the app on this host."""

from __future__ import annotations

import os
import re
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from leakmw.shell.ending import USAGE, EndingError
from leakmw.shell.remote import TIMEOUT, TOKEN, HttpSource

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from leakmw.shell.asking import Source

STORE = "LEAKMW_STORE"

_WORKER = re.compile(r"([^:\s]+:)?[1-9][0-9]{0,9}", re.ASCII)


def offer(parser: ArgumentParser) -> None:
    """Add the options that say whom to ask."""
    group = parser.add_argument_group("whom to ask")
    group.add_argument(
        "--url",
        metavar="URL",
        help="a running app's admin endpoint, such as http://127.0.0.1:8000/__leaks__; "
        "without a path /__leaks__ is meant",
    )
    group.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"its token; better in {TOKEN}, where other users of this host do not see it",
    )
    group.add_argument(
        "--store",
        metavar="FILE",
        help=f"the store of the app on this host (default: {STORE}, else the one that is found)",
    )
    group.add_argument("--service", metavar="NAME", help="the app, where several have a store")
    parser.set_defaults(timeout=TIMEOUT)


def offer_worker(parser: ArgumentParser, what: str) -> None:
    """Add the option that names a worker; *what* is asked of it."""
    parser.add_argument(
        "--worker", type=_worker, metavar="WORKER", help=f"{what}: its pid, or host:pid"
    )


def worker(options: Namespace) -> Mapping[str, str]:
    """Return the query that names the worker which *options* do."""
    return {} if options.worker is None else {"worker": options.worker}


def _worker(text: str) -> str:
    if text != "all" and not _WORKER.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no worker: use a pid, or host:pid")
    return text


def chosen(options: Namespace) -> Source:
    """Return whom *options* name.

    Raises:
        EndingError: If they name nobody, or contradict each other.
    """
    if options.url is None:
        return _stored(options)
    if options.store is not None or options.service is not None:
        raise EndingError("give --url or a store, not both", USAGE)
    return HttpSource(options.url, options.token or os.environ.get(TOKEN), options.timeout)


def _stored(_options: Namespace) -> Source:
    raise EndingError(
        "this version keeps history in each worker alone, so there is no store to read: "
        f"ask a running app with --url and its token in {TOKEN}",
        USAGE,
    )
