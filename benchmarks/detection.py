"""How many requests a leak takes until the report suspects it, at default settings.

python benchmarks/detection.py [--bytes 1024 100] [--after 0] [--runs 5]
    [--settings '{"every": 500}']

A Flask app makes the same page at three endpoints, and one of them keeps some bytes of each
request, from the first on or after so many that kept nothing. Requests come at random. Each run is
a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Any

from figures import Spread, machine, table
from servers import APPS

if TYPE_CHECKING:
    from leakmw.monitor import Monitor

LEAKING, LINE_OF = "GET /leak", "keep"
HEALTHY = ("/a", "/b")
MOST_REQUESTS = 400_000
LOOK_EVERY = 200


def keep(kept: list[bytes], size: int) -> None:
    """Leak."""
    kept.append(bytes(size - sys.getsizeof(b"")))


def app_that_leaks(size: int, begun: Event | None = None) -> Any:
    """Return a Flask app with one endpoint that leaks, from the first request on or once told."""
    from catalog import page
    from flask import Flask

    app = Flask(__name__)
    kept: list[bytes] = []

    def leak() -> str:
        if begun is None or begun.is_set():
            keep(kept, size)
        return page()

    app.add_url_rule("/leak", view_func=leak)
    for path in HEALTHY:
        app.add_url_rule(path, path, page)
    return app


def suspected(monitor: Monitor) -> list[tuple[str, str]]:
    """Return endpoint and function of all that the report suspects."""
    report = monitor.report()
    found = report.findings if report else ()
    growths = [one.growth for one in found if one.verdict in {"leak", "suspect"}]
    return [(one.endpoint, str(one.site and one.site.function)) for one in growths]


def run(
    size: int, seed: int, after: int, settings: dict[str, Any]
) -> tuple[int, list[tuple[str, str]]]:
    """Return the requests of the leaking endpoint until it was suspected, and what else was."""
    from werkzeug.test import EnvironBuilder

    from leakmw.wsgi import LeakMiddleware

    begun = Event()
    face = LeakMiddleware(app_that_leaks(size, begun), store="memory", **settings)
    chance = random.Random(seed)  # noqa: S311  # no secret
    paths = ("/leak", *HEALTHY)
    environs = {path: EnvironBuilder(path).get_environ() for path in paths}
    leaked = 0
    for number in count(1):
        path = chance.choice(paths)
        if number > after:
            begun.set()
            leaked += path == "/leak"
        body: Any = face(dict(environs[path]), _start_response)
        list(body)
        body.close()
        if number % LOOK_EVERY == 0:
            found = suspected(face.monitor)
            if (LEAKING, LINE_OF) in found or number > after + MOST_REQUESTS:
                break
    face.monitor.close()
    return leaked, [one for one in found if one != (LEAKING, LINE_OF)]


def _start_response(*_: Any) -> Any:
    return None


def runs(size: int, number: int, after: int, settings: str) -> tuple[str, ...]:
    """Return a row of the table."""
    needed, wrong = [], 0
    for seed in range(number):
        one = ("--one", str(size), str(seed), "--after", str(after), "--settings", settings)
        command = [sys.executable, __file__, *one]
        said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        needed.append(said[0])
        wrong += len(said[1])
    return f"{size:,} bytes", Spread.of(needed).shown(0), f"{max(needed):,}", str(wrong)


def main() -> None:
    """Print the table, or one run's outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, nargs="*", default=[1024, 100])
    parser.add_argument("--after", type=int, default=0, help="requests before the leak begins")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--settings", default="{}", help="leakmw's, as JSON")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.path.insert(0, str(APPS))
        size, seed = options.one
        print(json.dumps(run(size, seed, options.after, json.loads(options.settings))))
        return
    rows = [runs(size, options.runs, options.after, options.settings) for size in options.bytes]
    begin = f"the leak begins after {options.after:,} requests"
    print(f"{options.runs} runs each, {begin}, settings {options.settings}. {machine()}\n")
    print(
        table(("a request leaks", "requests of the endpoint", "at most", "others suspected"), rows)
    )


if __name__ == "__main__":
    main()
