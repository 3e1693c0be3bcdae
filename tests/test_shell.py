"""The commands say what the admin endpoint answers: as text as wide as the screen, or as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import cli
from leakmw.records import Collections, SnapshotError, Verdict
from leakmw.report.document import (
    diff_document,
    report_document,
    snapshot_document,
    workers_document,
)
from leakmw.report.markdown import markdown
from leakmw.report.terminal import width

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.records import Report

    Run = Callable[..., "Ended"]

TOKEN = "a-token-of-some-length"  # the secret of tests
READING = (
    ("report",),
    ("workers",),
    ("snapshot",),
    ("diff",),
    ("gc",),
    ("gc", "--collect"),
    ("gc", "--inspect"),
    ("heap",),
)
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class Ended:
    """A command that has ended.

    Attributes:
        status: Its exit status.
        out: What it said.
        err: What it complained of.
    """

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def document(self) -> Any:
        """What it said, which is JSON and nothing else."""
        assert self.err == ""
        return json.loads(self.out)


@pytest.fixture
def run(shop_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs a command on the shop."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEAKMW_TOKEN", TOKEN)

    def command(*arguments: str) -> Ended:
        status = cli.main([*arguments, "--url", shop_url])
        return Ended(status, *capsys.readouterr())

    return command


def test_a_report_is_said_as_the_app_would(run: Run, shop_report: Report) -> None:
    """Text by default, Markdown and JSON if wished."""
    text = run("report")
    assert (text.status, text.err) == (0, "")
    assert "SUSPECT  POST /login" in text.out
    assert "  at      shop/views.py:42 in login" in text.out
    written = run("report", "--format", "markdown").out
    assert written.partition("## Endpoints")[0] == markdown(shop_report).partition("## Endp")[0]
    for format_ in (["--json"], ["--format", "json"]):
        assert run("report", *format_).document == report_document(shop_report)


def test_a_report_lists_several_workers(run: Run, shop_monitor: Any) -> None:
    """But not when one of them was asked for."""
    assert "pid 72" not in run("report").out
    (known,) = shop_monitor.peers
    shop_monitor.peers = (known, replace(known, worker=replace(known.worker, pid=72)))
    assert "web-1, pid 72" in run("report").out
    assert "web-1, pid 72" not in run("report", "--worker", "71").out


@pytest.mark.parametrize(
    ("fail_on", "verdict", "status"),
    [
        ((), Verdict.LEAK, 0),
        (("--fail-on", "leak"), Verdict.LEAK, 1),
        (("--fail-on", "leak"), Verdict.SUSPECT, 0),
        (("--fail-on", "suspect"), Verdict.LEAK, 1),
        (("--fail-on", "suspect"), Verdict.SUSPECT, 1),
        (("--fail-on", "suspect"), Verdict.BOUNDED, 0),
    ],
)
@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_a_script_learns_of_a_leak_if_it_asks(  # noqa: PLR0913  # two tables
    run: Run,
    shop_monitor: Any,
    *,
    fail_on: tuple[str, ...],
    verdict: Verdict,
    status: int,
    json_: tuple[str, ...],
) -> None:
    """By the exit status; the report is printed all the same."""
    finding = replace(shop_monitor.latest.findings[0], verdict=verdict)
    shop_monitor.latest = replace(shop_monitor.latest, findings=(finding,))
    ended = run("report", *fail_on, *json_)
    assert (ended.status, ended.err) == (status, "")
    assert "POST /login" in ended.out


def test_workers_are_listed(run: Run, shop_monitor: Any) -> None:
    """With what each has done and takes; one without a snapshot has unknowns."""
    (known,) = shop_monitor.peers
    other = replace(known.worker, pid=72)
    gone = replace(known, worker=other, alive=False, engine=None, memory=None, pause_seconds=None)
    shop_monitor.peers = (known, gone)
    ended = run("workers")
    rows = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert rows[1] == "web-1:71 alive 12,000 212 MiB 0.6 % 3 0.003 s 0 1.4.2"
    assert rows[2] == "web-1:72 gone 12,000 unknown unknown 3 unknown 0 1.4.2"
    assert run("workers", "--json").document == workers_document(shop_monitor.peers)


def test_no_worker_is_an_exit_status(run: Run, shop_monitor: Any) -> None:
    """Before the first snapshot nobody is known."""
    shop_monitor.peers = ()
    ended = run("workers")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "leakmw workers: no worker has taken a snapshot yet\n"
    assert run("workers", "--json").document == {"workers": []}


def test_a_snapshot_is_taken(run: Run, shop_monitor: Any) -> None:
    """In the worker that is named, if one is."""
    ended = run("snapshot")
    assert ended.out.splitlines()[1].split()[:4] == ["000000000003", "3,000", "212", "MiB"]
    assert run("snapshot", "--worker", "web-1:71").status == 0
    assert run("snapshot", "--json").document == snapshot_document(shop_monitor.kept[-1])
    refused = run("snapshot", "--worker", "72")
    assert (refused.status, refused.out) == (1, "")
    assert "No such worker lives" in refused.err


def test_growth_is_said_between_two_snapshots(run: Run, shop_monitor: Any) -> None:
    """Those that are named, or the last two."""
    last = run("diff")
    assert last.out.startswith("  from    000000000002, 2026-11-22 12:00:02 UTC\n  to      0000")
    assert "shop/views.py:42 in login" in last.out
    named = run("diff", "000000000001", "000000000003", "--json")
    assert named.document == diff_document(shop_monitor.diff("000000000001", "000000000003"))


def test_growth_needs_two_snapshots(run: Run, shop_monitor: Any) -> None:
    """One id alone is a wrong command; too few snapshots are no fault of it."""
    one = run("diff", "000000000001")
    assert (one.status, one.err) == (
        2,
        "leakmw diff: name two snapshots, or none for the last two\n",
    )
    assert run("diff", "1", "2").status == 1
    shop_monitor.kept = shop_monitor.kept[:1]
    few = run("diff")
    assert few.status == 1
    assert few.err.startswith("leakmw diff: 1 snapshot so far, and growth is between two")


def test_the_collector_is_told_of(run: Run, shop_monitor: Any) -> None:
    """How it is set, what it took, by generation and endpoint; where nobody counts, less."""
    said = run("gc").out
    assert said.startswith("The collector is on.\n")
    rows = [line.split() for line in said.splitlines()]
    assert ["generation", "0", "412", "0.041", "s", "0.001", "s", "31,000", "0"] in rows
    assert ["POST", "/login", "400", "0.04", "s", "0.001", "s", "30,900", "0"] in rows
    shop_monitor.pauses = None
    assert "generation" not in run("gc").out
    assert run("gc", "--json").document["pauses"] is None


def test_an_app_without_collections_says_so(run: Run, shop_monitor: Any) -> None:
    """There is no empty table."""
    none = (Collections(0, 0, 0.0, 0.0, 0, 0),)
    shop_monitor.pauses = shop_monitor.pauses._replace(generations=none, endpoints=None)
    assert "No collection has run so far." in run("gc").out


def test_garbage_is_collected_or_looked_for(run: Run, shop_monitor: Any) -> None:
    """The one frees it, the other says what it is made of; not both at once."""
    collected = run("gc", "--collect").out
    assert collected.startswith("Collected ")
    assert "generation 2" in collected
    inspected = run("gc", "--inspect").out
    assert inspected.startswith("720 objects of garbage, 93.8 KiB, seen in 0.4 s")
    for said in ("120 shop.orders.Order", "shop/orders.py:31 (7)", "__del__ shop.orders.Order"):
        assert said in inspected
    assert run("gc", "--inspect", "--json").document["objects"] == 720
    shop_monitor.refusal = SnapshotError("no room to fork")
    refused = run("gc", "--inspect")
    assert (refused.status, refused.err) == (1, "leakmw gc: no room to fork\n")
    assert "is not known: no room to fork" in run("gc", "--collect").out


def test_the_heap_is_walked(run: Run) -> None:
    """Findings, containers, types."""
    said = run("heap").out
    assert said.startswith("120,000 objects seen in 0.6 s, the process standing still for 0.004 s")
    rows = [line.split() for line in said.splitlines()]
    assert ["shop.views.SESSIONS", "4,000", "+1,000", "dict"] in rows
    assert ["dict", "6.68", "MiB", "30,000"] in rows
    assert "SUSPECT  POST /login" in said
    assert run("heap", "--json").document["objects"] == 120_000


def test_no_report_yet_is_said(run: Run, shop_monitor: Any) -> None:
    """With when there is one, and the exit status."""
    shop_monitor.latest = None
    ended = run("report")
    assert (ended.status, ended.out) == (1, "")
    assert "every 1,000 requests" in ended.err


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_answer_is_as_wide_as_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], columns: int
) -> None:
    """Also where no terminal is: ``COLUMNS`` says how wide."""
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = run(*command)
    assert (ended.status, ended.err) == (0, "")
    assert max(map(width, ended.out.splitlines())) <= columns
    assert ended.out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("environment", "colorful"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_a_file_has_colors_only_if_forced(
    run: Run, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, colorful: bool
) -> None:
    """JSON and Markdown never."""
    plain = run("report").out
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = run("report").out
    assert bool(COLOR.search(said)) is colorful
    assert COLOR.sub("", said) == plain
    assert not COLOR.search(run("report", "--json").out)
    assert not COLOR.search(run("report", "--format", "markdown").out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "required: COMMAND"),
        (["report", "--format", "xml"], "invalid choice: 'xml'"),
        (["report", "--worker", "first"], "'first' is no worker: use a pid, or host:pid"),
        (["report", "--worker", "0"], "'0' is no worker"),
        (["gc", "--inspect", "--collect"], "not allowed with argument"),
        (["report", "--fail-on", "bounded"], "invalid choice: 'bounded'"),
        (["diff", "1", "2", "3"], "unrecognized arguments: 3"),
        (["workers", "--worker", "1"], "unrecognized arguments"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    """With exit status 2, before anybody is asked."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err


