"""What looks at a case: leakmw, and what users do today."""

from __future__ import annotations

import gc
import math
import re
import tracemalloc
from collections import Counter
from contextlib import suppress
from statistics import linear_regression
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Claim(NamedTuple):
    """What a detector says of a growth.

    Attributes:
        verdict: ``leak`` or ``suspect``; detectors that know one word say ``leak``.
        endpoint: The endpoint; ``None`` where it cannot tell.
        file: Where it was born; ``None`` where it cannot tell.
        line: Likewise.
        per_request: Bytes per request of the endpoint; ``None`` where it cannot tell.
        windows: Over how many windows it has grown; 0 where it does not say.
        cause: Kind of mistake; ``None`` where it does not say.
        holder: What keeps it; ``None`` where it does not say.
    """

    verdict: str
    endpoint: str | None = None
    file: str | None = None
    line: int | None = None
    per_request: float | None = None
    windows: int = 0
    cause: str | None = None
    holder: str | None = None


class Detector(Protocol):
    """Looks at an app while it serves.

    Attributes:
        share: Part of the requests that it is shown: some make an app ten times slower.
    """

    share: float

    def watch(self, app: Any, *, speaks_asgi: bool) -> Any:
        """Return the app to be served."""

    def claims(self, requests: int) -> list[Claim]:
        """Return what looks like a leak after so many requests in all, worst first."""


class Watcher:
    """Looks at a process from beside the app."""

    share = 1.0

    def watch(self, app: Any, *, speaks_asgi: bool) -> Any:  # noqa: ARG002  # for all apps
        """Change nothing."""
        return app


CATCH_UP_SECONDS = 3.0
"""What leakmw's thread may take for the snapshots that are due: here a thousand requests take a
third of a second, which no server does."""


class Leakmw:
    """leakmw with its default settings, but for those given."""

    def __init__(self, share: float = 1.0, **settings: Any) -> None:
        self.share = share
        self._settings = {"store": "memory", **settings}  # each case is a world of its own
        self._face: Any = None

    def watch(self, app: Any, *, speaks_asgi: bool) -> Any:
        """Wrap the app in its face."""
        import leakmw
        from leakmw.asgi import LeakMiddleware as AsgiFace
        from leakmw.wsgi import LeakMiddleware as WsgiFace

        if type(app).__module__.startswith("django."):
            self._face = leakmw.install(app, **self._settings)
        else:
            self._face = (AsgiFace if speaks_asgi else WsgiFace)(app, **self._settings)
        return self._face

    def claims(self, _requests: int) -> list[Claim]:
        """Return the findings of the latest report that are not settled."""
        from leakmw.records import SnapshotError

        monitor = self._face.monitor
        with suppress(SnapshotError):
            # the thread answers when it is done with what was due
            monitor.profiles(CATCH_UP_SECONDS)
        report = monitor.report()
        return [] if report is None else [_claim(one) for one in report.findings if _open(one)]


def _open(finding: Any) -> bool:
    return finding.verdict in {"leak", "suspect"}


def _claim(finding: Any) -> Claim:
    growth, site = finding.growth, finding.growth.site
    windows = re.search(r"the last (\d+) (?:windows|spans of)", " ".join(finding.evidence))
    return Claim(
        verdict=str(finding.verdict),
        endpoint=growth.endpoint,
        file=site and site.file,
        line=site and site.line,
        per_request=growth.bytes_per_request and growth.bytes_per_request.estimate,
        windows=int(windows[1]) if windows else 0,
        cause=finding.cause,
        holder=finding.holder and finding.holder.path,
    )


WARM_UP = 500
"""Requests that those who look by hand leave out."""

NOTABLE_BYTES = 100 << 10
"""Growth that somebody who looks at a list of lines would call a leak."""


