"""What a snapshot and its report take of leakmw's thread, by how many workers there were before.

python benchmarks/reporting.py [--lives 0 8 64] [--visits 4500] [--snapshots 24] [--starts 3]

A page of Flask's is served by one worker after the other in processes that share a store, as a
server does that ends its workers after so many requests; then by one whose thread is measured
while somebody asks for snapshots.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from figures import Spread, machine, table
from in_process import visits_of
from servers import environment

from leakmw.background import THREAD_NAME
from leakmw.pace import AT_ONCE

VISITS_BETWEEN = 250


def live(visits: int) -> None:
    """Serve as a worker does that ends after so many visits."""
    visits_of("page_flask")(visits)


def measure(snapshots: int) -> None:
    """Print milliseconds of CPU time of each snapshot with its report."""
    visit = visits_of("page_flask")
    monitor = sys.modules["page_flask"].app.extensions["leakmw"]
    visit(VISITS_BETWEEN)
    monitor.take_snapshot(60)
    (thread,) = (one for one in threading.enumerate() if one.name == THREAD_NAME)
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    for number in range(AT_ONCE + snapshots):  # so many first ones are like no later ones
        visit(VISITS_BETWEEN)
        before = time.clock_gettime(clock)
        monitor.take_snapshot(60)
        if number >= AT_ONCE:
            print(1000 * (time.clock_gettime(clock) - before))


def of_a_process(folder: Path, *arguments: str) -> str:
    """Return what this file prints in a process of its own, with its store in a folder."""
    given = environment("leakmw", {"store": folder / "store.db"})
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, env=given, stdout=subprocess.PIPE, check=True, text=True).stdout


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lives", type=int, nargs="+", default=[0, 8, 64])
    parser.add_argument("--visits", type=int, default=4500, help="of each of them")
    parser.add_argument("--snapshots", type=int, default=24)
    parser.add_argument("--starts", type=int, default=3, help="of the worker that is measured")
    parser.add_argument("--part", choices=("live", "measure"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "live":
        return live(options.visits)
    if options.part == "measure":
        return measure(options.snapshots)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for lives in options.lives:
            before = Path(folder) / f"{lives}"
            before.mkdir()
            for _ in range(lives):
                of_a_process(before, "--part=live", f"--visits={options.visits}")
            said = ""
            for start in range(options.starts):
                own = shutil.copytree(before, Path(folder) / f"{lives} {start}")
                said += of_a_process(own, "--part=measure", f"--snapshots={options.snapshots}")
            rows.append((f"{lives}", Spread.of([float(line) for line in said.split()]).shown(1)))
    print(machine(), "Medians, and quartiles in parentheses.\n")
    print(table(("workers before", "a snapshot and its report, ms of CPU"), rows))
    return None


if __name__ == "__main__":
    main()
