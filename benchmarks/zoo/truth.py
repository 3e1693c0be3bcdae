"""What is true of a case, written beside its code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from zoo.shops import Shop

Build = Callable[[Shop], None]
"""Adds the case's endpoints to a shop."""

MARK = "# born"
"""Ends the line where the memory that stays is born."""

HEALTHY = ("/", "/search")
"""Endpoints that every shop has, and that keep nothing."""

EVENLY: Mapping[str, float] = MappingProxyType({})

CASES: dict[str, Case] = {}
"""Every case by name, in the order of the files."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One app and what is true of it.

    Attributes:
        name: Of its function.
        source: Which report it is taken from, by the number in the sources of the zoo.
        framework: What the app is written with.
        build: Adds its endpoints.
        leaks: Whether memory grows without bound.
        path: Path of the endpoint that leaks, or that looks as if it did.
        cause: The kind of mistake, as reports call it.
        holder: What keeps it, as a developer would say; ``None`` where nothing in Python does.
        per_request: Bytes that a request of the endpoint keeps, at all lines together, where that
            can be told.
        bound: Requests after which it has stopped growing, or falls for the first time, for those
            that look like leaks.
        shares: Part of the traffic by path; the others share the rest evenly.
        shifting: Whether the mix of the traffic changes over time.
        everywhere: Whether the framework's own memory leaks at the other endpoints, too.
        held_out: Whether nothing may be tuned on it: it is only scored.
    """

    name: str
    source: str
    framework: str
    build: Build
    leaks: bool
    path: str
    cause: str | None = None
    holder: str | None = None
    per_request: float | None = None
    bound: int | None = None
    shares: Mapping[str, float] = field(default=EVENLY)
    shifting: bool = False
    everywhere: bool = False
    held_out: bool = False

    def share(self, paths: int) -> float:
        """Return the part of the traffic that its path gets in a shop of so many *paths*."""
        return self.shares.get(self.path, (1 - sum(self.shares.values())) / paths)

    @property
    def born(self) -> frozenset[int]:
        """The lines of its file where the memory is born: none where Python does not see it."""
        lines, first = inspect.getsourcelines(self.build)
        return frozenset(
            number for number, line in enumerate(lines, first) if line.rstrip().endswith(MARK)
        )

    @property
    def file(self) -> str:
        """Its file."""
        return inspect.getfile(self.build)


def leak(source: str, framework: str, path: str, **truth: Any) -> Callable[[Build], Build]:
    """Enter a case that leaks at *path*."""
    return _entered(source=source, framework=framework, path=path, leaks=True, **truth)


def innocent(source: str, framework: str, path: str, **truth: Any) -> Callable[[Build], Build]:
    """Enter a case that only looks as if *path* leaked."""
    return _entered(source=source, framework=framework, path=path, leaks=False, **truth)


def _entered(**truth: Any) -> Callable[[Build], Build]:
    def enter(build: Build) -> Build:
        name = build.__name__
        if name in CASES:
            raise ValueError(f"there are two cases called {name}")
        # every third is not looked at while the rules are made
        held_out = len(CASES) % 3 == 2
        CASES[name] = Case(name=name, build=build, held_out=held_out, **truth)
        return build

    return enter
