"""Hostile, uncollectable, much referred to: holder and garbage are right, no code runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.apps.compiled import built

from leakmw import forked

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="nothing is forked here")

ITEM = "[…]"
OF_HOSTILE = f"__main__.HELD{ITEM} → Hostile.kept{ITEM}"
HOSTILE = "__main__.hostile.<locals>.Hostile"


class Expected(NamedTuple):
    """What is to be found in a heap.

    Attributes:
        path: Of the holder.
        kind: Of container.
        length: Of the holder.
        retained: Bytes that only that keeps, at least.
        type: One in the cycles of the garbage.
        cycles: How many there are with it.
        cause: Kind of mistake.
    """

    path: str
    kind: str
    length: int
    retained: int
    type: str
    cycles: int
    cause: str = "unbounded-collection"


PLAIN = 40 * 120
"""Bytes of what has grown."""

HEAPS = {
    "blocking": Expected(OF_HOSTILE, "dict", 40, PLAIN, HOSTILE, 25),
    "classes": Expected(
        f"__main__.MADE{ITEM} → a class ….instances", "list", 40, PLAIN, "type", 10_000
    ),
    "lying": Expected(OF_HOSTILE, "dict", 40, PLAIN, HOSTILE, 25),
    "raising": Expected(OF_HOSTILE, "dict", 40, PLAIN, HOSTILE, 25),
    "referred": Expected(f"__main__.REFERRING{ITEM}{ITEM}", "list", 40, PLAIN, "list", 1),
}
LEGACY = Expected("__main__.HELD", "list", 40, PLAIN, "legacy.Legacy", 12)


def looked_at(*arguments: str) -> dict[str, Any]:
    """Return what two looks at such a heap have found."""
    command = [sys.executable, "-m", "tests.apps.extremes", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def as_expected(seen: dict[str, Any], expected: Expected) -> None:
    """Assert that both looks are right, and that nothing of the app ran for them."""
    found = seen["found"]
    assert (found["path"], found["kind"]) == (expected.path, expected.kind)
    assert (found["length"], found["cause"]) == (expected.length, expected.cause)
    assert found["objects"] in (40, 41)  # the list that they are in grew there too
    assert found["garbage"] == 0
    assert expected.retained <= found["retained"] <= 1.5 * expected.retained + 10_000
    groups = [one for one in seen["groups"] if expected.type in dict(one["types"])]
    assert sum(one["cycles"] for one in groups) == expected.cycles
    assert seen["asked"] == 0


@pytest.mark.parametrize("prepare", ["plain", "frozen"])
@pytest.mark.parametrize("name", HEAPS)
def test_a_heap_that_is_hard_to_walk_is_looked_at(name: str, prepare: str) -> None:
    """A hundred thousand referrers; ten thousand classes.

    Objects of which all methods, and those of their class, raise, do not end, or lie. With the
    collector off, and after gc.freeze().
    """
    as_expected(looked_at(name, prepare), HEAPS[name])


@pytest.mark.parametrize("prepare", ["plain", "frozen"])
def test_what_cannot_be_collected_is_looked_at(tmp_path: Path, prepare: str) -> None:
    """Objects of a C type with a legacy tp_del: some live, some lie in gc.garbage."""
    seen = looked_at("legacy", prepare, str(built("legacy", tmp_path)))
    as_expected(seen, LEGACY)
    (group,) = (one for one in seen["groups"] if "legacy.Legacy" in dict(one["types"]))
    assert group["kept_objects"] == 12
    assert group["uncollectable"] in (["legacy.Legacy"], None)
