"""Sixteen workers at a steady load: what leakmw takes of the CPU, and the slowest requests.

python benchmarks/fleet.py [--minutes 10] [--rate 2000] [--turn 20] [--app hello_flask]

Two fleets, one of the bare app, one with leakmw at its defaults and one store, are visited in
turns; the one that is not is stopped meanwhile, so that each lives for as long as it serves. A
request is sent when its time has come, whether or not the last one was answered, and its wait
counts from then. The one slowest of a million is chance; the slowest of each turn tell more. Exits
with 1 if leakmw took more than its `overhead` and half a per cent of the CPU time of the fleet, or
if the slowest of a turn took 10 ms more, in the middle, than that of the bare app.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack, contextmanager
from statistics import quantiles
from typing import TYPE_CHECKING

import psutil
from figures import Spread, machine, table
from servers import CORES, TOKEN, WORKERS, on_core, serving
from traffic import Load

from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from servers import Server

VARIANTS = ("bare", "leakmw")
A_CONNECTION_EACH = 0
"""As from a proxy by default; gunicorn's sync workers take no others, and share them evenly."""

MOST_SHARE = Settings().overhead + 0.005
MOST_MILLISECONDS = 10
WARM_UP_SECONDS = 20
IDLE_SHARE, POLL_SECONDS = 0.1, 1.0


def turns(server: Server, load: Load, seconds: float) -> Iterator[tuple[float, list[float]]]:
    """Yield the CPU seconds of the server and the waits of the requests, turn by turn."""
    while True:
        with awake(server):
            before = server.cpu_seconds()
            waits = load.run(seconds)
            spent = server.cpu_seconds() - before
        yield spent, waits


@contextmanager
def awake(server: Server) -> Iterator[None]:
    """Let a server go on for the time of a block."""
    resume(server)
    try:
        yield
    finally:
        for one in server.family():
            one.suspend()


def resume(server: Server) -> None:
    """Let a stopped server go on."""
    for one in server.family():
        one.resume()


def wait_until_idle(server: Server) -> None:
    """Wait until all workers have imported the app: sixteen at once take their time for that."""
    used = 0.0
    while (now := server.cpu_seconds()) - used > IDLE_SHARE * POLL_SECONDS:
        used = now
        time.sleep(POLL_SECONDS)


def on_all_cores(server: Server) -> None:
    """Let the workers run where there is room: this rate takes more than one core."""
    for process in server.family():
        process.cpu_affinity(CORES)


def own_shares(server: Server) -> list[tuple[float, float]]:
    """Return by worker its CPU time in seconds, and the part that leakmw has taken for itself.

    That is its thread, with snapshots, reports and the store, its children, and taking samples. It
    is told with each snapshot, so there is one now.
    """
    server.asked("snapshots?worker=all", "POST")
    workers = server.asked("workers")["workers"]
    return [
        (sum(psutil.Process(one["worker"]["pid"]).cpu_times()[:2]), one["engine"]["cost_ratio"])
        for one in workers
        if one["alive"] and one["engine"]
    ]


def row(
    name: str, turns: Sequence[Sequence[float]], slowest: Spread, cpu: Sequence[float]
) -> tuple[str, ...]:
    """Return a row of the table; *turns* has the waits in each."""
    every = [1000 * wait for waits in turns for wait in waits]
    cuts = quantiles(every, n=1000)
    figures = (cuts[499], cuts[989], cuts[998], max(every))
    of_all = (f"{one:,.2f}" for one in figures)
    return (name, Spread.of(cpu).shown(0), *of_all, slowest.shown(1))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of each of the two")
    parser.add_argument("--rate", type=float, default=2000, help="requests a second")
    parser.add_argument("--turn", type=float, default=20, help="seconds")
    parser.add_argument("--app", default="hello_flask")
    options = parser.parse_args()
    cpu: dict[str, list[float]] = {name: [] for name in VARIANTS}
    waits: dict[str, list[list[float]]] = {name: [] for name in VARIANTS}
    with ExitStack() as stack:
        stack.enter_context(on_core(CORES[0]))
        visited, servers = {}, {}
        for name in VARIANTS:
            settings = {"token": TOKEN}
            server = serving("gunicorn fleet", options.app, name, settings)
            servers[name] = stack.enter_context(server)
            stack.callback(resume, servers[name])  # so that it can end
            wait_until_idle(servers[name])
            on_all_cores(servers[name])
            load = Load(servers[name].address, options.rate, A_CONNECTION_EACH)
            stack.callback(load.close)
            with awake(servers[name]):
                load.run(WARM_UP_SECONDS)
            visited[name] = turns(servers[name], load, options.turn)
        for turn in range(round(60 * options.minutes / options.turn)):
            for name in VARIANTS if turn % 2 else reversed(VARIANTS):
                seconds, took = next(visited[name])
                cpu[name].append(1e6 * seconds / len(took))
                waits[name].append(took)
        with awake(servers["leakmw"]):
            shares = own_shares(servers["leakmw"])
    slowest = {name: Spread.of([1000 * max(took) for took in waits[name]]) for name in VARIANTS}
    rows = [row(name, waits[name], slowest[name], cpu[name]) for name in VARIANTS]
    head = ("", "µs of CPU per request", "half within, ms", "99 %", "99.9 %", "all", "a turn")
    print(f"{WORKERS} workers, {options.rate:,.0f} requests a second. {machine()}\n")
    print(table(head, rows))
    ratios = [one / base for one, base in zip(cpu["leakmw"], cpu["bare"], strict=True)]
    print(f"CPU per request / bare: {Spread.of(ratios).shown(3)}.")
    whole = sum(seconds * share for seconds, share in shares) / sum(one for one, _ in shares)
    by_worker = Spread.of([share for _, share in shares]).shown(4)
    print(f"Part that leakmw took for itself: {whole:.4f}, by worker {by_worker}.")
    late = slowest["leakmw"].median - slowest["bare"].median
    return int(whole > MOST_SHARE or late > MOST_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
