"""What each part of leakmw adds to a request: told within one server, of requests drawn by lot.

python benchmarks/parts.py [--seconds 120]

Two servers that are started beside each other differ by one or two per cent, because memory is
laid out anew; here one process serves each request either bare or watched, and the hook is put
in and taken out every hundred requests, so that tenths of a microsecond can be told.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import urllib.request
from typing import TYPE_CHECKING

from figures import Spread, machine, table
from overhead import WARM_UP, Case, settle, settled_interval
from servers import CORES, on_core, serving
from traffic import Client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Round = Mapping[str, Sequence[float]]  # ns, bare and watched, by what was hooked in

CASES = [
    Case("page_flask", "gunicorn gthread"),
    Case("page_starlette", "uvicorn"),
    Case("hello_wsgi", "gunicorn gthread"),
    Case("hello_flask", "gunicorn gthread"),
    Case("hello_asgi", "uvicorn"),
    Case("hello_starlette", "uvicorn"),
]
SETTLING_SECONDS = 4
NO_SNAPSHOTS = {"every": 1 << 40}


def rounds(case: Case, seconds: float) -> Sequence[Round]:
    """Serve so long, and return what requests took meanwhile."""
    os.environ["BENCHMARK_INTERVAL"] = str(settled_interval(case))
    os.environ["BENCHMARK_APP"] = case.app
    with serving(case.server, "drawn", "bare", NO_SNAPSHOTS) as server:
        client = Client(server.address, keep_alive=True, connections=1)
        settle(server, client, SETTLING_SECONDS)
        told(server.address)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.send(WARM_UP)
        client.close()
        return told(server.address)


def told(address: tuple[str, int]) -> Sequence[Round]:
    """Ask the app what its requests took since it was asked last."""
    with urllib.request.urlopen("http://{}:{}/drawn".format(*address)) as answer:
        found: list[Round] = json.load(answer)
    return found


def parts(measured: Sequence[Round]) -> Mapping[str, list[tuple[float, float]]]:
    """Return what each part adds, in nanoseconds and divided by the bare app, round by round."""
    found: dict[str, list[tuple[float, float]]] = {}
    for one in measured:
        bare, visit = one["no hook"]
        added = {
            "visit": visit - bare,
            "hook": one["no samples"][0] - bare,
            "samples": one["samples"][1] - one["no samples"][1],
            "all": one["samples"][1] - bare,
        }
        for part, nanoseconds in added.items():
            found.setdefault(part, []).append((nanoseconds, nanoseconds / bare))
    return found


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median within its interval of 95 %, by ranks, which supposes nothing."""
    ordered = sorted(values)
    middle, reach = len(ordered) / 2, 0.98 * math.sqrt(len(ordered))
    low, high = max(0, int(middle - reach)), min(len(ordered) - 1, math.ceil(middle + reach))
    return ordered[low], ordered[int(middle)], ordered[high]


def shown(values: Sequence[tuple[float, float]]) -> str:
    """Write what a part adds."""
    low, middle, high = (value / 1000 for value in median([added for added, _ in values]))
    share = median([ratio for _, ratio in values])[1]
    return f"{middle:.1f} ({low:.1f} to {high:.1f}), {share:.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    chosen = parser.parse_args()
    print(machine(), "µs of CPU per request, the interval of 95 %, and as a share of the bare.\n")
    head = ("app, server", "bare", "visit", "hook", "samples", "all, but snapshots")
    rows = []
    with on_core(CORES[0]):
        for case in CASES:
            measured = rounds(case, chosen.seconds)
            bare = Spread.of([one["no hook"][0] / 1000 for one in measured]).shown(0)
            rows.append((case.title, bare, *map(shown, parts(measured).values())))
    print(table(head, rows))


if __name__ == "__main__":
    main()
