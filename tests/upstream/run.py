"""Run the published test suites of Werkzeug and Starlette, bare and with every app watched.

``python tests/upstream/run.py [werkzeug] [starlette]``: each suite comes, in the version that is
installed here, as the source distribution that its makers published, and runs in a virtual
environment of its own. The status is 1 if any test ends differently with leakmw than without.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class Suite(NamedTuple):
    """A published test suite.

    Attributes:
        group: Dependency group of its ``pyproject.toml`` that its tests need.
        plugin: Module beside this one: a pytest plugin that wraps every app of the suite, and at
            its end writes how many there were into the file named by ``UPSTREAM_WRAPPED``.
        requirements: What the tests need besides.
        options: For pytest, the same with and without leakmw.
    """

    group: str
    plugin: str
    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


SUITES = {
    # a test of the reloader waits for ever where the kernel does not tell of changed files
    "werkzeug": Suite(group="tests", plugin="wrap_werkzeug", options=("--timeout=120",)),
    "starlette": Suite(group="dev", plugin="wrap_starlette"),
}


def main() -> int:
    """Run the suites that were asked for, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}")
    chosen = parser.parse_args().suites or list(SUITES)
    differing = 0
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            differing += _differences(name, SUITES[name], Path(folder))
    return 1 if differing else 0


def _differences(name: str, suite: Suite, folder: Path) -> int:
    """Run one suite twice, say how it went, and return how many tests ended differently."""
    version = metadata.version(name)
    source = _fetch(f"{name}=={version}", folder)
    python = _environment(folder / "venv", _requirements(name, version, suite, source))
    count = folder / "wrapped"
    bare = _run(python, source, suite, count, [])
    watched = _run(python, source, suite, count, ["-p", suite.plugin])
    wrapped = int(count.read_text())
    if not wrapped:
        raise SystemExit(f"{suite.plugin} has wrapped no app: what it patches has moved")
    _say(f"{name} {version} bare: {_summary(bare)}")
    _say(f"{name} {version} with {wrapped} apps wrapped: {_summary(watched)}")
    differing = {test for test in bare | watched if bare.get(test) != watched.get(test)}
    for test in sorted(differing):
        _say(f"  {test}: {bare.get(test)} bare, {watched.get(test)} wrapped")
    return len(differing)


def _fetch(requirement: str, folder: Path) -> Path:
    """Return where the source distribution of *requirement* was unpacked."""
    sources_only = ("--no-deps", "--no-binary", ":all:")
    _call(sys.executable, "-m", "pip", "download", *sources_only, "-qd", str(folder), requirement)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _requirements(name: str, version: str, suite: Suite, source: Path) -> list[str]:
    theirs = tomllib.loads((source / "pyproject.toml").read_text())["dependency-groups"]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = [entry for entry in theirs[suite.group] if isinstance(entry, str)]
    return [f"{name}=={version}", *needed, *suite.requirements, *ours]


def _environment(folder: Path, requirements: list[str]) -> Path:
    """Return the interpreter of a new virtual environment with *requirements*."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _call(str(python), "-m", "pip", "install", "-q", *requirements)
    return python


def _run(
    python: Path, source: Path, suite: Suite, count: Path, options: list[str]
) -> dict[str, str]:
    """Return the outcome of each test of the suite by its name."""
    report = source / "outcomes.xml"
    path = os.pathsep.join([str(HERE), str(ROOT / "src")])
    quietly = ("-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}")
    subprocess.run(
        [str(python), "-m", "pytest", *quietly, *suite.options, *options],
        cwd=source,
        env=os.environ | {"PYTHONPATH": path, "UPSTREAM_WRAPPED": str(count)},
        check=False,  # some tests may fail without us, too
    )
    cases = ET.parse(report).iter("testcase")  # noqa: S314  # pytest wrote it just now
    return {f"{case.get('classname')}.{case.get('name')}": _outcome(case) for case in cases}


def _outcome(case: ET.Element) -> str:
    bad = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
    return bad[0] if bad else "passed"


def _summary(outcomes: dict[str, str]) -> str:
    counts = Counter(outcomes.values())
    shares = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    return f"{len(outcomes)} tests, {shares}"


def _call(*command: str) -> None:
    subprocess.run(command, check=True)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
