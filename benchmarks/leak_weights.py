"""What a request of each leak of the zoo keeps, to be stated beside the case.

python benchmarks/leak_weights.py [--cases tiny] [--requests 1500]

It is by how much more tracemalloc sees, at whatever line: keys of dicts change hands without its
being told. Each case runs in a process of its own, and nothing but its endpoint is asked for: all
of them take a minute on two cores.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from servers import APPS

sys.path.insert(0, str(APPS))

from zoo.scoring import LOOK_EVERY, named
from zoo.shops import Shop
from zoo.traffic import Mix, stepper
from zoo.truth import CASES

if TYPE_CHECKING:
    from zoo.truth import Case

REQUESTS = 1500
"""Of the endpoint that leaks, of which the first third is left out."""


def bytes_per_request(case: Case, requests: int) -> float:
    """Return the bytes that a request of the endpoint of *case* adds to its process."""
    shop = Shop(case.framework)
    case.build(shop)
    tracemalloc.start()
    mix = Mix([case.path], {}, requests, shifting=False)
    step = stepper(shop.app(), mix, LOOK_EVERY, speaks_asgi=shop.speaks_asgi)
    marks: list[tuple[int, int]] = []
    for mark in (requests // 3, requests):
        while mix.sent[case.path] < mark:
            step()
        gc.collect()
        marks.append((mix.sent[case.path], traced()))
    (before, small), (after, large) = marks
    return (large - small) / (after - before)


def traced() -> int:
    """Return the bytes that live, those of tracemalloc's own module left out."""
    traces = tracemalloc.take_snapshot().traces._traces  # type: ignore[attr-defined]  # noqa: SLF001
    return sum(size for _, size, frames, _ in traces if frames[0][0] != tracemalloc.__file__)


def weighed(case: Case, requests: int) -> str:
    """Say what was measured, in a process of its own, and what is stated."""
    command = [sys.executable, __file__, "--one", case.name, "--requests", str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    measured = done.stdout.strip() or done.stderr.splitlines()[-1]
    return f"{case.name}: {measured}, stated {case.per_request}"


def main() -> None:
    """Print what was measured beside what is stated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", default="", help="run those whose name contains this")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of the endpoint")
    parser.add_argument("--one", metavar="CASE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(f"{bytes_per_request(CASES[options.one], options.requests):.0f}")
        return
    leaks = [case for case in named(options.cases) if case.leaks]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(partial(weighed, requests=options.requests), leaks):
            print(line, flush=True)


if __name__ == "__main__":
    main()
