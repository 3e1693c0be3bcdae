"""How well a leaking worker's death is foretold, by running workers into an actual limit.

python benchmarks/forecast.py [--runs 5] [--megabytes 200]

Each worker leaks 4 kB a request and 0.5 kB at another endpoint, at some 1,500 requests per second,
a third more or less by chance, below a limit of its address space (``RLIMIT_AS``). It dies of the
first ``MemoryError``; what its reports had said of when is compared with when that was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import psutil
from figures import Spread, machine, table

PARTS = (0.25, 0.5, 0.75, 0.9)
"""Of a worker's life, at which its forecast is looked at."""

PACE = 1500
"""Requests per second."""


async def live(megabytes: int, seed: int) -> None:
    """Serve requests until memory is used up; print each forecast, and the end."""
    from leakmw.asgi import LeakMiddleware

    kept: list[bytes] = []

    async def app(scope: Any, _receive: object, _send: object) -> None:
        kept.append(bytes(4000 if scope["path"] == "/leak" else 500))

    face = LeakMiddleware(app, every=500, store="memory")
    chance = random.Random(seed)  # noqa: S311  # no secret
    limit = psutil.Process().memory_info().vms + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    started, said = time.monotonic(), ""
    try:
        while True:
            rate = PACE * chance.uniform(2 / 3, 4 / 3)
            for _ in range(10):
                path = chance.choice(["/leak", "/other"])
                await face({"type": "http", "method": "GET", "path": path}, None, None)  # type: ignore[arg-type]
            await asyncio.sleep(10 / rate)
            report = face.monitor.report()
            if report is not None and report.id != said:
                said, left = report.id, report.memory.seconds_to_limit
                print(json.dumps([time.monotonic() - started, left]), flush=True)
    except MemoryError:
        kept.clear()
        print(json.dumps([time.monotonic() - started, "died"]), flush=True)
        face.monitor.close()


def errors(megabytes: int, seed: int) -> tuple[float, list[float | None]]:
    """Return how long a worker lived, and forecast over truth at each part of its life."""
    command = [sys.executable, __file__, "--live", str(megabytes), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if not lines or lines[-1][1] != "died":
        raise SystemExit(f"a worker ended otherwise:\n{done.stderr}")
    death = lines[-1][0]
    found: list[float | None] = []
    for part in PARTS:
        said = [(when, left) for when, left in lines[:-1] if left and when <= part * death]
        found.append(said[-1][1][0] / (death - said[-1][0]) if said else None)
    return death, found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--live", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.live:
        asyncio.run(live(*options.live))
        return
    lives = [errors(options.megabytes, seed) for seed in range(options.runs)]
    rows = []
    for place, part in enumerate(PARTS):
        known = [found[place] for _, found in lives]
        ratios = [one for one in known if one is not None]
        worst = max((abs(one - 1) for one in ratios), default=math.nan)
        shown = Spread.of(ratios).shown(2) if ratios else "none"
        rows.append((f"{part:.0%}", shown, f"{worst:.0%}", f"{len(ratios)} of {len(known)}"))
    print(f"{machine()} Workers lived for {median(death for death, _ in lives):.0f} s.\n")
    print(table(("of its life", "forecast / truth", "worst error", "forecasts"), rows))


if __name__ == "__main__":
    main()
