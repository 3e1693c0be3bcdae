"""What holds around every test: a clean environment before it, nothing left running after it."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import settings

from leakmw.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

# no test has a time limit: a busy machine is no failure
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's own shell reaches a test."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """A test that leaves tracing on, a thread of leakmw's or a child process behind has failed."""
    before = _running()
    yield
    patience = time.monotonic() + 10  # what was told to stop may take its time to do so
    while (left := _running() - before) and time.monotonic() < patience:
        gc.collect()  # an app that was thrown away takes its thread with it
        time.sleep(0.01)
    if "tracemalloc" in left:
        tracemalloc.stop()
    assert not left, f"left running: {', '.join(sorted(left))}"


def _running() -> set[str]:
    threads = {
        f"thread {thread.ident}"
        for thread in threading.enumerate()
        # a thread not made by threading stays in its list after its end before Python 3.13
        if thread.name == "leakmw" and thread.ident in sys._current_frames()
    }
    children = {f"process {child.pid}" for child in psutil.Process().children()}
    return threads | children | ({"tracemalloc"} if tracemalloc.is_tracing() else set())
