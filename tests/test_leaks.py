"""A leak from its first growth to its end, as the log tells it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
import structlog

from leakmw import forked
from leakmw.report.document import holdings_document, report_document
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

Event = dict[str, Any]

WINDOWS = 14
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


def fill(face: Any, windows: int) -> None:
    """Fill so many windows with visits, of which no two are alike in their mix."""
    for number in range(windows):
        for path, count in (("/leak", 40), ("/quiet", 30 + 7 * (number % 3))):
            for _ in range(count):
                environ: dict[str, Any] = {"PATH_INFO": path}
                setup_testing_defaults(environ)
                face(environ, lambda *_: None)
        face.monitor.take_snapshot(600)


def live() -> dict[str, Any]:
    """Leak, stop leaking, and return what was said and reported meanwhile."""
    said: list[Event] = []

    def keep(_logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        said.append({**event, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    shop = Shop()
    face: Any = LeakMiddleware(shop, engine="tracemalloc", every=10**9, frames=8)
    fill(face, WINDOWS)
    growing = face.monitor.report()
    held = holdings_document(face.monitor.look(lambda heap: heap.holdings(), 600))
    shop.leaking = False
    fill(face, WINDOWS)
    still = face.monitor.report()
    face.monitor.close()
    return {
        "states": [
            [event["event"], event["level"], event["endpoint"]]
            for event in said
            if event["event"] != "leakmw.report"
        ],
        "held": held,
        "growing": report_document(growing)["findings"],
        "still": report_document(still)["findings"],
    }


ALONE = "import json; from tests.test_leaks import live; print(json.dumps(live()))"


@pytest.mark.skipif(not forked.AVAILABLE, reason="no look at the heap here")
def test_a_leak_is_suspected_confirmed_and_resolved_once_each() -> None:
    """It stays confirmed while it goes on, and is resolved when it has stopped."""
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["states"] == [
        ["leakmw.leak_suspected", "warning", "GET /leak"],
        ["leakmw.leak_confirmed", "error", "GET /leak"],
        ["leakmw.leak_resolved", "info", "GET /leak"],
    ]
    (leak,) = seen["growing"]
    assert (leak["verdict"], leak["endpoint"]) == ("leak", "GET /leak")
    assert leak["bytes_per_request"]["estimate"] == pytest.approx(30_000, rel=0.1)
    assert leak["cause"] == "long-lived-holder"
    assert leak["holder"]["path"].endswith("Shop.kept")
    assert leak["holder"]["kind"] == "list"
    assert leak["holder"]["grows_per_request"] == pytest.approx(1.0)
    assert leak["types"].keys() == {"bytearray"} or leak["types"] is None
    assert "Shop.kept" in leak["advice"]
    (held,) = seen["held"]["findings"]
    assert held["holder"]["path"].endswith("Shop.kept")
    assert any(one["path"].endswith("Shop.kept") for one in seen["held"]["containers"])
    assert seen["held"]["objects"] > sum(one["count"] for one in seen["held"]["types"]) / 2
    assert [one["verdict"] for one in seen["still"]] == ["settled"]
