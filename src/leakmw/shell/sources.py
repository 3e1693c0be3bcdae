"""Whom a command asks: a running endpoint by HTTP, or the store of the app on this host."""

from __future__ import annotations

import os
import re
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from leakmw.shell.ending import UNREACHABLE, USAGE, EndingError
from leakmw.shell.remote import TIMEOUT, TOKEN, HttpSource

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping
    from pathlib import Path

    from leakmw.shell.asking import Source

STORE = "LEAKMW_STORE"
SERVICE = "LEAKMW_SERVICE"

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


def offer_worker(parser: ArgumentParser, what: str, *, every: bool = False) -> None:
    """Add the option that names a worker; *what* is asked of it, or of *every* one."""
    parser.add_argument(
        "--worker",
        type=_worker_or_all if every else _worker,
        metavar="WORKER",
        help=f"{what}: its pid, or host:pid" + (", or 'all' for each" if every else ""),
    )


def worker(options: Namespace) -> Mapping[str, str]:
    """Return the query that names the worker which *options* do."""
    return {} if options.worker is None else {"worker": options.worker}


def _worker_or_all(text: str) -> str:
    return text if text == "all" else _worker(text)


def _worker(text: str) -> str:
    if not _WORKER.fullmatch(text):
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


def _stored(options: Namespace) -> Source:
    """Return the store that *options*, the environment or the folder name.

    Raises:
        EndingError: If there is none, or several.
    """
    from leakmw.shell.stored import StoreSource

    return StoreSource(store(options), options.timeout)


def store(options: Namespace) -> Path:
    """Return the file that *options*, the environment or the folder name.

    Raises:
        EndingError: If there is none, or several.
    """
    from leakmw.store.files import SUFFIX, folder, located

    given = options.store or (None if options.service else os.environ.get(STORE))
    if given == "memory":
        raise EndingError(f"{STORE} is 'memory', so there is no store: {_INSTEAD}", USAGE)
    found = located(given, options.service or os.environ.get(SERVICE), os.environ)
    if found.exists():
        return found
    if given or options.service:
        raise EndingError(f"there is no store {found}: {_INSTEAD}", UNREACHABLE)
    every = sorted(folder(os.environ).glob(f"*{SUFFIX}"))
    if len(every) == 1:
        return every[0]
    if not every:
        raise EndingError(f"no store in {folder(os.environ)}: {_INSTEAD}", UNREACHABLE)
    names = ", ".join(str(file) for file in every)
    raise EndingError(f"several apps have a store; give one with --store: {names}", USAGE)


_INSTEAD = f"give another with --store, or ask a running app with --url and its token in {TOKEN}"
