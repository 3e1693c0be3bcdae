"""Log events say each report, and each change of a finding's state once."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace
from typing import Any

import pytest
import structlog
from tests.conftest import say

from leakmw.records import (
    Change,
    Failure,
    Finding,
    Frame,
    Growth,
    Report,
    SnapshotError,
    State,
    Verdict,
)
from leakmw.report.events import Events
from leakmw.settings import Settings

SETTINGS = Settings(service="shop", version="1.4.2", token="correct-horse-battery")

pytestmark = pytest.mark.usefixtures("plain_logging")

Event = dict[str, Any]


@pytest.fixture
def stream() -> io.StringIO:
    """Return what structlog writes to, once JSON lines have been configured."""
    written = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(written),
    )
    return written


@pytest.fixture
def events(shop_report: Report) -> Events:
    """Return what says the events of the shop."""
    return Events(SETTINGS, shop_report.worker)


def _said(stream: io.StringIO) -> list[Event]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _names(stream: io.StringIO) -> list[str]:
    return [event["event"].removeprefix("leakmw.") for event in _said(stream)]


def _with(report: Report, *findings: Finding) -> Report:
    return replace(report, findings=findings)


def test_each_report_is_said(events: Events, shop_report: Report, stream: io.StringIO) -> None:
    """A report is one line with its figures and its worst finding."""
    say(events, shop_report)
    said = _said(stream)[0]

    assert said.pop("timestamp")
    assert said == {
        "event": "leakmw.report",
        "level": "info",
        "visits": 12012,
        "window_seconds": 340.2,
        "endpoints": 4,
        "findings": 2,
        "leaks": 0,
        "suspects": 1,
        "fingerprint": "9f2c41d0b7aa",
        "verdict": "suspect",
        "endpoint": "POST /login",
        "site_file": "shop/views.py",
        "site_line": 42,
        "site_function": "login",
        "growth_bytes": 4_508_876,
        "growth_visits": 4012,
        "bytes_per_request": 1123.9,
        "sites": (
            "suspect POST /login shop/views.py:42 1.1 KiB/request, 45.5 MiB/hour; "
            "settled GET /price/{sku} shop/prices.py:17 264 KiB"
        ),
        "rss_bytes": 222_298_112,
        "python_bytes": 92_274_688,
        "native_bytes": 63_963_136,
        "free_bytes": 12_582_912,
        "limit_bytes": 536_870_912,
        "seconds_to_limit": 23_400.0,
        "engine": "tracemalloc",
        "cost_ratio": 0.006,
        "own_bytes": 23_068_672,
        "report_id": "5d0c2e8f1a37",
        "report_path": "/__leaks__/api/report",
        "service": "shop",
        "version": "1.4.2",
        "worker_host": "web-1",
        "worker_pid": 71,
        "schema_version": 1,
    }


def test_a_suspect_is_said_with_its_evidence(
    events: Events, shop_report: Report, stream: io.StringIO
) -> None:
    """An alert can be built and read from the event alone."""
    say(events, shop_report)
    said = _said(stream)[1]

    assert said.pop("timestamp")
    assert said == {
        "event": "leakmw.leak_suspected",
        "level": "warning",
        "fingerprint": "9f2c41d0b7aa",
        "verdict": "suspect",
        "endpoint": "POST /login",
        "site_file": "shop/views.py",
        "site_line": 42,
        "site_function": "login",
        "growth_bytes": 4_508_876,
        "growth_blocks": 12_036,
        "growth_visits": 4012,
        "bytes_per_request": 1123.9,
        "bytes_per_request_low": 1099.1,
        "bytes_per_request_high": 1148.7,
        "bytes_per_second": 13_253.6,
        "seconds_to_limit": 23_400.0,
        "evidence": "; ".join(shop_report.findings[0].evidence),
        "site_traceback": (
            "flask/app.py:1511 > flask/app.py:902 > shop/limits.py:17 > shop/views.py:42"
        ),
        "workers": 1,
        "report_id": "5d0c2e8f1a37",
        "report_path": "/__leaks__/api/report",
        "service": "shop",
        "version": "1.4.2",
        "worker_host": "web-1",
        "worker_pid": 71,
        "schema_version": 1,
    }


def test_a_quiet_report_is_only_itself(
    events: Events, shop_report: Report, stream: io.StringIO
) -> None:
    """Where nothing was found, no finding's fields are there."""
    say(events, _with(shop_report))
    (said,) = _said(stream)

    assert (said["findings"], said["suspects"]) == (0, 0)
    assert said.keys().isdisjoint({"fingerprint", "endpoint", "site_file", "sites"})


def test_without_a_token_no_path_is_given(shop_report: Report, stream: io.StringIO) -> None:
    """There is no admin endpoint to go to."""
    say(Events(Settings(), shop_report.worker), shop_report)

    assert all("report_path" not in event for event in _said(stream))
    assert all("service" not in event for event in _said(stream))


