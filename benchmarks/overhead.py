"""What leakmw costs: CPU per request against the bare app, as ratios of one run.

python benchmarks/overhead.py [default] [peers] [heavy] [grown] [counting] [in-process] [tracing]
    [instructions]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from figures import Spread, machine, table
from servers import APPS, CORES, NO_SETTINGS, TOKEN, Server, environment, on_core, serving
from traffic import Client

from leakmw.pace import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WARM_UP = 500
"""Requests before the first measured one: interpreters specialize, pools fill."""

SETTLED_SECONDS = 5
"""Of CPU until the interval between samples has found its place: a process begins with four times
the budget, for about two thirds of that."""

STEADY_SECONDS = 9
"""Of CPU until a process has also paid for its first snapshots, which are taken whatever they
cost: from then on leakmw costs what it does for days."""

SNAPSHOT_EVERY = 1000
TRACED_SETTINGS = {"engine": "tracemalloc", "every": SNAPSHOT_EVERY, "frames": 8}
SHORT_RUNS, WHOLE_RUNS = (200, 600), (600, 1600)
"""Requests of two runs whose difference is taken; within the second pair a snapshot is due."""


KINDS = {
    "hello": "",
    "page": "a page from ",
    "heavy": "allocations in ",
    "grown": "a page beside a million objects from ",
}
"""What apps are called in a table, by the first part of their name."""


class Case(NamedTuple):
    """One app behind one server."""

    app: str
    server: str

    @property
    def title(self) -> str:
        """What stands in the first column."""
        kind, framework = self.app.split("_")
        return f"{KINDS[kind]}{framework}, {self.server}"


WSGI = ("hello_wsgi", "hello_flask", "hello_django")
ASGI = ("hello_asgi", "hello_starlette", "hello_fastapi")
LOGGED = [Case(app, "uvicorn with its access log") for app in ASGI]
CASES = [
    *(Case(app, server) for server in ("gunicorn sync", "gunicorn gthread") for app in WSGI),
    *(Case(app, server) for server in ("uvicorn", "uvicorn[standard]") for app in ASGI),
]
PAGES = [Case("page_flask", "gunicorn gthread"), Case("page_starlette", "uvicorn")]
HEAVY = Case("heavy_flask", "gunicorn gthread")
GROWN = Case("grown_flask", "gunicorn gthread")
PEERS = ("ddtrace", "pyroscope", "dozer", "memray", "tracemalloc 1", "tracemalloc 25")

TRACED = [*PAGES, Case("hello_flask", "gunicorn gthread"), Case("hello_starlette", "uvicorn")]


class Effort(NamedTuple):
    """How long to measure.

    Attributes:
        rounds: How often the servers are started: each start lays memory out anew.
        blocks: Measurements of each variant in a round, in turns.
        requests: Requests in a measurement.
        warm_up: Requests before the first.
        settling: Seconds of CPU before it, at the least.
    """

    rounds: int
    blocks: int
    requests: int
    warm_up: int = WARM_UP
    settling: int = 0


def counting(effort: Effort) -> str:
    """Compare the bare app with leakmw switched off, and with leakmw only counting."""
    rows = []
    for case in CASES:
        costs = measured(case, ("bare", "disabled", "counting"), effort)
        rows.append(
            (
                case.title,
                Spread.of([seconds * 1e6 for seconds in costs["bare"]]).shown(0),
                ratio(costs["disabled"], costs["bare"]),
                ratio(costs["counting"], costs["bare"]),
            )
        )
    return table(
        ("app, server", "bare, µs of CPU per request", "`enabled=False`", "counting"), rows
    )


def default(effort: Effort) -> str:
    """Compare the bare app with leakmw at its default settings, snapshots included.

    Beside it what counting costs; what a second thread does that only waits, as leakmw's mostly
    does, for then the C library has to lock; and all with an interval of a gigabyte, so without
    samples. "All of it" has the snapshots in it, which fall into too few pairs for a median.
    """
    rows = []
    for case in [*PAGES, HEAVY, *CASES, *LOGGED]:
        costs = measured(case, ("bare", "counting", "thread", "unsampled", "leakmw"), effort)
        bare = Spread.of([seconds * 1e6 for seconds in costs["bare"]]).shown(0)
        ratios = (ratio(some, costs["bare"]) for name, some in costs.items() if name != "bare")
        rows.append((case.title, bare, *ratios, whole(costs["leakmw"], costs["bare"])))
    columns = ("counting", "a second thread", "without samples", "leakmw", "all of it")
    return table(("app, server", "bare, µs of CPU per request", *columns), rows)


def peers(effort: Effort, case: Case = PAGES[0]) -> str:
    """Compare leakmw at its defaults with what others offer, on the same page, in one run.

    Dozer looks once in five seconds, whatever is served: that shows in "all of it" alone.
    """
    names = ("leakmw", *PEERS)
    costs = measured(case, ("bare", *names), effort)
    bare = costs["bare"]
    rows = [(name, ratio(costs[name], bare), whole(costs[name], bare)) for name in names]
    return table((f"on {case.title}", "CPU per request / bare", "all of it"), rows)


def heavy(effort: Effort) -> str:
    """Do the same on an app that does little but allocate."""
    return peers(effort, HEAVY)


def grown(effort: Effort) -> str:
    """Do the same in a process as large as those that somebody looks into."""
    return peers(effort, GROWN)


def tracing(effort: Effort) -> str:
    """Compare leakmw on tracemalloc with tracemalloc alone, snapshots included.

    A block lasts from one snapshot to the next. The first ones are taken whatever they cost.
    """
    rows = []
    for case in TRACED:
        costs = measured(case, ("bare", "tracing", "leakmw"), effort, TRACED_SETTINGS)
        alone, watched = costs["tracing"], costs["leakmw"]
        parts = (slice(AT_ONCE), slice(AT_ONCE, None))
        ratios = (
            ratio(*(of_each_round(some, effort.blocks, part) for some in (watched, alone)))
            for part in parts
        )
        rows.append((case.title, ratio(alone, costs["bare"]), *ratios))
    first = f"leakmw / tracemalloc, first {AT_ONCE} snapshots"
    return table(("app, server", "tracemalloc / bare", first, "from then on"), rows)


def of_each_round(costs: Sequence[float], blocks: int, part: slice) -> list[float]:
    """Return the costs of a part of the blocks of each round."""
    rounds = (costs[start : start + blocks] for start in range(0, len(costs), blocks))
    return [cost for each in rounds for cost in each[part]]


def in_process(effort: Effort) -> str:
    """Time the apps without any server: what is left is the face."""
    rows = []
    for app in (*WSGI, *ASGI):
        costs: dict[str, list[float]] = {"bare": [], "counting": []}
        for _ in range(effort.rounds):
            for variant, microseconds in costs.items():
                microseconds.append(timed(app, variant))
        added = [
            with_leakmw - bare
            for with_leakmw, bare in zip(costs["counting"], costs["bare"], strict=True)
        ]
        bare = Spread.of(costs["bare"]).shown(1)
        rows.append((app.removeprefix("hello_"), bare, Spread.of(added).shown(2)))
    return table(("app", "bare, µs per request", "leakmw counting adds, µs"), rows)


def instructions(_: Effort) -> str:
    """Count the instructions of a request in user space, which no other load disturbs.

    Under valgrind time says little, so the interval between samples is the one that the same app
    comes to without it. With an interval of a gigabyte there is the hook and no sample.
    """
    rows = []
    for case in [*PAGES, HEAVY, *CASES]:
        interval = settled_interval(case)
        bare, counts, unsampled, all_of_it = (
            instructions_per_request(case, name, settings, runs)
            for name, settings, runs in (
                ("bare", NO_SETTINGS, SHORT_RUNS),
                ("counting", NO_SETTINGS, SHORT_RUNS),
                ("unsampled", NO_SETTINGS, WHOLE_RUNS),
                ("leakmw", {"sample_bytes": interval}, WHOLE_RUNS),
            )
        )
        ratios = (f"{some / bare:.3f}" for some in (counts, unsampled, all_of_it))
        rows.append((case.title, f"{bare:,.0f}", *ratios, f"{interval / 1024:.0f}"))
        print(rows[-1], file=sys.stderr)
    without = "leakmw without samples"
    head = ("app, server", "bare, instructions per request", "counting", without, "leakmw", "KiB")
    return table(head, rows)


def settled_interval(case: Case) -> int:
    """Return the mean bytes between two samples that the default settings come to."""
    with serving(case.server, case.app, "leakmw", {"token": TOKEN}) as server:
        client = Client(server.address, keep_alive=case.server != "gunicorn sync")
        settle(server, client, STEADY_SECONDS)
        client.close()
        server.asked("snapshots", "POST")
        return int(server.asked("report")["engine"]["sample_bytes"])


def measured(
    case: Case,
    variants: Sequence[str],
    effort: Effort,
    settings: Mapping[str, object] = NO_SETTINGS,
) -> Mapping[str, list[float]]:
    """Return CPU seconds per request of each variant, block by block."""
    costs: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(effort.rounds):
        with ExitStack() as stack:
            blocks = {
                variant: stack.enter_context(visited(case, variant, effort, settings))
                for variant in variants
            }
            for turn in range(effort.blocks):
                # not always the same one first
                order = [
                    variants[(turn + place) % len(variants)] for place in range(len(variants))
                ]
                for variant in order:
                    costs[variant].append(next(blocks[variant]))
    return costs


@contextmanager
def visited(
    case: Case, variant: str, effort: Effort, settings: Mapping[str, object]
) -> Iterator[Iterator[float]]:
    """Serve a variant; each step of the iterator yields CPU seconds per request."""
    with serving(case.server, case.app, variant, settings) as server:
        client = Client(server.address, keep_alive=case.server != "gunicorn sync")
        client.send(effort.warm_up)
        settle(server, client, effort.settling)

        def block() -> Iterator[float]:
            while True:
                before = server.cpu_seconds()
                client.send(effort.requests)
                yield (server.cpu_seconds() - before) / effort.requests

        yield block()
        client.close()


def settle(server: Server, client: Client, seconds: float) -> None:
    """Send requests until the server has used so many seconds of CPU."""
    until = server.cpu_seconds() + seconds
    while server.cpu_seconds() < until:
        client.send(WARM_UP)


def ratio(costs: Sequence[float], base: Sequence[float]) -> str:
    """Compare neighbors in time, as a busy machine slows both."""
    return Spread.of([a / b for a, b in zip(costs, base, strict=True)]).shown(3)


def whole(costs: Sequence[float], base: Sequence[float]) -> str:
    """Compare all requests together: what happens seldom falls into few pairs."""
    return f"{sum(costs) / sum(base):.3f}"


def timed(app: str, variant: str) -> float:
    """Return microseconds per request in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("in_process.py")), app]
    said = subprocess.run(
        command, cwd=APPS, env=environment(variant, {}), stdout=subprocess.PIPE, check=True
    )
    return float(said.stdout)


