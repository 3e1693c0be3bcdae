"""What ``leakmw doctor`` looks at: whether this Python can do all that leakmw needs."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import NamedTuple

from leakmw import forked
from leakmw.tracers import sampling

FAULTY_COLLECTOR = ((3, 14, 0), (3, 14, 4))
"""First and last Python whose collector lets garbage pile up (CPython issue 142516)."""


class Check(NamedTuple):
    """One thing looked at.

    Attributes:
        name: What.
        good: Whether it is as it should be.
        found: What was found.
        remedy: What to do about it, if anything.
    """

    name: str
    good: bool
    found: str
    remedy: str | None = None


def examine() -> list[Check]:
    """Look at everything."""
    return [
        Check("leakmw", True, version("leakmw")),  # it runs
        _python(sys.version_info[:3]),
        _engine(sampling.unavailable()),
        _fork(),
    ]


def _python(release: tuple[int, ...]) -> Check:
    found = f"{platform.python_implementation()} {'.'.join(map(str, release))}"
    first, last = FAULTY_COLLECTOR
    if first <= release <= last:
        remedy = "its garbage collector lets garbage pile up, which looks like a leak: use 3.14.5"
        return Check("python", False, found, remedy)
    return Check("python", True, found)


def _engine(reason: str | None) -> Check:
    if reason is None:
        return Check("engine", True, "sampling: its extension is built and loads")
    return Check(
        "engine",
        False,
        f"tracemalloc in short windows, which takes many more requests: {reason}",
        "install a C compiler and the headers of this Python, then run: "
        "pip install --force-reinstall --no-binary leakmw leakmw",
    )


def _fork() -> Check:
    if forked.AVAILABLE:
        return Check("fork", True, "available: long work is done on a copy of the process")
    return Check(
        "fork",
        False,
        "not available",
        "what would be done on a copy of the process is done in it, where it is small enough; "
        "Linux has fork",
    )
