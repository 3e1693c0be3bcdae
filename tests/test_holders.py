"""What holds a growth is found, named and explained; no value of the app shows."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping


class Expected(NamedTuple):
    """What is to be found of one that keeps things.

    Attributes:
        cause: Kind of mistake.
        path: End of the holder's name; ``None`` where nothing holds it.
        kind: Of container.
        cap: Entries that it will not exceed.
    """

    cause: str
    path: str | None
    kind: str
    cap: int | None = None


KEEPERS = {
    "array": Expected("native-memory", "ARRAYS", "list"),
    "atexit": Expected("callback-registry", "atexit", "atexit"),
    "attribute": Expected("long-lived-holder", "RECOMMENDER → Recommender.visits", "list"),
    "bounded cache": Expected("unbounded-cache", "lru_cache of price() at", "lru_cache", 7000),
    "cache": Expected("unbounded-cache", "lru_cache of quote() at", "lru_cache"),
    "callback": Expected("callback-registry", "LISTENERS[…]", "list"),
    "capped": Expected("long-lived-holder", "POOL → Pool.waiting", "list", 9000),
    "class": Expected("unbounded-collection", "Client.register", "dict"),
    "closure": Expected("unbounded-collection", "→ cell aggregates", "dict"),
    "coroutine": Expected("suspended-generator", "COROUTINES", "list"),
    "cycle": Expected("reference-cycle", None, ""),
    "deque": Expected("unbounded-collection", "NEWEST", "deque", 5000),
    "dict": Expected("unbounded-collection", "SESSIONS", "dict"),
    "fields": Expected("unbounded-collection", "ROWS", "list"),
    "finalizer": Expected("callback-registry", "weakref.finalize._registry", "dict"),
    "generator": Expected("suspended-generator", "GENERATORS", "list"),
    "handlers": Expected("callback-registry", "→ Logger.handlers", "list"),
    "instances": Expected("growing-types", "INSTANCES", "dict"),
    "liar": Expected("unbounded-collection", "LIARS", "list"),
    "list": Expected("unbounded-collection", "LOG", "list"),
    "ordered": Expected("unbounded-collection", "ORDERED", "OrderedDict"),
    "queries": Expected("debug-log", "LOCAL.queries", "list"),
    "row": Expected("unbounded-collection", "ROWS", "list"),
    "slot": Expected("long-lived-holder", "SLOTTED → Slotted.seen", "list"),
    "task": Expected("pending-task", "TASKS", "set"),
    "thread": Expected("thread", "THREADS", "list"),
    "timer": Expected("pending-task", "timers of the event loop", "list"),
    "traceback": Expected("held-traceback", "ERRORS", "list"),
    "types": Expected("growing-types", "CLASSES", "list"),
}


@cache
def walked(prepare: str) -> tuple[Mapping[str, Any], str]:
    """Return what a walk of a process that keeps all these has found, and all that it said."""
    command = [sys.executable, "-m", "tests.apps.keepers", prepare]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout), done.stdout


@pytest.mark.parametrize("prepare", ["plain", "frozen"])
@pytest.mark.parametrize("keeper", sorted(KEEPERS))
def test_a_holder_is_named_with_the_mistake(keeper: str, prepare: str) -> None:
    """Also after gc.freeze(), which takes what it freezes from the collector's sight."""
    found, expected = walked(prepare)[0]["found"][keeper], KEEPERS[keeper]
    path = found["path"]
    assert found["cause"] == expected.cause
    assert (found["kind"], found["cap"]) == (expected.kind, expected.cap)
    if expected.path is None:
        assert (path, found["garbage"]) == (None, 1.0)
    elif expected.path.endswith(" at"):
        assert path.startswith(expected.path)
    else:
        assert path.endswith(expected.path)
    if found["length"] is not None and expected.kind != "atexit":
        assert found["length"] == 40


def test_no_code_of_the_app_runs_in_a_walk() -> None:
    """No comparison, no hash, no length, no attribute hook, no finalizer."""
    assert walked("plain")[0]["asked"] == 0


def test_no_value_shows_in_what_a_walk_says() -> None:
    """Not of keys, values, reprs, docstrings, nor of names that were made at run time."""
    for prepare in ("plain", "frozen"):
        assert "hunter2" not in walked(prepare)[1]
