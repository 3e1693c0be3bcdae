"""How often snapshots and samples are taken where nothing grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakmw.records import Growth

AT_ONCE = 12
"""Snapshots that are taken whatever they cost: a leak that begins with the app is one by then."""

LEAST_AT_ONCE = 4
"""The same of one of many workers: their windows add up."""

SHARE = 0.0025
"""Part of the process's CPU time that snapshots and reports may take from then on."""

MOST_BESIDE = 0.01
"""Part of it, beside what samples may take, that all of leakmw may have taken so far. A process
pays for its first snapshots with later ones that it puts off."""

LEAST_SHARE = 0.0005
"""Part of it that they may take even then."""

CALM_PART = 0.5
"""Part of what samples may cost that they do from then on, while nothing is found to grow. What
begins to grow is found as surely, only later, and has all of it as soon as it is suspected."""

LEAST_PRESSING = 10.0
"""Bytes per request by which a suspect must grow to have more snapshots taken than are affordable.
With less, ten million requests take 100 MB."""


def presses(suspected: Growth) -> bool:
    """Say whether it must soon be known whether this is a leak."""
    per_request = suspected.bytes_per_request
    return per_request is None or per_request.estimate >= LEAST_PRESSING


class Pace:
    """Weighs what the last snapshot and its report have cost against what the process has used.

    All times are CPU seconds since some moment that stays the same.

    Args:
        overhead: Part of the process's CPU time that taking samples may cost.
    """

    def __init__(self, overhead: float) -> None:
        self._most = overhead + MOST_BESIDE
        self._taken = 0
        self._began = self._cost = self._process = 0.0

    def begin(self, own: float, process: float) -> None:
        """A snapshot begins.

        Args:
            own: What leakmw's thread and children have used so far.

            process: What the whole process has.
        """
        self._taken += 1
        self._began, self._process, self._cost = own, process, 0.0

    def end(self, own: float) -> None:
        """Its report is made."""
        self._cost = own - self._began

    def begins(self, workers: int = 1) -> bool:
        """Say whether snapshots are taken whatever they cost.

        Args:
            workers: Those that take snapshots side by side, this one included.
        """
        return self._taken < max(LEAST_AT_ONCE, AT_ONCE // workers)

    def affords(self, used: float, process: float, workers: int = 1) -> bool:
        """Say whether another one can be afforded by now.

        Args:
            used: What all of leakmw has used so far, samples included.

            process: What the whole process has.

            workers: Those that take snapshots side by side, this one included.
        """
        if self.begins(workers):
            return True
        share = SHARE if used <= self._most * process else LEAST_SHARE
        return self._cost <= share * (process - self._process)
