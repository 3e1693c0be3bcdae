"""``leakmw logs`` folds what a fleet has logged into one table, whoever has wrapped it."""

from __future__ import annotations

import gzip
import io
import json
import logging
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from leakmw import cli
from leakmw.records import Change, State, Verdict
from leakmw.report.events import Events
from leakmw.report.log import line as plain_line
from leakmw.report.terminal import width
from leakmw.settings import Settings
from leakmw.shell import fleet, logs
from leakmw.shell.lines import BadLineError, events

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from pathlib import Path

    from leakmw.records import Report

    Said = list[dict[str, Any]]
    Folded = Callable[..., dict[str, Any]]

NOON = "2026-11-22T12:00:00.412088Z"


@pytest.fixture
def said(shop_report: Report, plain_logging: None) -> Said:
    """Return the events of one worker as structlog renders them: a report, a suspect."""
    kept: Said = []

    def keep(_logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        kept.append({**event, "level": level, "timestamp": NOON})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    (suspect, _) = shop_report.findings
    settings = Settings(service="shop", version="1.4.2")
    said = Events(settings, shop_report.worker)
    said.report(shop_report)
    said.changes(shop_report, [Change(State.SUSPECTED, suspect)])
    return kept


@pytest.fixture
def folded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folded:
    """Return what folds lines into the document of ``--json``."""

    def fold(*lines: Any, options: tuple[str, ...] = ()) -> dict[str, Any]:
        log = tmp_path / "app.log"
        texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        log.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        cli.main(["logs", str(log), "--json", *options])
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return fold


def by_another(event: dict[str, Any], pid: int, **changes: Any) -> dict[str, Any]:
    """Return *event* as another worker would have said it."""
    return {**event, "worker_pid": pid, **changes}


def test_a_fleet_is_one_table(said: Said, folded: Folded) -> None:
    """By service, version, host and endpoint: what grows, by how much, in how many workers."""
    report, suspect = said
    document = folded(report, suspect, by_another(report, 72), by_another(suspect, 72))
    worst, settled = document["rows"]
    assert worst == {
        "service": "shop",
        "version": "1.4.2",
        "host": "web-1",
        "endpoint": "POST /login",
        "verdict": "suspect",
        "bytes_per_request": pytest.approx(1123.9),
        "visits": 8024,
        "growth_bytes": 2 * 4_508_876,
        "workers": 2,
        "fingerprint": "9f2c41d0b7aa",
        "site": "shop/views.py:42",
    }
    assert (settled["endpoint"], settled["verdict"]) == ("GET /price/{sku}", "settled")
    assert document["events"] == {"leakmw.report": 2, "leakmw.leak_suspected": 2}
    assert (document["lines"], document["bad_lines"], document["workers"]) == (4, 0, 2)


def test_a_healthy_worker_is_a_row_too(said: Said, folded: Folded) -> None:
    """Without endpoint and verdict, with its requests: silence is no health."""
    report, _ = said
    healthy = {
        key: report[key]
        for key in ("event", "service", "worker_host", "worker_pid", "visits", "timestamp")
    }
    document = folded(healthy, by_another(healthy, 72), report | {"worker_host": "web-2"})
    (row,) = [row for row in document["rows"] if row["verdict"] is None]
    assert (row["host"], row["version"], row["endpoint"]) == ("web-1", None, None)
    assert (row["workers"], row["visits"]) == (2, 2 * 12012)


def test_a_request_counts_the_same_in_each_worker(said: Said, folded: Folded) -> None:
    """The mean is weighted by requests; places of one endpoint add up."""
    _, suspect = said
    busy = suspect | {"bytes_per_request": 100.0, "growth_visits": 3000}
    idle = by_another(suspect, 72, bytes_per_request=200.0, growth_visits=1000)
    other = busy | {"site_line": 50, "bytes_per_request": 7.0}
    (row,) = folded(busy, idle, other)["rows"]
    assert row["bytes_per_request"] == pytest.approx(125.0 + 7.0)
    assert (row["workers"], row["visits"]) == (2, 4000)


def test_the_latest_word_counts_in_whatever_order_files_are_given(
    said: Said, folded: Folded
) -> None:
    """``app.log*`` names the newest file first; without times, the last line is the latest."""
    _, suspect = said
    resolved = suspect | {"event": "leakmw.leak_resolved", "verdict": "settled"}
    late = resolved | {"timestamp": "2026-11-22T13:00:00+00:00"}
    for lines in ((suspect, late), (late, suspect)):
        assert folded(*lines)["rows"][0]["verdict"] == "settled"
    for one in (suspect, resolved):
        del one["timestamp"]
    assert folded(suspect, resolved)["rows"][0]["verdict"] == "settled"
    assert folded(resolved, suspect)["rows"][0]["verdict"] == "suspect"


def test_the_rows_may_be_told_apart_by_less(said: Said, folded: Folded) -> None:
    """A hundred hosts with one leak are one row, if wished."""
    _, suspect = said
    lines = [by_another(suspect, pid, worker_host=f"web-{pid}") for pid in range(1, 101)]
    assert len(folded(*lines)["rows"]) == 100
    (row,) = folded(*lines, options=("--by", "endpoint,service"))["rows"]
    assert row["workers"] == 100
    assert "host" not in row
    assert len(folded(*lines, options=("--by", "service"))["rows"]) == 1


def _docker(text: str) -> str:
    return json.dumps({"log": f"{text}\n", "stream": "stdout", "time": NOON})


WRAPPED: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "structlog": lambda text, _: text,
    "docker": lambda text, _: _docker(text),
    "cri": lambda text, _: f"2026-11-22T12:00:00.412088123Z stdout F {text}",
    "kubectl --prefix": lambda text, _: f"[pod/shop-7d9f/app] {text}",
    "kubectl --timestamps": lambda text, _: f"2026-11-22T12:00:00.412088123Z {text}",
    "docker compose": lambda text, _: f"app-1  | {text}",
    "loki, logcli": lambda text, _: f'2026-11-22T12:00:00Z {{app="shop", pod="x"}} {text}',
    "loki, jsonl": lambda text, _: json.dumps({"labels": {"app": "shop"}, "line": text}),
    "loki, answer": lambda text, _: json.dumps(
        {
            "data": {
                "result": [{"stream": {"app": "shop"}, "values": [["1763812800000000000", text]]}]
            }
        }
    ),
    "elasticsearch, parsed": lambda _, event: json.dumps({"_index": "logs", "_source": event}),
    "elasticsearch, text": lambda text, _: json.dumps(
        {"_source": {"@timestamp": NOON, "message": text, "host": {"name": "node"}}}
    ),
    "elasticsearch, answer": lambda _, event: json.dumps({"hits": {"hits": [{"_source": event}]}}),
    "datadog": lambda text, event: json.dumps(
        {"attributes": {"message": text, "service": "shop", "attributes": event}}
    ),
    "cloudwatch, tail": lambda text, _: f"2026-11-22T12:00:00.412000+00:00 app/1 {text}",
    "cloudwatch, insights": lambda text, _: json.dumps({"@timestamp": NOON, "@message": text}),
    "cloudwatch, fields": lambda text, _: json.dumps(
        [{"field": "@timestamp", "value": NOON}, {"field": "@message", "value": text}]
    ),
    "cloudwatch, events": lambda text, _: json.dumps({"events": [{"message": text}]}),
    "google": lambda _, event: json.dumps({"jsonPayload": event, "timestamp": NOON}),
    "journald": lambda text, _: json.dumps({"MESSAGE": text, "_PID": "71"}),
    "ecs": lambda _, event: json.dumps(
        event
        | {"event": {"action": event["event"]}, "service": {"name": "shop", "version": "1.4.2"}}
    ),
    "docker in loki": lambda text, _: json.dumps({"line": _docker(text)}),
    "logging": lambda _, event: f"WARNING:leakmw:{_flat(event)}",
    "logging, docker": lambda _, event: _docker(f"2026-11-22 12:00:00,412 WARNING {_flat(event)}"),
    "figures as text": lambda _, event: json.dumps(
        {key: str(value) for key, value in event.items()}
    ),
}


