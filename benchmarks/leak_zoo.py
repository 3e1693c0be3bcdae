"""Whether leaks are found, and whether anything else is called one.

python benchmarks/leak_zoo.py [--detectors leakmw "slope of RSS"] [--cases tiny] [--every 4]
                              [--json FILE]

Runs small web apps, some of which leak and some of which only look as if they did, under leakmw
and under what people use today. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from figures import machine, table
from servers import APPS

sys.path.insert(0, str(APPS))

from zoo.detectors import BARE, DETECTORS
from zoo.scoring import Outcome, named, run
from zoo.truth import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = (
    "detector",
    "leaks called `leak`",
    "at least suspected",
    "endpoint right",
    "line right",
    "cause right",
    "holder right",
    "innocents called `leak`",
    "suspected at the end",
    "requests until",
    "within a factor of 1.3",
    "CPU",
)


def outcome(case: Case, detector: str) -> Outcome | None:
    """Run one case in a process of its own; ``None`` if it failed, which is said."""
    command = [sys.executable, __file__, "--one", case.name, detector]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{case.name} under {detector} failed:\n{done.stderr}", file=sys.stderr)
        return None
    return Outcome(*json.loads(done.stdout.splitlines()[-1]))


def row(name: str, every: Sequence[Outcome], bare: float) -> tuple[str, ...]:
    """Return what one detector made of all cases."""
    leaks = [one for one in every if CASES[one.case].leaks]
    held = [one for one in leaks if one.holder is not None]
    innocents = [one for one in every if not CASES[one.case].leaks]
    called = [one.called for one in leaks if one.called is not None]
    suspected = [one.suspected for one in leaks if one.suspected is not None]
    factors = [one.factor for one in leaks if one.factor is not None]
    return (
        name,
        _part(len(called), len(leaks)),
        _part(len(suspected), len(leaks)),
        _part(sum(one.endpoint for one in leaks), len(leaks)),
        _part(sum(one.site for one in leaks), len(leaks)),
        _part(sum(one.cause for one in leaks), len(leaks)),
        _part(sum(bool(one.holder) for one in held), len(held)),
        _part(sum(one.alarms > 0 for one in innocents), len(innocents)),
        _part(sum(one.suspicions > 0 for one in innocents), len(innocents)),
        f"{median(called or suspected):,.0f}" if called or suspected else "-",
        _part(sum(factor <= 1.3 for factor in factors), len(factors)),
        f"{_cpu_seconds(every) / bare:.2f}" if bare else "-",
    )


def _cpu_seconds(every: Sequence[Outcome]) -> float:
    """Return what all requests would have taken, also those that a detector was not shown."""
    return sum(one.cpu_seconds / one.share for one in every)


def _part(some: int, of: int) -> str:
    return f"{some} of {of}" if of else "-"


BINS = ((1, 4), (5, 7), (8, 99))
"""Windows of growth, from and to, for which it is counted how often a verdict was right."""


def confidence(every: Sequence[Outcome]) -> str:
    """Return how often each verdict was right, by over how many windows it was reached."""
    rows = []
    for verdict in ("leak", "suspect"):
        for first, last in BINS:
            seen = [
                right
                for one in every
                for said, windows, right in one.judged
                if said == verdict and first <= windows <= last
            ]
            if seen:
                said = f"{verdict} over {first} to {last} windows"
                rows.append((said, str(len(seen)), f"{sum(seen) / len(seen):.1%}"))
    return table(("verdict", "times given", "right"), rows)


def say_misses(every: Sequence[Outcome]) -> None:
    """List what was missed and what was wrong."""
    for one in every:
        case = CASES[one.case]
        if case.leaks and one.called is None:
            word = "suspected only" if one.suspected else "missed"
            print(f"- {one.detector}: {case.name} ({case.framework}) {word}")
        if one.alarms or one.suspicions:
            print(f"- {one.detector}: {case.name}: {one.alarms} alarms; {'; '.join(one.wrong)}")
        if one.said and not (one.cause and one.holder in {True, None}):
            print(f"- {one.detector}: {case.name} ({case.cause}, {case.holder}): {one.said}")


def main() -> None:
    """Print the tables, or one case's outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS), choices=DETECTORS)
    parser.add_argument("--cases", default="", help="run those whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="run only each N-th case")
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "DETECTOR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, detector = options.one
        print(json.dumps(run(CASES[name], detector)), flush=True)
        os._exit(0)  # to take a heap of tracemalloc's down takes as long as a case
    cases = named(options.cases)[:: options.every]
    jobs = [(case, detector) for detector in options.detectors for case in cases]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [one for one in pool.map(lambda job: outcome(*job), jobs) if one is not None]
    if options.json:
        options.json.write_text(json.dumps([one._asdict() for one in found], indent=1))
    by_detector: dict[str, list[Outcome]] = defaultdict(list)
    for one in found:
        by_detector[one.detector].append(one)
    bare = _cpu_seconds(by_detector.get(BARE, ()))
    print(f"{len(cases)} cases. {machine()}\n")
    for title, held_out in (("For development", False), ("Only scored", True)):
        rows = [
            row(name, [one for one in every if CASES[one.case].held_out == held_out], 0)
            for name, every in by_detector.items()
        ]
        print(f"{title}:\n\n{table(HEAD, rows)}")
    print(f"All:\n\n{table(HEAD, [row(name, e, bare) for name, e in by_detector.items()])}")
    for name in [name for name in by_detector if name.startswith("leakmw")]:
        print(f"How often {name} was right:\n\n{confidence(by_detector[name])}")
    say_misses([one for every in by_detector.values() for one in every])


if __name__ == "__main__":
    main()
