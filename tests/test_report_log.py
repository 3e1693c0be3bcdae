"""Events get through whatever logging the app has, and nothing of that is touched."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.conftest import say

from leakmw.records import Failure, Finding, Report
from leakmw.report.events import Events
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import MutableMapping

pytestmark = pytest.mark.usefixtures("plain_logging")

Event = dict[str, Any]


@pytest.fixture
def events(shop_report: Report) -> Events:
    """Return what says the events of the shop."""
    return Events(Settings(), shop_report.worker)


def _with(report: Report, *findings: Finding) -> Report:
    return replace(report, findings=findings)


# through structlog, as the app configured it


def test_the_configuration_counts_that_stands_when_it_is_said(
    events: Events, shop_report: Report
) -> None:
    """An app may configure structlog after it made the middleware, and anew."""
    first: list[MutableMapping[str, Any]] = []
    second: list[MutableMapping[str, Any]] = []
    for kept in (first, second):
        structlog.configure(processors=[_keep_in(kept)], cache_logger_on_first_use=True)
        say(events, _with(shop_report))

    assert [event["event"] for event in first + second] == ["leakmw.report"] * 2
    assert len(first) == len(second) == 1


def _keep_in(kept: list[MutableMapping[str, Any]]) -> Any:
    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> None:
        kept.append(dict(event))
        raise structlog.DropEvent

    return keep


def test_the_apps_level_is_respected(events: Events, shop_report: Report) -> None:
    """Who wants no information gets the warning alone."""
    kept: list[MutableMapping[str, Any]] = []
    structlog.configure(
        processors=[_keep_in(kept)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    say(events, shop_report)

    assert [event["event"] for event in kept] == ["leakmw.leak_suspected"]


def test_structlog_over_logging(
    events: Events, shop_report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual stack gets the event under the logger's name, its fields as extra."""
    caplog.set_level(logging.INFO)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    say(events, shop_report)
    report, suspected = caplog.records

    assert (report.name, report.levelname, report.getMessage()) == (
        "leakmw",
        "INFO",
        "leakmw.report",
    )
    assert (suspected.levelname, vars(suspected)["site_line"]) == ("WARNING", 42)


def test_structlog_with_its_formatter_for_logging(events: Events, shop_report: Report) -> None:
    """Rendering in a handler's formatter keeps every field."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer())
    )
    logging.getLogger("leakmw").addHandler(handler)
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    say(events, shop_report)

    said = json.loads(written.getvalue())

    assert (said["event"], said["endpoint"]) == ("leakmw.leak_suspected", "POST /login")


def test_an_asynchronous_wrapper_class(
    events: Events, shop_report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """No event loop runs on our thread, and none is needed."""
    caplog.set_level(logging.INFO)
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    say(events, _with(shop_report))

    assert [record.getMessage() for record in caplog.records] == ["leakmw.report"]


def test_within_an_event_loop(events: Events, shop_report: Report) -> None:
    """It is the same from a coroutine."""
    kept: list[MutableMapping[str, Any]] = []
    structlog.configure(processors=[_keep_in(kept)])

    async def serve() -> None:
        say(events, _with(shop_report))

    asyncio.run(serve())

    assert [event["event"] for event in kept] == ["leakmw.report"]


# through logging, where structlog is not configured


def test_plain_logging_gets_fields_in_the_message_and_as_extra(
    events: Events, shop_report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain formatter shows them, a JSON formatter picks them up."""
    caplog.set_level(logging.INFO)
    say(events, shop_report)
    report, suspected = caplog.records

    assert report.getMessage().startswith("leakmw.report visits=12012 window_seconds=340.2 ")
    assert ' endpoint="POST /login" site_file=shop/views.py ' in suspected.getMessage()
    assert vars(suspected)["event"] == "leakmw.leak_suspected"
    assert vars(suspected)["bytes_per_request"] == 1123.9
    assert (suspected.name, suspected.levelname) == ("leakmw", "WARNING")