def instructions_per_request(
    case: Case, variant: str, settings: Mapping[str, object], runs: tuple[int, int]
) -> float:
    """Return the difference of a long and a short run, by request."""
    short, long = (instructions_of(case, variant, settings, requests) for requests in runs)
    return (long - short) / (runs[1] - runs[0])


def instructions_of(
    case: Case, variant: str, settings: Mapping[str, object], requests: int
) -> int:
    """Count what a server and its workers execute from their start to their end."""
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/%p.log"
        valgrind = ("valgrind", "--tool=callgrind", "--trace-children=yes", f"--log-file={log}")
        under = (*valgrind, "--callgrind-out-file=/dev/null")
        with serving(case.server, case.app, variant, settings, under=under) as server:
            client = Client(server.address, keep_alive=case.server != "gunicorn sync")
            client.send(requests)
            client.close()
        logs = [file.read_text() for file in Path(folder).iterdir()]
    return sum(int(count) for log in logs for count in re.findall(r"Collected : (\d+)", log))


SECTIONS: Mapping[str, tuple[Callable[[Effort], str], Effort]] = {
    "default": (default, Effort(rounds=3, blocks=12, requests=304, settling=STEADY_SECONDS)),
    "peers": (peers, Effort(rounds=2, blocks=12, requests=200, settling=SETTLED_SECONDS)),
    "heavy": (heavy, Effort(rounds=2, blocks=12, requests=104, settling=SETTLED_SECONDS)),
    "grown": (grown, Effort(rounds=2, blocks=20, requests=304, settling=STEADY_SECONDS)),
    "counting": (counting, Effort(rounds=8, blocks=48, requests=304)),
    "in-process": (in_process, Effort(rounds=7, blocks=1, requests=0)),
    # one start of the servers decides as much as what is measured
    "tracing": (tracing, Effort(rounds=3, blocks=AT_ONCE + 6, requests=SNAPSHOT_EVERY)),
    "instructions": (instructions, Effort(rounds=1, blocks=1, requests=0)),
}
"""The tables, and how long to measure for each unless told otherwise."""


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "section",
        nargs="*",
        default=["default", "counting", "in-process", "tracing"],
        choices=SECTIONS,
        metavar="section",
    )
    for name in Effort._fields:
        parser.add_argument(f"--{name}", type=int)
    options = vars(parser.parse_args())
    wanted = {name: options[name] for name in Effort._fields if options[name] is not None}
    print(machine(), "Medians, and quartiles in parentheses.\n")
    for name in options["section"]:
        section, effort = SECTIONS[name]
        with on_core(CORES[0]):
            print(f"### {name}\n\n{section(effort._replace(**wanted))}", flush=True)


if __name__ == "__main__":
    main()
