"""Workers of real servers that end, in order or not, hundreds of times under load.

python tests/torture/fleets.py [--ends 200] [--only recycled-sync killed ...] [--seed 7]

The app leaks at one endpoint. Whatever ends: each answer is the app's own, each report says the
leak from when it was called one, that is said once, the visits that are known never get fewer,
and in between each live worker is known to whichever is asked. Exits with 1 if it is not so.
"""

from __future__ import annotations

import argparse
import http.client
import random
import re
import sqlite3
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.test_fleet import (
    FLEETS,
    GUNICORN,
    WORKERS,
    answered,
    confirmed,
    fleet,
    master,
    visits,
    visits_told,
)
from tests.test_servers import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.test_servers import Server

CLIENTS = 8
ROUND = 400
"""Requests between two looks."""

LIFE = ("--max-requests", "300", "--max-requests-jitter", "100")
PATIENCE_SECONDS = 60.0
"""In which a new worker must be known to all others."""

LONGEST_LIFE = 0.5
"""Seconds between two kills, at most."""


class Load(NamedTuple):
    """A fleet, and how its workers end."""

    command: Command
    killed: bool = False


LOADS = {
    "recycled-sync": Load(Command((*GUNICORN, *LIFE), "wsgi_shop")),
    "recycled-gthread": Load(Command((*GUNICORN, *LIFE, "--threads", "2"), "wsgi_shop")),
    "recycled-preload": Load(Command((*GUNICORN, *LIFE, "--preload"), "wsgi_shop")),
    "killed": Load(FLEETS["gthread"], killed=True),
}


def ask(server: Server, number: int) -> int | None:
    """Make a request by a connection of its own; ``None`` if its worker ended meanwhile."""
    with closing(http.client.HTTPConnection(*server.address, timeout=60)) as connection:
        try:
            if number % 2:
                connection.request("POST", f"/carts/{number}")
            else:
                connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return None
        return response.status


def end_some(workers: psutil.Process, chance: random.Random, seconds: float) -> None:
    """Kill workers by chance for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        alive = [one for one in workers.children() if one.status() != psutil.STATUS_ZOMBIE]
        if alive:
            chance.choice(alive).kill()


class Watch:
    """What is seen of a fleet from round to round."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.problems: list[str] = []
        self.refused = 0
        self.took: float | None = None
        self._folder = folder
        self._told = 0
        self._parent = psutil.Process(master(server))

    @property
    def ended(self) -> int:
        """How many workers that were started live no more."""
        started = re.findall(r"Booting worker with pid: (\d+)", self.server.log.read_text())
        return len({*map(int, started)} - self._children())

    def round(self, chance: random.Random, *, killed: bool) -> None:
        """Make requests, and look."""
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            killing = pool.submit(end_some, self._parent, chance, 1.0) if killed else None
            for status in pool.map(lambda number: ask(self.server, number), range(ROUND)):
                self.refused += status is None
                if status not in ({200, None} if killed else {200}):
                    self.problems.append(f"a request was answered {status}")
            if killing:
                killing.result()
        self._look()

    def everyone_is_known(self) -> bool:
        """Say whether whoever is asked knows each worker that lives."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            known = {
                one["worker"]["pid"]
                for one in answered(self.server, "workers")["workers"]
                if one["alive"]
            }
            if known == self._children() and len(known) == WORKERS:
                return True
            ask(self.server, 0)
            time.sleep(0.1)
        return False

    def _children(self) -> set[int]:
        return {one.pid for one in self._parent.children()}

    def _look(self) -> None:
        before, self._told = self._told, visits_told(self._folder)
        if self._told < before:
            self.problems.append(f"{before:,} visits were known, and {self._told:,} after")
        lines = confirmed(self.server)
        if len(lines) > 1:
            self.problems.append(f"the leak was called one {len(lines)} times")
        if lines and self.took is None:
            self.took = visits(lines[0]) / WORKERS
        elif lines:
            findings = answered(self.server, "report")["findings"]
            leaks = {one["endpoint"] for one in findings if one["verdict"] == "leak"}
            if leaks != {self.server.command.leak}:
                self.problems.append(f"a report says of leaks: {leaks or 'nothing'}")


def under(name: str, ends: int, seed: int) -> Iterator[str]:
    """Yield what is not as it must be; print what was seen."""
    chance, load = random.Random(seed), LOADS[name]
    with (
        tempfile.TemporaryDirectory() as path,
        redirect_stdout(StringIO()),  # the servers' logs
        fleet(load.command, Path(path)) as server,
    ):
        watch, rounds = Watch(server, Path(path)), 0
        while watch.ended < ends and not watch.problems:
            watch.round(chance, killed=load.killed)
            rounds += 1
            if rounds % 8 == 0 and not watch.everyone_is_known():
                yield "a live worker is not known to the others"
        yield from watch.problems
        if watch.took is None:
            yield "the leak was never called one"
        if "leakmw.self_error" in server.log.read_text():
            yield "an error of leakmw's own was said"
        known = watch.everyone_is_known() and visits_told(Path(path))
        print(
            f"{name}: {watch.ended} workers ended in {rounds * ROUND:,} requests, of which "
            f"{watch.refused:,} fell with theirs; {known:,} visits are known; the leak was called "
            f"one after {watch.took} of its requests for each worker",
            file=sys.stderr,
        )
        with closing(sqlite3.connect(Path(path) / "store.db")) as store:
            if store.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                yield "the store is not whole"


def main() -> int:
    """Let workers end, and say what went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ends", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    problems = [
        f"{name}: {problem}"
        for name in asked.only
        for problem in under(name, asked.ends, asked.seed)
    ]
    print("\n".join(problems) or "nothing lost")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