def test_a_message_is_one_line_that_can_be_taken_apart(
    events: Events, shop_report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """A name cannot forge a line or a field."""
    growth = replace(
        shop_report.findings[0].growth, endpoint='GET /"\nleakmw.leak_confirmed count=1'
    )
    say(events, _with(shop_report, replace(shop_report.findings[0], growth=growth)))
    message = caplog.records[0].getMessage()

    assert message.isprintable()
    assert r'endpoint="GET /\"\\nleakmw.leak_confirmed count=1"' in message


def test_an_unconfigured_app_still_sees_what_warns(
    events: Events, shop_report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logging shows warnings on stderr where nobody asked for anything."""
    logger = logging.getLogger("leakmw")
    logger.propagate = False
    say(events, shop_report)
    out, err = capsys.readouterr()

    assert out == ""
    assert err.startswith("leakmw.leak_suspected fingerprint=9f2c41d0b7aa verdict=suspect ")
    assert logger.handlers == []


def test_without_structlog_installed(
    events: Events,
    shop_report: Report,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is one way to say it, not a need."""
    monkeypatch.setitem(sys.modules, "structlog", None)
    say(events, shop_report)

    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_an_app_without_structlog_does_not_pay_for_it() -> None:
    """Saying an event imports nothing that the app has not imported."""
    program = (
        "import sys\n"
        "from datetime import UTC, datetime\n"
        "from leakmw.records import Failure, Worker\n"
        "from leakmw.report.events import Events\n"
        "from leakmw.settings import Settings\n"
        "worker = Worker(host='web-1', pid=71, started_at=datetime.now(UTC))\n"
        "Events(Settings(), worker).self_error(Failure.of('snapshot', ValueError()), 1)\n"
        "assert 'structlog' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stderr.startswith("leakmw.self_error where=snapshot error_type=ValueError count=1")


def test_nothing_is_configured(events: Events, shop_report: Report) -> None:
    """Logging is the app's: no configuration, no handler, no level."""
    say(events, shop_report)

    assert not structlog.is_configured()
    assert logging.getLogger("leakmw").handlers == []
    assert logging.getLogger("leakmw").level == logging.NOTSET


# when the app's logging is broken


def _break_structlog() -> None:
    def explode(_logger: object, _method: str, _event: MutableMapping[str, Any]) -> Event:
        raise RuntimeError("secret")

    structlog.configure(processors=[explode])


class _Explosion(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("secret")


def test_a_broken_structlog_falls_back_to_logging(
    events: Events, shop_report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """No event is lost, and the defect is said once."""
    caplog.set_level(logging.INFO)
    _break_structlog()
    say(events, shop_report)
    for _ in range(2):
        events.report(shop_report)
    names = [vars(record)["event"].removeprefix("leakmw.") for record in caplog.records]
    said = vars(caplog.records[0])

    assert names == ["self_error", "report", "leak_suspected", "report", "report"]
    assert (said["where"], said["error_type"]) == ("structlog", "RuntimeError")
    assert "secret" not in caplog.text


def test_a_broken_logging_falls_back_to_stderr(
    events: Events, shop_report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each event is one line there."""
    logging.getLogger("leakmw").setLevel(logging.INFO)
    logging.getLogger("leakmw").addFilter(_Explosion())
    _break_structlog()
    say(events, shop_report)
    out, err = capsys.readouterr()

    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == [
        "leakmw.self_error",
        "leakmw.self_error",
        "leakmw.report",
        "leakmw.leak_suspected",
    ]
    assert "secret" not in err


@pytest.mark.parametrize("stderr", [None, io.TextIOWrapper(io.BytesIO())])
def test_a_broken_stderr_is_survived(
    events: Events,
    shop_report: Report,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stderr: io.TextIOWrapper | None,
) -> None:
    """With nowhere left to say it, the app goes on, and its stdout stays clean."""
    if stderr is not None:
        stderr.close()
    logging.getLogger("leakmw").addFilter(_Explosion())
    monkeypatch.setattr(sys, "stderr", stderr)
    say(events, shop_report)
    events.self_error(Failure.of("snapshot", ValueError()), 1)

    assert capsys.readouterr().out == ""


def test_the_monitor_hears_of_each_broken_way_once(shop_report: Report) -> None:
    """It counts them with its other errors."""
    told: list[tuple[str, str]] = []
    logging.getLogger("leakmw").setLevel(logging.INFO)
    logging.getLogger("leakmw").addFilter(_Explosion())
    _break_structlog()
    events = Events(
        Settings(),
        shop_report.worker,
        lambda where, error: told.append((where, type(error).__name__)),
    )
    for _ in range(3):
        say(events, shop_report)

    assert told == [("structlog", "RuntimeError"), ("logging", "RuntimeError")]
