"""What the hook on Python's allocators costs an app that it takes no sample of.

python benchmarks/hook.py [--turns 400] [--requests 50]

The hook is put in and taken out again and again while one process serves, so that nothing but the
hook differs between neighbors in time: this tells some 0.2 % on a quiet machine, where servers
that are started beside each other tell 0.5 % at best. Compare several runs.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from figures import Spread, machine, table
from in_process import visits_of

from leakmw.tracers import _sampler

if TYPE_CHECKING:
    from in_process import Visits

APPS = ("page_flask", "page_starlette", "hello_wsgi", "hello_flask", "hello_starlette")
NO_SAMPLES = float(1 << 30)
WARM_UP = 2000
SETTLING = 5
"""Requests after the switch that are not timed."""

VARIABLE: ContextVar[object] = ContextVar("benchmark_visit", default=None)


def switch(*, on: bool) -> None:
    """Put the hook in, or take it out."""
    if on:
        _sampler.start(VARIABLE, object(), 32, 0.0, NO_SAMPLES, 1)
    else:
        _sampler.stop()


def seconds(visit: Visits, requests: int, *, on: bool) -> float:
    """Return the CPU time of so many requests."""
    switch(on=on)
    visit(SETTLING)
    started = time.process_time()
    visit(requests)
    return time.process_time() - started


def ratios(visit: Visits, turns: int, requests: int) -> tuple[list[float], list[float]]:
    """Return µs per request without the hook, and with it divided by without, by turn."""
    bare, divided = [], []
    for _ in range(turns):
        order = random.sample([False, True], 2)
        took = {on: seconds(visit, requests, on=on) for on in order}
        bare.append(took[False] / requests * 1e6)
        divided.append(took[True] / took[False])
    return bare, divided


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--requests", type=int, default=50)
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = []
    for app in APPS:
        visit = visits_of(app)
        visit(WARM_UP)
        bare, divided = ratios(visit, chosen.turns, chosen.requests)
        rows.append((app, Spread.of(bare).shown(1), Spread.of(divided).shown(4)))
    print(machine(), "\n")
    print(table(("app, in one process", "without, µs per request", "with the hook"), rows))


if __name__ == "__main__":
    main()
