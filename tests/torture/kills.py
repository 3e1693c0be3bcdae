"""Workers that are killed while they write to the store: nothing that was committed may be lost.

python tests/torture/kills.py [--kills 200] [--workers 4] [--seed 7]

Each worker tells of one visit more, again and again, and notes in a journal what the store has
confirmed. One of them after the other gets SIGKILL at a moment of chance and is replaced. In the
end the store must know of each visit in the journals, of at most one more for each worker (told,
and killed before it was noted), and be whole. Exits with 1 if it is not so.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from leakmw import meters
from leakmw.records import (
    Engine,
    Frame,
    Live,
    Memory,
    Profile,
    Report,
    Window,
    Worker,
    WorkerStatus,
)
from leakmw.store.database import Database
from leakmw.store.failure import StoreError
from leakmw.store.shared import SharedStore, Told

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LONGEST_LIFE = 0.1
"""Seconds between two kills, at most."""

STACKS = 64
"""Rows of a profile: enough for a commit to take its time."""

fork = multiprocessing.get_context("fork")


def write(folder: Path, name: str) -> None:
    """Tell of one visit more until the end, and note what was confirmed."""
    started = datetime.now(UTC)
    worker = Worker(host=socket.gethostname(), pid=os.getpid(), started_at=started)
    shared = SharedStore(Database(folder / "store.db"), "version 1", meters.lives, tuple)
    with (folder / f"{name}.journal").open("ab", buffering=0) as journal:
        for number in count(1):
            told = _told(worker, number, name)
            while True:
                try:
                    shared.publish(told)
                    break
                except StoreError as error:
                    # as the app's own thread does: say it, and try again
                    with (folder / "errors").open("a") as errors:
                        errors.write(f"{error}\n")
            journal.write(b"%d\n" % number)


def _told(worker: Worker, number: int, name: str) -> Told:
    now = datetime.now(UTC)
    engine = Engine(name="sampling", frames=8)
    status = WorkerStatus(
        worker=worker, alive=True, seen_at=now, visits=number, snapshots=number, engine=engine
    )
    report = Report(
        id=f"{number:012x}",
        taken_at=now,
        service=None,
        version="1",
        worker=worker,
        engine=engine,
        window=Window(start=worker.started_at, end=now, visits=number, seconds=1.0),
        memory=Memory(),
    )
    rows = tuple(
        Live(name, (Frame(f"{name}.py", number + line),), 1000, 1) for line in range(STACKS)
    )
    profile = Profile(
        worker=worker, snapshot=f"{name}-{number}", taken_at=now, sample_bytes=2048, rows=rows
    )
    return Told(status, {name: number}, os.urandom(2000), report, profile)


def kill(folder: Path, kills: int, workers: int, seed: int) -> None:
    """Kill one worker after the other, and leave none behind."""
    chance = random.Random(seed)
    names = (f"worker-{number}" for number in count())

    def start() -> BaseProcess:
        process = fork.Process(target=write, args=(folder, next(names)), daemon=True)
        process.start()
        return process

    alive = [start() for _ in range(workers)]
    for _ in range(kills):
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        place = chance.randrange(workers)
        end(alive[place])
        alive[place] = start()
    for process in alive:
        end(process)


def end(process: BaseProcess) -> None:
    """Kill a worker, which must not have ended by itself."""
    process.kill()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise SystemExit("a worker has ended by itself")


def wrong(folder: Path) -> list[str]:
    """Return what is not as it must be."""
    store = sqlite3.connect(folder / "store.db")
    known = dict(store.execute("SELECT endpoint, visits FROM visits WHERE release = ''"))
    whole = [row[0] for row in store.execute("PRAGMA integrity_check")]
    store.close()
    problems = [] if whole == ["ok"] else whole
    confirmed = 0
    for journal in sorted(folder.glob("*.journal")):
        noted = len(journal.read_bytes().splitlines())
        confirmed += noted
        told = known.get(journal.stem, 0)
        if not noted <= told <= noted + 1:
            problems.append(f"{journal.stem}: {noted} confirmed, {told} in the store")
    said = folder / "errors"
    errors = said.read_text().splitlines() if said.exists() else []
    problems += [error for error in errors if "is locked by another process" not in error]
    if not confirmed:
        problems.append("nothing was written")
    print(f"{confirmed} commits confirmed, {len(errors)} times locked for too long")
    return problems


def main() -> int:
    """Kill workers, and look at what they have left."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kill(Path(name), asked.kills, asked.workers, asked.seed)
        problems = wrong(Path(name))
    print("\n".join(problems) or f"{asked.kills} kills, nothing lost")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