class TracemallocDiff(Watcher):
    """Two snapshots of tracemalloc compared: the line that grew most."""

    share = 0.15

    def __init__(self) -> None:
        self._first: tracemalloc.Snapshot | None = None
        tracemalloc.start()

    def claims(self, requests: int) -> list[Claim]:
        """Return the lines that grew by 100 KiB since the warm-up."""
        if requests < WARM_UP:
            return []
        now = tracemalloc.take_snapshot()
        if self._first is None:
            self._first = now
            return []
        grown = now.compare_to(self._first, "lineno")
        grown.sort(key=lambda one: -one.size_diff)
        claims = [
            Claim("leak", None, one.traceback[0].filename, one.traceback[0].lineno)
            for one in grown[:10]
            if one.size_diff >= NOTABLE_BYTES
        ]
        # its manual leaves these out, too
        return [one for one in claims if one.file != tracemalloc.__file__]


LATEST = 5
"""Looks in a row at which a type must have grown."""


class TypeGrowth(Watcher):
    """The types whose number of objects only grows, as ``objgraph.growth()`` is used."""

    share = 0.4

    def __init__(self) -> None:
        self._counts: list[Counter[str]] = []

    def claims(self, requests: int) -> list[Claim]:
        """Return a claim for each type that grew at each of the latest looks."""
        import objgraph

        gc.collect()
        if requests < WARM_UP:
            return []
        self._counts = [*self._counts, Counter(objgraph.typestats())][-LATEST:]
        if len(self._counts) < LATEST:
            return []
        first, *rest = self._counts
        before = first
        growing = set(first)
        for counts in rest:
            growing = {name for name in growing if counts[name] > before[name]}
            before = counts
        return [Claim("leak")] * len(growing)


NOTABLE_OBJECTS = 500
"""More objects of one type than at first, that somebody who looks at Dozer's page would see."""


class Ranking(Watcher):
    """Dozer's page: types by how many objects there are more than at the start of its charts.

    Its own thread is ended; a tick is taken at each look instead, as many as it would take.
    """

    share = 0.4

    def __init__(self) -> None:
        import warnings

        with warnings.catch_warnings(action="ignore"):
            from dozer.leak import Dozer

            self._dozer = Dozer(None)
        self._dozer.stop()
        self._begun = False

    def claims(self, requests: int) -> list[Claim]:
        """Return a claim for each type whose chart ends at its top, well above its beginning."""
        if requests < WARM_UP:
            return []
        if not self._begun:  # its thread has counted once, before there was an app
            self._begun = True
            self._dozer.history.clear()
            self._dozer.samples = 0
        self._dozer.tick()
        charts = self._dozer.history.values()
        return [
            Claim("leak")
            for chart in charts
            if len(chart) >= LATEST
            and chart[-1] == max(chart)
            and chart[-1] - chart[0] >= NOTABLE_OBJECTS
        ]


NOTABLE_SLOPE = 10
"""Bytes per request that somebody who looks at a dashboard would call a leak."""


class Slope(Watcher):
    """A straight line through resident memory, as dashboards are read.

    To read it costs next to nothing: what the others cost is measured against this.
    """

    share = 0.5

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._points: list[tuple[float, float]] = []

    def claims(self, requests: int) -> list[Claim]:
        """Claim a leak where the line surely rises by more than 10 bytes a request."""
        if requests < WARM_UP:
            return []
        self._points.append((requests, self._process.memory_info().rss))
        if len(self._points) < LATEST:
            return []
        requests_so_far, resident = zip(*self._points, strict=True)
        slope = linear_regression(requests_so_far, resident).slope
        error = _slope_error(requests_so_far, resident, slope)
        return [Claim("leak")] if slope - 2 * error > NOTABLE_SLOPE else []


def _slope_error(x: Sequence[float], y: Sequence[float], slope: float) -> float:
    """Return the standard error of the slope of a line through points."""
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - middle_x) ** 2 for one in x)
    left = sum((b - middle_y - slope * (a - middle_x)) ** 2 for a, b in zip(x, y, strict=True))
    return math.sqrt(left / (len(x) - 2) / spread)


BARE = "slope of RSS"
"""The one that costs least."""

DETECTORS: dict[str, Callable[[], Detector]] = {
    "leakmw": lambda: Leakmw(engine="sampling"),
    "leakmw, tracemalloc": lambda: Leakmw(0.125, engine="tracemalloc", every=120, frames=8),
    "tracemalloc, two snapshots": TracemallocDiff,
    "objgraph.growth": TypeGrowth,
    "Dozer": Ranking,
    BARE: Slope,
}
