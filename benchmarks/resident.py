"""Resident memory of a process with leakmw against the bare one, over an hour's worth of requests.

python benchmarks/resident.py [--requests 3000000] [--app hello_starlette]

Both serve the same requests, each in a process of its own, without a server. Exits with 1 if the
difference is 24 MiB or more at the end, or grew by more than 1 MiB in the second half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import psutil
from figures import machine, table
from in_process import visits_of
from servers import environment

READINGS = 10
MOST_BYTES = 24 << 20
MOST_GROWTH = 1 << 20


def serve(app: str, requests: int) -> list[int]:
    """Return resident bytes after each tenth of the requests."""
    visit = visits_of(app)
    process = psutil.Process()
    resident = []
    for _ in range(READINGS):
        visit(requests // READINGS)
        resident.append(process.memory_info().rss)
    return resident


def start(variant: str, app: str, requests: int) -> subprocess.Popen[bytes]:
    """Start a process that serves and prints its readings."""
    command = [sys.executable, __file__, "--app", app, "--requests", str(requests), "--serve"]
    return subprocess.Popen(command, env=environment(variant, {}), stdout=subprocess.PIPE)


def main() -> int:
    """Print the table, or the readings of one process as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3_000_000)
    parser.add_argument("--app", default="hello_starlette")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        print(json.dumps(serve(options.app, options.requests)))
        return 0
    both = [start(variant, options.app, options.requests) for variant in ("bare", "leakmw")]
    bare, watched = (json.loads(process.communicate()[0]) for process in both)
    rows = [
        (f"{(tenth + 1) * options.requests // READINGS:,}", *(f"{n / 2**20:.1f}" for n in pair))
        for tenth, pair in enumerate(zip(bare, watched, strict=True))
    ]
    print(f"{options.app}. {machine()}\n")
    print(table(("requests", "bare, RSS MiB", "leakmw, RSS MiB"), rows))
    added = [b - a for a, b in zip(bare, watched, strict=True)]
    grown = added[-1] - added[READINGS // 2 - 1]
    print(f"{added[-1] / 2**20:.1f} MiB more at the end, {grown / 2**20:+.1f} in the second half")
    return int(added[-1] >= MOST_BYTES or grown > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
