"""What engines outside collect: metrics, and memory by traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from leakmw.admin.access import parameters
from leakmw.admin.messages import (
    BYTES,
    JSON,
    TEXT,
    AdminError,
    AdminRequest,
    AdminResponse,
    written,
)
from leakmw.records import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leakmw.records import Monitored, Profile, Snapshot, Worker, WorkerStatus
    from leakmw.report.stacks import Stacks
    from leakmw.settings import Settings

PROFILE_FORMATS = ("speedscope", "collapsed", "pprof")
"""Of ``api/profile``; the first is what there is without asking."""

MAX_SECONDS = 31 * 86_400
"""Longest time that may be asked for."""

PROFILES_TIMEOUT = 8.0
"""Seconds that a request waits for them: less than the 10 that a scraper gives it."""

SCRAPE_TIMEOUT = 0.5
"""The same for the metrics, most of which need no waiting: a worker may serve nobody meanwhile."""

_INDEX = """\
/debug/pprof/

heap\tlive objects and bytes by traceback, with route and method
allocs\tthe same: what was freed again is not known

?debug=1\tas text
?seconds=N\twhat has grown since the snapshot of N seconds ago
?gc=1\tis ignored: POST ../../api/gc/collect collects
"""


class Exports:
    """Answers of the addresses that a scraper knows.

    Args:
        settings: What the figures are compared with.

        monitored: What is shown.
    """

    def __init__(self, settings: Settings, monitored: Monitored) -> None:
        self._settings = settings
        self._monitored = monitored
        self._scraped: tuple[Mapping[Worker, int], tuple[Profile, ...]] = ({}, ())

    def metrics(self, request: AdminRequest) -> AdminResponse:
        """Answer Prometheus.

        Raises:
            AdminError: If its client library is not there.
        """
        from leakmw.report.metrics import exposition
        from leakmw.report.readings import Seen

        shown = self._monitored
        workers = shown.workers()
        profiles = self._condensed(workers)
        seen = Seen(workers, profiles, shown.report(), self._settings.overhead)
        try:
            answer = exposition(seen, request.headers.get("accept", ""))
        except ModuleNotFoundError as error:
            message = "prometheus_client is missing here: pip install 'leakmw[prometheus]'"
            raise AdminError(501, "not_installed", message) from error
        return AdminResponse(200, (("Content-Type", answer.content_type),), answer.body)

    def index(self, _request: AdminRequest) -> AdminResponse:
        """Say what pprof finds here."""
        return written(_INDEX, TEXT)

    def pprof(self, request: AdminRequest) -> AdminResponse:
        """Answer pprof, with Go's own parameters.

        Raises:
            AdminError: If one of them is wrong, or there is nothing to show yet.
        """
        as_text = _choice(request, "debug", ("0", "1"))
        # a GET may come from anywhere, and a collection runs the app's finalizers
        _choice(request, "gc", ("0", "1"))
        stacks = self._stacks(request)
        if as_text == "1":
            from leakmw.report.flames import listing

            return written(listing(stacks), TEXT)
        return _pprof(stacks, request.path.rpartition("/")[2])

    def profile(self, request: AdminRequest) -> AdminResponse:
        """Show memory by traceback in the format asked for.

        Raises:
            AdminError: If a parameter is wrong, or there is nothing to show yet.
        """
        wanted = _choice(request, "format", PROFILE_FORMATS)
        stacks = self._stacks(request)
        if wanted == "pprof":
            return _pprof(stacks, "heap")
        from leakmw.report.flames import collapsed, speedscope

        if wanted == "collapsed":
            return written(collapsed(stacks), TEXT)
        return written(json.dumps(speedscope(stacks)), JSON)  # not indented: thousands of numbers

    def _condensed(self, workers: Sequence[WorkerStatus]) -> tuple[Profile, ...]:
        """Return profiles without tracebacks, those of before where there is nothing new.

        A scraper comes every few seconds, and the background thread may be at a long look: then
        the figures of before are as good.
        """
        from leakmw.report.readings import condensed

        alive = {status.worker: status.snapshots for status in workers if status.alive}
        known, kept = self._scraped
        if alive != known:
            with suppress(SnapshotError):
                kept = tuple(map(condensed, self._monitored.profiles(SCRAPE_TIMEOUT)))
                self._scraped = alive, kept
        return tuple(profile for profile in kept if profile.worker in alive)

    def _profiles(self) -> tuple[Profile, ...]:
        try:
            return self._monitored.profiles(PROFILES_TIMEOUT)
        except SnapshotError as error:
            raise AdminError(503, "no_profile", str(error)) from error

    def _stacks(self, request: AdminRequest) -> Stacks:
        """Return what is alive in all workers, or what has grown in this one."""
        from leakmw.report.stacks import alive, grown

        seconds = _seconds(request)
        if seconds is None:
            profiles = self._profiles()
            if not profiles:
                raise _nothing_yet("No snapshot has been taken yet.")
            return alive(profiles)
        older, newer = _ago(self._monitored.snapshots(), seconds)
        try:
            return grown(self._monitored.diff(older.id, newer.id))
        except KeyError as error:
            raise _nothing_yet("The snapshot has just been let go. Ask again.") from error
        except SnapshotError as error:
            raise AdminError(409, "not_comparable", str(error)) from error


def _pprof(stacks: Stacks, title: str) -> AdminResponse:
    from leakmw.report.pprof import pprof

    headers = (
        ("Content-Type", BYTES),
        ("Content-Disposition", f'attachment; filename="{title}.pb.gz"'),
    )
    return AdminResponse(200, headers, pprof(stacks))


def _ago(kept: tuple[Snapshot, ...], seconds: int) -> tuple[Snapshot, Snapshot]:
    """Return the newest snapshot, and the latest that is so much older, or else the oldest.

    Raises:
        AdminError: If there are no two.
    """
    if len(kept) < 2:  # noqa: PLR2004  # a pair
        raise _nothing_yet("No two snapshots have been taken yet.")
    *before, newer = kept
    then = newer.taken_at - timedelta(seconds=seconds)
    return next((one for one in reversed(before) if one.taken_at <= then), before[0]), newer


def _choice(request: AdminRequest, name: str, values: tuple[str, ...]) -> str:
    """Return the value of a parameter; the first of *values* where it is not given.

    Raises:
        AdminError: If it is none of them.
    """
    given = parameters(request, name, blank=True) or [values[0]]
    if len(given) > 1 or given[0] not in values:
        raise AdminError(400, "bad_query", f"{name!r} is one of: {', '.join(values)}.")
    return given[0]


def _seconds(request: AdminRequest) -> int | None:
    given = parameters(request, "seconds", blank=True)
    if not given:
        return None
    (text,) = given if len(given) == 1 else ("",)
    # int() takes other scripts' digits, signs and thousands of digits
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0  # noqa: PLR2004
    if not 1 <= number <= MAX_SECONDS:
        message = f"'seconds' is a whole number from 1 to {MAX_SECONDS:,}."
        raise AdminError(400, "bad_query", message)
    return number


def _nothing_yet(message: str) -> AdminError:
    return AdminError(404, "no_profile", message)