def _flat(event: dict[str, Any]) -> str:
    fields = {key: value for key, value in event.items() if key not in {"event", "timestamp"}}
    return plain_line(event["event"], fields)


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_a_wrapped_line_says_the_same(said: Said, folded: Folded, wrapping: str) -> None:
    """Whatever an aggregator has put around it, and once only."""
    wrap = WRAPPED[wrapping]
    expected = folded(*said)
    document = folded(*(wrap(json.dumps(event), event) for event in said))
    assert document["rows"] == expected["rows"]
    assert document["events"] == expected["events"]
    assert document["bad_lines"] == 0


OTHERS = (
    "",
    "GET / 200",
    "{",
    '{"event": "shop.order", "id": 1}',
    '{"event": "leakmw.other"}',
    "from leakmw.report import text",
    "leakmw.reporting visits=1",
    '[1, 2, {"a": null}]',
    "\x00\x01\ufffd",
)


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_of_others_is_passed_over(said: Said, folded: Folded, line: str) -> None:
    """Most lines of a log are."""
    document = folded(line, *said)
    assert (document["lines"], document["bad_lines"]) == (3, 0)
    assert sum(document["events"].values()) == 2


def test_broken_lines_are_counted_and_said(
    said: Said, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that names an event and is cut, or is too long, is no reason to stop."""
    text = json.dumps({"event": said[0]["event"], **said[0]})
    log = tmp_path / "app.log"
    many = b'{"leakmw.report": "' + b"x" * (2 * logs.LONGEST) + b'"}'
    log.write_bytes(b"\n".join([text[:300].encode(), many, b"\xff" + text.encode(), b""]))
    assert cli.main(["logs", str(log)]) == 0
    out = capsys.readouterr().out
    assert "3 lines: 1 report, 0 changes of findings." in out
    assert "2 lines could not be read: broken or too long" in out


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["leakmw.report", "leakmw.leak_confirmed a=1", "suspect x y:1 1 B/request"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["event", "message", "log", "sites", "verdict", "timestamp", "visits"]),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.text(max_size=200) | values.map(json.dumps), st.text(max_size=20))
def test_no_line_is_fatal(line: str, more: str) -> None:
    """Whatever stands in it, it is read, passed over or counted as broken."""
    table = fleet.Fleet()
    for text in (line, f"{more} {line}", f"leakmw.report {line}"):
        try:
            for event in events(text):
                table.fold(event)
        except BadLineError:
            continue
    for row in table.rows():
        assert row.workers >= 1


@pytest.mark.parametrize("depth", [4, 400, 100_000])
def test_a_line_that_is_nested_too_deep_is_broken(depth: int) -> None:
    """It takes neither the stack nor the time of others."""
    line = '{"log": ' * depth + '{"event": "leakmw.report"}' + "}" * depth
    if depth == 4:
        assert [event.name for event in events(line)] == ["leakmw.report"]
    else:
        with pytest.raises(BadLineError):
            events(line)


def test_memory_is_bounded(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the cap, workers and places are counted and not kept; known ones go on."""
    monkeypatch.setattr(fleet, "CELLS", 100)
    table = fleet.Fleet()
    lines = [json.dumps(by_another(said[1], pid)) for pid in range(1, 1001)]
    for line in [*lines, lines[0]]:
        for event in events(line):
            table.fold(event)
    assert (table.left_out, table.workers) == (900, 100)
    long = json.dumps(said[1] | {"endpoint": "x" * 5000})
    (event,) = events(long)
    monkeypatch.setattr(fleet, "CELLS", 1000)
    table.fold(event)
    assert max(len(row.key[3] or "") for row in table.rows()) == 300


def test_a_long_log_is_streamed(said: Said) -> None:
    """What is kept does not grow with the lines."""
    lines = [f"{json.dumps(event)}\n".encode() for event in said]
    reading = logs.Reading()

    def take(rounds: int) -> None:
        for _ in range(rounds):
            for line in logs._lines(io.BytesIO(b"".join(lines))):
                reading._take(line)

    tracemalloc.start()
    try:
        take(2500)  # Python keeps up to 2,000 dead tuples of a size
        before = tracemalloc.get_traced_memory()[0]
        take(2500)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert reading.lines == 10_000
    assert grown < 20_000


def test_files_may_be_gzipped_and_come_by_standard_input(said: Said, tmp_path: Path) -> None:
    """By their first bytes, not by their names."""
    raw = "".join(f"{json.dumps(event)}\n" for event in said).encode()
    packed = tmp_path / "app.log.1"
    packed.write_bytes(gzip.compress(raw))
    for arguments, sent in (
        ([str(packed)], b""),
        (["-"], raw),
        ([], raw),
        (["-"], gzip.compress(raw)),
    ):
        command = [sys.executable, "-m", "leakmw", "logs", "--json", *arguments]
        done = subprocess.run(command, input=sent, capture_output=True, check=True)
        assert json.loads(done.stdout)["events"] == {
            "leakmw.report": 1,
            "leakmw.leak_suspected": 1,
        }


def test_a_file_that_cannot_be_read_does_not_hide_the_others(
    said: Said, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is said on standard error, and the exit status tells."""
    good, cut = tmp_path / "good.log", tmp_path / "cut.gz"
    good.write_text(json.dumps(said[0]))
    cut.write_bytes(gzip.compress(json.dumps(said[1]).encode() * 50)[:-20])
    names = [str(tmp_path / "none.log"), str(tmp_path), str(cut), str(good)]
    assert cli.main(["logs", "--json", *names]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["failed_files"] == 3
    assert json.loads(out)["events"]["leakmw.report"] == 1
    complaints = err.splitlines()
    assert complaints[0].endswith("none.log: No such file or directory")
    assert complaints[1].endswith("Is a directory")
    assert "cut.gz: " in complaints[2]


def test_a_log_without_events_is_an_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Perhaps it is the wrong file."""
    log = tmp_path / "other.log"
    log.write_text("GET / 200\n")
    assert cli.main(["logs", str(log)]) == 1
    assert capsys.readouterr().out == "1 line: 0 reports, 0 changes of findings.\n"


def test_a_script_learns_of_a_leak(said: Said, folded: Folded, tmp_path: Path) -> None:
    """As with ``leakmw report``."""
    log = tmp_path / "app.log"
    log.write_text(json.dumps(said[1]))
    assert cli.main(["logs", str(log)]) == 0
    assert cli.main(["logs", str(log), "--fail-on", "leak"]) == 0
    assert cli.main(["logs", str(log), "--fail-on", "suspect"]) == 1
    log.write_text(json.dumps(said[1] | {"verdict": "leak"}))
    assert cli.main(["logs", str(log), "--fail-on", "leak"]) == 1


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_table_is_as_wide_as_the_screen(
    said: Said,
    tmp_path: Path,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What all rows share stands above it once."""
    monkeypatch.setenv("COLUMNS", str(columns))
    log = tmp_path / "app.log"
    other = said[1] | {"worker_host": "web-2", "endpoint": "GET /\x1b[31m\u732b"}
    log.write_text("".join(f"{json.dumps(event)}\n" for event in [*said, other]))
    assert cli.main(["logs", str(log)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("shop 1.4.2: 2 workers\nendpoint")
    assert max(map(width, out.splitlines())) <= columns
    assert out.replace("\n", "").isprintable()
    if columns == 200:
        rows = [line.split() for line in out.splitlines()]
        assert rows[2] == [
            *("POST", "/login", "suspect", "1.1", "KiB", "1", "4,012", "web-1"),
            "shop/views.py:42",
        ]


@pytest.mark.parametrize("by", ["", "pid", "service,service", "service,", "Service"])
def test_unknown_fields_are_refused(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["logs", "--by", by])
    assert "use some of service,version,host,endpoint" in capsys.readouterr().err


def test_what_logging_writes_is_read(
    shop_report: Report, plain_logging: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole way: what an app without structlog has in its log."""
    leak = replace(shop_report.findings[0], verdict=Verdict.LEAK)
    with caplog.at_level(logging.INFO, "leakmw"):
        said = Events(Settings(), shop_report.worker)
        said.report(shop_report)
        said.changes(shop_report, [Change(State.CONFIRMED, leak)])
    table = fleet.Fleet()
    for record in caplog.records:
        for event in events(f"{record.levelname} {record.getMessage()}"):
            table.fold(event)
    assert table.counts == {"leakmw.report": 1, "leakmw.leak_confirmed": 1}
    assert [row.verdict for row in table.rows()] == ["leak", "settled"]
