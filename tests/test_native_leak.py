"""What C allocates for an app under its face, in a process whose heap nobody else uses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import allocators
from leakmw.pipeline import samples
from leakmw.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SERVE = """
import ctypes, json, random, sys, time
from wsgiref.util import setup_testing_defaults
from leakmw.report.document import report_document
from leakmw.wsgi import LeakMiddleware

what, engine = sys.argv[1:]
EVERY, WINDOWS = 100, 11
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
libc.free.argtypes = (ctypes.c_void_p,)
kept = []

def app(environ, start_response):
    if environ["PATH_INFO"] == "/a" and what == "python":
        kept.append(bytes(20_000))
    elif environ["PATH_INFO"] == "/a" and what != "idle":
        block = libc.malloc(20_000)
        libc.memset(block, 1, 20_000)
        if what == "frees":
            libc.free(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]

def ask(path):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    list(wrapped(environ, lambda *_: None))

if what == "idle":  # a peak that leaves much behind, since what came last lies at its end
    peak = [libc.malloc(1000) for _ in range(150_000)]
    for block in peak:
        libc.memset(block, 1, 1000)
    for block in peak[:-1]:
        libc.free(block)

wrapped = LeakMiddleware(app, engine=engine, every=EVERY, frames=8)
chance = random.Random(2)
for window in range(WINDOWS):
    for _ in range(EVERY if window else EVERY // 2 - 1):
        ask("/a" if chance.random() < (0.3, 0.5, 0.7)[window % 3] else "/b")
    if what == "idle":
        time.sleep(0.5)  # a first reading of the heap that takes its time is not repeated at once
    wrapped.monitor.take_snapshot(60)
while wrapped.monitor.report().id != wrapped.monitor.snapshots()[-1].id:
    pass
print(json.dumps(report_document(wrapped.monitor.report())))
"""

pytestmark = pytest.mark.skipif(allocators.read() is None, reason="the C heap is not glibc's")

ENGINES = ["tracemalloc", "sampling"] if samples(Settings()) else ["tracemalloc"]


def report(folder: Path, what: str, engine: str) -> dict[str, Any]:
    """Serve about a thousand requests, and return the last report."""
    script = folder / "shop.py"
    script.write_text(SERVE)
    command = [sys.executable, str(script), what, engine]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def grown(told: dict[str, Any]) -> set[tuple[str, str | None, bool]]:
    """Return endpoint and cause of all that is said to grow, and whether it has a line."""
    return {
        (one["endpoint"], one["cause"], one["site"] is not None)
        for one in told["findings"]
        if one["verdict"] in {"leak", "suspect"}
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_library_forgets_to_free_is_found_at_its_endpoint(
    tmp_path: Path, engine: str
) -> None:
    """With what a request of it takes, and no line."""
    told = report(tmp_path, "leaks", engine)
    assert grown(told) == {("GET /a", "native-memory", False)}
    (finding,) = (one for one in told["findings"] if one["verdict"] in {"leak", "suspect"})
    assert finding["bytes_per_request"]["estimate"] == pytest.approx(20_000, rel=0.1)
    assert told["memory"]["native_bytes"] > 5_000_000


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_freed_is_not_found(tmp_path: Path, engine: str) -> None:
    """However much it was."""
    assert grown(report(tmp_path, "frees", engine)) == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_leak_of_pythons_is_found_once(tmp_path: Path, engine: str) -> None:
    """At its line: its objects lie in the C heap, which grows as the other leak's does."""
    ((endpoint, cause, has_line),) = grown(report(tmp_path, "python", engine))
    assert (endpoint, has_line) == ("GET /a", True)
    assert cause != "native-memory"


def test_what_a_peak_left_behind_is_fragmentation(tmp_path: Path) -> None:
    """With what a trim would give back, tried in a forked child."""
    told = report(tmp_path, "idle", "tracemalloc")
    assert grown(told) == set()
    (finding,) = (one for one in told["findings"] if one["verdict"] == "fragmentation")
    assert finding["growth_bytes"] > 100_000_000
    assert any("malloc_trim(0), tried in a forked copy" in one for one in finding["evidence"])
    assert "malloc_trim(0)" in finding["advice"]