def _leakmw(url: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "leakmw", *arguments, "--url", url]
    given = os.environ | {"LEAKMW_TOKEN": TOKEN} | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=given)


def test_a_reader_that_goes_away_is_no_error(shop_url: str) -> None:
    """As with ``| head -1``: nothing is said, and the exit status is that of a broken pipe."""
    command = _leakmw(shop_url, "report", "--json")
    assert command.stdout is not None
    command.stdout.close()
    assert command.stderr is not None
    with command.stderr as stderr:
        assert stderr.read() == b""
    assert command.wait() == 141


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_without_all_signs_gets_others(
    shop_url: str, shop_monitor: Any, encoding: str
) -> None:
    """What was shortened is marked otherwise and as wide, and other names are escaped."""
    finding = shop_monitor.latest.findings[0]
    growth = replace(finding.growth, endpoint="GET /\u732b/" + "x" * 200)
    findings = (replace(finding, growth=growth),)
    shop_monitor.latest = replace(shop_monitor.latest, findings=findings)
    command = _leakmw(shop_url, "report", PYTHONIOENCODING=encoding, COLUMNS="80")
    out, err = command.communicate()
    assert (command.returncode, err) == (0, b"")
    (line,) = [line for line in out.decode("ascii").splitlines() if line.startswith("SUSPECT")]
    assert "GET /\\u732b/" in line
    assert "x~x" in line