def test_levels_say_how_bad_it_is(
    events: Events, shop_report: Report, stream: io.StringIO
) -> None:
    """A suspicion warns, a confirmed leak is an error, its end is information."""
    events.report(shop_report)
    events.changes(shop_report, [Change(state, shop_report.findings[0]) for state in State])
    levels = {event["event"]: event["level"] for event in _said(stream)}

    assert levels == {
        "leakmw.report": "info",
        "leakmw.leak_suspected": "warning",
        "leakmw.leak_confirmed": "error",
        "leakmw.leak_resolved": "info",
    }


def _failure(error: Exception) -> Failure:
    try:
        raise error
    except type(error) as raised:
        return Failure.of("endpoint", raised)


def test_our_own_error_is_said_without_the_apps_values(
    events: Events, stream: io.StringIO
) -> None:
    """Type and place are told; the text of an app's exception may be a secret."""
    events.self_error(_failure(KeyError("secret-session-id")), 3)
    (said,) = _said(stream)

    assert said.pop("timestamp")
    assert said.pop("error_at").startswith(f"{__name__}:")
    assert said == {
        "event": "leakmw.self_error",
        "level": "error",
        "where": "endpoint",
        "error_type": "KeyError",
        "count": 3,
        "service": "shop",
        "version": "1.4.2",
        "worker_host": "web-1",
        "worker_pid": 71,
        "schema_version": 1,
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SnapshotError("no room to fork"), "no room to fork"),
        (OSError(28, "secret", "/secret"), "No space left on device"),
    ],
)
def test_words_of_ours_and_of_the_system_are_said(
    events: Events, stream: io.StringIO, error: Exception, message: str
) -> None:
    """They hold no value of the app and say what to do."""
    events.self_error(_failure(error), 1)

    assert _said(stream)[0]["error_message"] == message


def _worst(report: Report) -> Report:
    """Return a report full of long names in signs that JSON writes long."""
    name = '"\\\x1b商🛒\udc80 =' * 20_000
    frame = Frame(name, 2**31, name)
    growth = Growth(
        endpoint=name, visits=2**63, bytes=2**63, blocks=2**63, site=frame, traceback=(frame,) * 9
    )
    leak = Finding(
        fingerprint="0" * 12,
        verdict=Verdict.LEAK,
        growth=growth,
        bytes_per_second=1e300,
        evidence=(name,) * 9,
        cause=name,
        advice=name,
    )
    return _with(report, *(replace(leak, fingerprint=f"{number:012x}") for number in range(20)))


def test_an_event_stays_small_at_its_worst(
    events: Events, shop_report: Report, stream: io.StringIO
) -> None:
    """As a JSON line it is below 8 KiB, and what tells it apart is whole."""
    say(events, _worst(shop_report))
    lines = stream.getvalue().splitlines()

    assert len(lines) == 21
    assert max(map(len, lines)) < 8 * 1024
    assert [event["fingerprint"] for event in _said(stream)[1:]] == [
        f"{number:012x}" for number in range(20)
    ]


def test_an_event_stays_small_with_its_message(
    events: Events, shop_report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """A JSON formatter for logging writes every field twice: in the message and by itself."""
    caplog.set_level(logging.INFO)
    say(events, _worst(shop_report))
    own = vars(logging.makeLogRecord({}))
    lines = [
        json.dumps(
            {key: value for key, value in vars(record).items() if key not in own}
            | {"message": record.getMessage()}
        )
        for record in caplog.records
    ]

    assert len(lines) == 21
    assert max(map(len, lines)) < 8 * 1024


def test_fields_avoid_reserved_names(
    events: Events, shop_report: Report, stream: io.StringIO
) -> None:
    """Logging refuses its own attributes as extra fields, exporters lose theirs."""
    say(events, shop_report)
    events.self_error(Failure.of("snapshot", SnapshotError("no")), 1)
    ours = {key for event in _said(stream) for key in event} - {"event", "level", "timestamp"}
    logs = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    exporters = {"event", "level", "timestamp", "exc_info", "exception", "_record", "_name"}

    assert ours.isdisjoint(logs | exporters)


def test_no_request_lends_its_context(
    events: Events, shop_report: Report, stream: io.StringIO
) -> None:
    """The request that happened to trigger a report is not its subject."""
    structlog.contextvars.bind_contextvars(request_id="r-1", user="alice")
    say(events, shop_report)
    events.self_error(Failure.of("endpoint", ValueError()), 1)

    assert all(event.keys().isdisjoint({"request_id", "user"}) for event in _said(stream))
    assert structlog.contextvars.get_contextvars() == {"request_id": "r-1", "user": "alice"}


def test_names_cannot_drive_the_console(
    events: Events, shop_report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """Structlog's console prints text as it is; so the text is harmless."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(colors=False)])
    growth = replace(shop_report.findings[0].growth, endpoint="GET /\x1b[2J\r\nforged line")
    say(events, _with(shop_report, replace(shop_report.findings[0], growth=growth)))
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_a_report_that_cannot_be_said_is_a_failure_of_ours(shop_report: Report) -> None:
    """The monitor hears of it; nothing is raised."""
    told: list[tuple[str, str]] = []
    events = Events(
        SETTINGS,
        shop_report.worker,
        lambda where, error: told.append((where, type(error).__name__)),
    )
    say(events, replace(shop_report, window=None))  # type: ignore[arg-type]  # a defect of ours

    assert told == [("events.report", "AttributeError")]
