"""What holds for any report, whatever its figures and the names in it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.conftest import say

from leakmw.records import (
    Engine,
    Estimate,
    Finding,
    Frame,
    Growth,
    Holder,
    Memory,
    Report,
    Verdict,
    Window,
    Worker,
)
from leakmw.report import reading
from leakmw.report.document import report_document, schema
from leakmw.report.events import Events
from leakmw.report.markdown import markdown
from leakmw.report.terminal import width
from leakmw.report.text import text
from leakmw.settings import Settings

CAUSES = schema()["$defs"]["cause"]["enum"]

names = st.text(st.characters(), max_size=30) | st.text(st.characters(), min_size=1).map(
    lambda name: name * 50
)
"""Of any characters, control characters and lone surrogates too; some of them long."""

moments = st.integers(0, 2**32).map(lambda second: datetime.fromtimestamp(second, UTC))
positive = st.integers(0, 2**63)
changes = st.integers(-(2**63), 2**63)
figures = st.floats()
seconds = st.floats(0, 1e12)
shares = st.floats(0, 1)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


frames = st.builds(Frame, names, st.integers(0, 2**31), _maybe(names))
growths = st.builds(
    Growth,
    endpoint=names,
    visits=positive,
    bytes=changes,
    blocks=changes,
    bytes_per_request=_maybe(st.builds(Estimate, figures, _maybe(figures), _maybe(figures))),
    site=_maybe(frames),
    traceback=st.lists(frames, max_size=8).map(tuple),
)
findings = st.builds(
    Finding,
    fingerprint=st.text("0123456789abcdef", min_size=12, max_size=12),
    verdict=st.sampled_from(Verdict),
    growth=growths,
    bytes_per_second=figures,
    confidence=_maybe(shares),
    evidence=st.lists(names, max_size=3).map(tuple),
    cause=st.sampled_from(CAUSES),
    holder=_maybe(
        st.builds(
            Holder,
            path=names,
            kind=names,
            length=_maybe(positive),
            grows_per_request=_maybe(figures),
            cap=_maybe(positive),
        )
    ),
    types=_maybe(st.dictionaries(names, shares, max_size=3)),
    advice=_maybe(names),
)
reports = st.builds(
    Report,
    id=names,
    taken_at=moments,
    service=_maybe(names),
    version=_maybe(names),
    worker=st.builds(Worker, host=names, pid=st.integers(1, 2**22), started_at=moments),
    engine=st.builds(
        Engine,
        name=st.sampled_from(["sampling", "tracemalloc"]),
        frames=st.integers(1, 128),
        sample_bytes=_maybe(st.integers(1, 2**40)),
        live_samples=_maybe(positive),
        cost_ratio=_maybe(shares),
        own_bytes=_maybe(positive),
    ),
    window=st.builds(Window, start=moments, end=moments, visits=positive, seconds=seconds),
    memory=st.builds(
        Memory,
        rss_bytes=_maybe(positive),
        pss_bytes=_maybe(positive),
        uss_bytes=_maybe(positive),
        anonymous_bytes=_maybe(positive),
        shared_bytes=_maybe(positive),
        python_bytes=_maybe(positive),
        python_free_bytes=_maybe(positive),
        python_arena_bytes=_maybe(positive),
        native_bytes=_maybe(positive),
        mapped_bytes=_maybe(positive),
        free_bytes=_maybe(positive),
        limit_bytes=_maybe(positive),
        limit_kind=_maybe(st.sampled_from(["cgroup", "address-space", "host"])),
        used_bytes=_maybe(positive),
        room_bytes=_maybe(positive),
        seconds_to_limit=_maybe(
            st.lists(seconds, min_size=3, max_size=3).map(lambda three: Estimate(*sorted(three)))
        ),
    ),
    endpoints=st.lists(growths, max_size=4).map(tuple),
    findings=st.lists(findings, max_size=3).map(tuple),
    notes=st.lists(names, max_size=3).map(tuple),
)

VALIDATOR = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


@given(reports)
def test_the_document_is_valid(report: Report) -> None:
    """The JSON report keeps to its schema and can be written by any writer."""
    document = report_document(report)

    assert [error.message for error in VALIDATOR.iter_errors(document)] == []
    assert json.dumps(document, allow_nan=False, ensure_ascii=False).encode("utf-8")


@given(reports)
def test_the_document_can_be_read_back(report: Report) -> None:
    """What is read says the same again, but for what the document does not tell."""
    document = report_document(report)
    again = report_document(reading.report(json.loads(json.dumps(document))))

    assert again == document


@given(reports, st.integers(40, 250))
def test_the_text_fits_the_terminal(report: Report, columns: int) -> None:
    """No line is wider than it may be, and nothing in it is a control character."""
    said = text(report, columns=columns)

    assert max(map(width, said.split("\n"))) <= columns
    assert said.replace("\n", "").isprintable()
    assert said.endswith("\n")


@given(reports)
def test_the_ticket_has_no_control_characters(report: Report) -> None:
    """Markdown can be pasted anywhere."""
    assert markdown(report).replace("\n", "").isprintable()


@given(reports)
def test_every_event_is_small_and_flat(report: Report) -> None:
    """Each event is plain scalars under snake_case keys, and below 8 KiB as JSON."""
    events = _logged(report)

    assert events
    for event in events:
        assert len(json.dumps(event, allow_nan=False)) < 8 * 1024
        assert all(key.isidentifier() and key == key.lower() for key in event)
        assert all(isinstance(value, str | int | float) for value in event.values())
        assert all(value.isprintable() for value in event.values() if isinstance(value, str))


def _logged(report: Report) -> list[dict[str, Any]]:
    """Return message and fields of each event, as a JSON formatter of logging would write them."""
    handler = _Keeping()
    logger = logging.getLogger("leakmw")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        say(Events(Settings(token="x" * 16), report.worker, _unexpected), report)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    return handler.kept


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        own = vars(logging.makeLogRecord({}))
        fields = {key: value for key, value in vars(record).items() if key not in own}
        self.kept.append({"message": record.getMessage(), **fields})


def _unexpected(where: str, error: BaseException) -> None:
    raise AssertionError(where) from error
