"""A leak from its first growth to its end, as the log tells it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
import structlog

from leakmw import forked
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

Event = dict[str, Any]

WINDOWS = 12
"""More than a leak takes."""


class Shop:
    """An app of which one endpoint keeps memory as long as it is told to."""

    def __init__(self) -> None:
        self.leaking = True
        self.kept: list[bytearray] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer."""
        start_response("200 OK", [])
        if self.leaking and environ["PATH_INFO"] == "/leak":
            self.kept.append(bytearray(30_000))
        return [b"answer"]


@pytest.fixture
def said(plain_logging: None) -> list[Event]:
    """Return the events sent through structlog, as they come."""
    kept: list[Event] = []

    def keep(_logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        kept.append({**event, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return kept


def fill(face: Any, windows: int) -> None:
    """Fill so many windows with visits, of which no two are alike in their mix."""
    for number in range(windows):
        for path, count in (("/leak", 40), ("/quiet", 30 + 7 * (number % 3))):
            for _ in range(count):
                environ: dict[str, Any] = {"PATH_INFO": path}
                setup_testing_defaults(environ)
                face(environ, lambda *_: None).close()
        face.monitor.take_snapshot(60)


@pytest.mark.skipif(not forked.AVAILABLE, reason="no look at the heap here")
def test_a_leak_is_suspected_confirmed_and_resolved_once_each(said: list[Event]) -> None:
    """It stays confirmed while it goes on, and is resolved when it has stopped."""
    gc.collect()
    shop = Shop()
    face: Any = LeakMiddleware(shop, engine="tracemalloc", every=10**9, frames=8)
    try:
        fill(face, WINDOWS)
        growing = face.monitor.report()
        shop.leaking = False
        fill(face, WINDOWS)
        still = face.monitor.report()
    finally:
        face.monitor.close()
    states = [
        (event["event"], event["level"], event["endpoint"])
        for event in said
        if event["event"] != "leakmw.report"
    ]
    assert states == [
        ("leakmw.leak_suspected", "warning", "GET /leak"),
        ("leakmw.leak_confirmed", "error", "GET /leak"),
        ("leakmw.leak_resolved", "info", "GET /leak"),
    ]
    (leak,) = growing.findings
    assert (leak.verdict, leak.growth.endpoint) == ("leak", "GET /leak")
    assert leak.growth.bytes_per_request.estimate == pytest.approx(30_000, rel=0.1)
    assert [one.verdict for one in still.findings] == ["settled"]
