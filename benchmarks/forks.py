"""How many children it takes to look at a busy process, and for how long it stands still.

python benchmarks/forks.py [--gigabytes 0 1] [--threads 1 4] [--looks 10]

The app's threads ask SQLite for one row again and again, for which they give the GIL up each time,
and leakmw's asks for a copy of the process: with its own C, and as on a Python for which that is
not built. Each row is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import sqlite3
import subprocess
import sys
import threading
import time

from figures import Spread, machine, table

from leakmw import forked
from leakmw.background import giving_way

MIB = 1 << 20
PLENTY = 256 * MIB
DEADLINE_SECONDS = 20
WAYS = {"forgets who asked for the GIL": True, "keeps others from asking": False}


def ask(over: threading.Event) -> None:
    """Do what most apps do: compute a little, ask a database, compute a little."""
    connection = sqlite3.connect(":memory:")
    while not over.is_set():
        sum(range(50))
        connection.execute("select 1").fetchall()
    connection.close()


def looks(gigabytes: float, threads: int, number: int, *, forgets: bool) -> list[list[float]]:
    """Return of each look its children, its seconds, and for how many of them all stood still.

    Of one that has failed the latter are infinite.
    """
    forked.FORGETS = forked.FORGETS and forgets
    heap = [bytearray(MIB) for _ in range(int(gigabytes * 1024))]
    for block in heap:
        block[:: mmap.PAGESIZE] = b"x" * (MIB // mmap.PAGESIZE)
    over = threading.Event()
    for _ in range(threads):
        threading.Thread(target=ask, args=(over,), daemon=True).start()
    found = []
    for _ in range(number):
        marks: list[int] = []
        began, pause = time.perf_counter(), float("inf")
        try:
            with giving_way():  # as while a report is made
                pause = forked.run(
                    lambda: b"",
                    lambda: marks.append(1),  # noqa: B023  # it is over by the next one
                    seconds=DEADLINE_SECONDS,
                    memory_bytes=PLENTY,
                ).pause_seconds
        except forked.ForkError as error:
            print(error, file=sys.stderr)
        found.append([len(marks), time.perf_counter() - began, pause])
    over.set()
    return found


def row(gigabytes: float, threads: int, number: int, way: str) -> tuple[str, ...]:
    """Return a row of the table."""
    one = ["--one", str(gigabytes), str(threads), str(number), way]
    done = subprocess.run([sys.executable, __file__, *one], stdout=subprocess.PIPE, check=True)
    children, seconds, pauses = zip(*json.loads(done.stdout), strict=True)
    ended = [pause * 1e3 for pause in pauses if pause < float("inf")]
    return (
        f"{gigabytes:g}",
        str(threads),
        way,
        f"{number - len(ended)} of {number}",
        f"{sum(children) / number:.1f}",
        Spread.of(seconds).shown(2),
        Spread.of(ended).shown(1) if ended else "-",
    )


def main() -> None:
    """Print the table, or one process's looks as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, nargs="*", default=[0, 1])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--looks", type=int, default=10)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        gigabytes, threads, number, way = options.one
        found = looks(float(gigabytes), int(threads), int(number), forgets=WAYS[way])
        print(json.dumps(found), flush=True)
        os._exit(0)  # its threads are still busy
    rows = [
        row(gigabytes, threads, options.looks, way)
        for gigabytes in options.gigabytes
        for threads in options.threads
        for way in WAYS
    ]
    head = ("GiB", "threads", "the child", "failed", "children a look", "seconds", "pause, ms")
    print(f"{machine()}\n")
    print(table(head, rows))


if __name__ == "__main__":
    main()
