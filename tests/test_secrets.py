"""No value of the app is in anything that leakmw says."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from leakmw import forked
from leakmw.tracers import sampling

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="nothing is forked here")

SECRET = "hunter2"
ENGINES = ["tracemalloc"] if sampling.unavailable() else ["sampling", "tracemalloc"]


@cache
def answers(engine: str) -> dict[str, str]:
    """Return all that was said of an app with a secret in every place where data can be."""
    command = [sys.executable, "-m", "tests.apps.secretive", SECRET, engine]
    with TemporaryDirectory() as folder:
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said: dict[str, str] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("engine", ENGINES)
def test_what_comes_from_data_is_shown_nowhere(engine: str) -> None:
    """Keys, values, reprs, docstrings, and all names that were made from data at run time.

    Of classes, attributes, modules, functions, files, threads, tasks, loggers, variables; in each
    report, log event, page and answer.
    """
    said = answers(engine)
    assert [where for where, text in said.items() if SECRET in text.lower()] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_what_stands_in_code_is_shown(engine: str) -> None:
    """The innocent names beside them: that is what a report is for."""
    said = answers(engine)
    for where in ("GET /api/report */*", "GET / text/html", "GET / text/plain"):
        assert "__main__.STATE → Shop.…" in _plain(said[where])
    for path in ("KEPT", "STATE → Shop.…", "CLASSES", "….instances", "ROWS", "LOGGER → Logger.…"):
        assert f"__main__.{path}" in _plain(said["heap"])
    assert "a class …" in _plain(said["GET /api/gc */*"])
    inspected = _plain(said["POST /api/gc/inspect */*"])
    assert "__main__.Cycle" in inspected
    assert "a class …" in inspected
    assert "secretive.py" in said["log"]
    for where in ("profile format=collapsed", "listing", "GET /debug/pprof/heap */*"):
        assert "keep" in said[where]
        assert "secretive.py" in said[where]
    assert "200 OK" in said["profile seconds=1"]
    assert "leakmw_leak_" in said["GET /metrics */*"]
    assert "secretive.py" in said["GET /api/profile?format=collapsed */*"]
    assert '"error_type": "LookupError"' in said["log"]


def _plain(text: str) -> Any:
    return text.replace("\\u2026", "…").replace("\\u2192", "→")
