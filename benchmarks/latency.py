"""Throughput and latency with leakmw at its defaults, against the bare app, in one run.

python benchmarks/latency.py [--rounds 3] [--blocks 20] [--requests 2000]

Eight connections ask at once, wait for all answers, and ask again. The servers of both variants
run at the same time and are asked in turns; only one of them is busy at any moment.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from typing import NamedTuple

from figures import Spread, machine, table
from overhead import ASGI, PAGES, SETTLED_SECONDS, WSGI, Case, ratio, settle
from servers import serving
from traffic import Client

CASES = [
    *PAGES,
    *(Case(app, "gunicorn gthread") for app in WSGI),
    *(Case(app, "uvicorn") for app in ASGI),
]
VARIANTS = ("bare", "leakmw")


class Block(NamedTuple):
    """What one block of requests showed.

    Attributes:
        rate: Requests a second.
        p99: Seconds within which 99 of 100 were answered.
    """

    rate: float
    p99: float


def block(client: Client, requests: int) -> Block:
    """Send so many requests."""
    started = time.perf_counter()
    waits = client.waits(requests)
    return Block(
        len(waits) / (time.perf_counter() - started), statistics.quantiles(waits, n=100)[-1]
    )


def measured(case: Case, rounds: int, blocks: int, requests: int) -> dict[str, list[Block]]:
    """Return the blocks of each variant."""
    found: dict[str, list[Block]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        with ExitStack() as stack:
            clients = {}
            for variant in VARIANTS:
                server = stack.enter_context(serving(case.server, case.app, variant))
                clients[variant] = Client(server.address, keep_alive=True)
                stack.callback(clients[variant].close)
                settle(server, clients[variant], SETTLED_SECONDS)
            for turn in range(blocks):
                for variant in VARIANTS if turn % 2 else reversed(VARIANTS):
                    found[variant].append(block(clients[variant], requests))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    rows = []
    for case in CASES:
        found = measured(case, options.rounds, options.blocks, options.requests)
        bare, watched = found["bare"], found["leakmw"]
        rows.append(
            (
                case.title,
                Spread.of([one.rate for one in bare]).shown(0),
                ratio([one.rate for one in watched], [one.rate for one in bare]),
                Spread.of([one.p99 * 1e3 for one in bare]).shown(2),
                ratio([one.p99 for one in watched], [one.p99 for one in bare]),
            )
        )
    head = ("app, server", "bare, requests/s", "leakmw", "bare, p99 in ms", "leakmw")
    print(f"{machine()} Medians, and quartiles in parentheses.\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
