"""What the store costs: a snapshot in CPU time, a month of workers on disk, a report in time.

python benchmarks/store.py [--days 30] [--workers 16] [--snapshots 12]

A real app is served until it has a leak to tell of; what it then writes at a snapshot is written
for as many workers and snapshots as a month has, on a clock that runs ahead: each worker is ended
after an hour, and each day brings another version of the app with tracebacks of its own. Exits
with 1 if a snapshot takes more than 0.5 ms of CPU time, the file more than 64 MiB, or a report on
all workers more than 50 ms.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from detection import HEALTHY, app_that_leaks
from figures import Spread, machine, table
from servers import APPS

from leakmw.records import Frame, Live, Report, Worker, WorkerStatus
from leakmw.report.document import report_document
from leakmw.store import profiles
from leakmw.store.codec import decoded
from leakmw.store.database import Database
from leakmw.store.shared import SharedStore, Told
from leakmw.store.view import read

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SECONDS, MOST_BYTES, MOST_REPORT_SECONDS = 0.0005, 64 << 20, 0.05
LIVES_PER_DAY = 24
SERVED = 12_000
READS = 200


def told_by_a_real_app(folder: Path) -> Told:
    """Serve an app that leaks until its report says so, and return what it wrote last."""
    from werkzeug.test import EnvironBuilder

    from leakmw.wsgi import LeakMiddleware

    sys.path.insert(0, str(APPS))
    file = folder / "real.db"
    face = LeakMiddleware(app_that_leaks(1024), store=str(file))
    environs = [EnvironBuilder(path).get_environ() for path in ("/leak", *HEALTHY)]
    for number in range(SERVED):
        body: Any = face(dict(environs[number % len(environs)]), _start_response)
        list(body)
        body.close()
    face.monitor.take_snapshot(60)
    face.monitor.close()
    database = Database(file)
    with database.reading() as connection:
        worker, status, report, seen = connection.execute(
            "SELECT id, status, report, seen FROM worker"
        ).fetchone()
        known = decoded(WorkerStatus, status)
        (profile,) = profiles.read(connection, {worker: known.worker})
        counted = "SELECT endpoint, visits FROM visits WHERE release = ''"
        visits = dict(connection.execute(counted).fetchall())
    database.close()
    return Told(known, visits, seen, decoded(Report, report), profile)


def _start_response(*_: Any) -> Any:
    return None


class Clock:
    """A clock that runs as fast as it is told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self.now


def month(
    file: Path, real: Told, days: int, workers: int, snapshots: int
) -> Iterator[tuple[float, int]]:
    """Write a month; yield the CPU time of each snapshot and what the file takes after it."""
    clock = Clock()
    living: set[int] = set()
    pid = 0
    step = 86_400 / LIVES_PER_DAY / snapshots
    with patch.object(time, "time", clock.time):
        for day in range(days):
            fresh = _of_another_day(real, day)
            for _ in range(LIVES_PER_DAY):
                stores = {}
                living.clear()
                for pid in range(pid + 1, pid + 1 + workers):  # noqa: B020  # goes on counting
                    living.add(pid)
                    stores[pid] = SharedStore(
                        Database(file), f"version {day}", lambda one: one.pid in living, tuple
                    )
                for number in range(1, snapshots + 1):
                    clock.now += step
                    for one, store in stores.items():
                        told = _of(fresh, one, number, clock.now)
                        started = time.thread_time()
                        store.publish(told)
                        yield time.thread_time() - started, _size(file)
                for store in stores.values():
                    store.close()


def _of_another_day(told: Told, day: int) -> Told:
    """Return the same by an app whose lines have moved."""
    rows = tuple(
        Live(
            row.endpoint,
            tuple(Frame(f.file, f.line + day, f.function) for f in row.traceback),
            row.bytes,
            row.blocks,
        )
        for row in told.profile.rows
    )
    return told._replace(profile=replace(told.profile, rows=rows))


def _of(told: Told, pid: int, number: int, now: float) -> Told:
    worker = Worker(host="host", pid=pid, started_at=datetime.fromtimestamp(now, UTC))
    status = replace(
        told.status,
        worker=worker,
        snapshots=number,
        visits=number * 1000,
        seen_at=datetime.now(UTC),
    )
    return told._replace(
        status=status,
        visits={name: count * number for name, count in told.visits.items()},
        profile=replace(told.profile, worker=worker, snapshot=f"{pid}-{number}"),
    )


def _size(file: Path) -> int:
    return sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*"))


def reports(file: Path, real: Told) -> list[float]:
    """Return what it takes to answer with the report on all workers and the list of them."""
    database = Database(file)
    store = SharedStore(database, "version", lambda _: True, tuple)
    store.publish(_of(real, 10**6, 1, time.time()))
    store.unite(lambda known, *_: (known, real.report, None), 0.0)
    took = []
    for _ in range(READS):
        started = time.perf_counter()
        view = read(database)
        view.workers(lambda _: True)
        report = view.report() or real.report
        gzip.compress(json.dumps(report_document(report)).encode(), 1)
        took.append(time.perf_counter() - started)
    return took


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--snapshots", type=int, default=12, help="of a worker in an hour")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = told_by_a_real_app(folder)
        file = folder / "month.db"
        spent, sizes = zip(
            *month(file, real, options.days, options.workers, options.snapshots), strict=True
        )
        took = reports(file, real)
    mean = sum(spent) / len(spent)
    rows = (
        ("snapshots written", f"{len(spent):,}"),
        ("rows of each", f"{len(real.profile.rows):,}"),
        ("CPU time of one, mean, ms", f"{1000 * mean:.3f}"),
        ("its quartiles, ms", Spread.of([1000 * one for one in spent]).shown(3)),
        ("the longest, ms", f"{1000 * max(spent):.1f}"),
        ("largest the files ever were, MiB", f"{max(sizes) / 2**20:.1f}"),
        ("at the end, MiB", f"{sizes[-1] / 2**20:.1f}"),
        ("report on all workers and their list, ms", Spread.of([1000 * t for t in took]).shown(1)),
    )
    print(f"{options.workers} workers, {options.days} days. {machine()}\n")
    print(table(("", ""), rows))
    failed = mean > MOST_SECONDS or max(sizes) > MOST_BYTES or max(took) > MOST_REPORT_SECONDS
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
