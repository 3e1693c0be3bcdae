"""The commands in a real terminal: drawn in its size, in its colors, and given back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.records import Verdict
from leakmw.report.terminal import width
from leakmw.shell import fullscreen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Start = Callable[..., "Terminal"]

TOKEN = "a-token-of-some-length"  # the secret of tests
LEAKMW = (sys.executable, "-m", "leakmw")
SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(child, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.write(1, b"[stopped]")
    os.kill(child, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""
"""What a shell does: it gives the command the terminal, and lets it go on when it has stopped."""

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLORS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A terminal with a command in it.

    Attributes:
        shown: All that was written to it so far.
        before: How it was set before the command.
    """

    def __init__(self, command: list[str], columns: int, rows: int, **environment: str) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._slave)
        self.shown = ""
        given = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHELL, *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            env=given | {"LEAKMW_TOKEN": TOKEN, "TERM": "xterm-256color"} | environment,
        )

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def type(self, keys: str) -> None:
        """Type *keys*."""
        os.write(self.master, keys.encode())

    def until(self, said: str) -> str:
        """Wait until *said* is shown; return all up to it since the last time."""
        while said not in self.shown:
            ended = self.process.poll() is not None
            if not self._read(0.05) and ended:
                pytest.fail(f"ended without {said!r}: {self.shown!r}")
        end = self.shown.index(said) + len(said)
        before, self.shown = self.shown[:end], self.shown[end:]
        return before

    def end(self) -> int:
        """Wait for the end of the command; return its exit status."""
        while self.process.poll() is None:
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.master, 65536).decode()
        return True

    def is_as_before(self) -> bool:
        """Return whether it is set as it was, and was left as it was entered."""
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        """Take it away, and the command with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self.master)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return what starts a command in a terminal of its own."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    terminals: list[Terminal] = []

    def begin(
        *command: str,
        columns: int = 80,
        rows: int = 24,
        program: Sequence[str] = LEAKMW,
        **environment: str,
    ) -> Terminal:
        terminals.append(Terminal([*program, *command], columns, rows, **environment))
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


def frames(shown: str) -> list[list[str]]:
    """Return the lines of each whole drawing in *shown*, without its codes."""
    drawn = [part.partition("\x1b[J")[0] for part in shown.split("\x1b[H")[1:] if "\x1b[J" in part]
    return [CODES.sub("", one).replace("\r", "").split("\n") for one in drawn]


@pytest.mark.parametrize(("columns", "rows"), [(40, 10), (80, 24), (200, 50), (20, 4), (1, 1)])
def test_top_fills_the_screen(start: Start, shop_url: str, columns: int, rows: int) -> None:
    """Whatever its size, no line is too long and none too many; the keys stand at the bottom."""
    top = start("top", "--url", shop_url, columns=columns, rows=rows)
    top.until("\x1b[J")
    top.type("q")
    assert top.end() == 0
    top = start("top", "--url", shop_url, columns=columns, rows=rows)
    shown = top.until("\x1b[J")
    (frame,) = frames(shown)
    assert len(frame) == rows
    assert max(map(width, frame)) <= columns
    if columns >= 40:
        assert frame[-1].startswith(" q quit")
        assert any(line.startswith("POST /login") and "suspect" in line for line in frame)
    if columns == 200:
        assert any("shop/views.py:42 in login" in line for line in frame)
        assert any(line.startswith("web-1:71") for line in frame)
    top.type("Q")
    assert top.end() == 0


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("q", 0),
        ("\x03", 130),
        ("\x1c", 128 + signal.SIGQUIT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
        (signal.SIGINT, 130),
    ],
)
def test_the_terminal_is_given_back(
    start: Start, shop_url: str, how: str | signal.Signals, status: int
) -> None:
    """However the command ends: echo, cursor, lines and the other screen are as before."""
    top = start("top", "--url", shop_url)
    shown = top.until("\x1b[J")
    assert shown.startswith(fullscreen._ENTER)
    assert not top.is_as_before()
    if isinstance(how, str):
        top.type(how)
    else:
        os.kill(os.tcgetpgrp(top.master), how)
    assert top.end() == status
    assert top.shown.endswith(fullscreen._LEAVE)
    assert top.is_as_before()


def test_the_terminal_is_given_back_after_an_error(shop_url: str, start: Start) -> None:
    """The traceback comes after it, where it can be read."""
    broken = (
        "import sys; from leakmw import cli; from leakmw.shell import overview\n"
        "overview.help_line = lambda *_: 1 / 0\n"
        f"sys.exit(cli.main(['top', '--url', {shop_url!r}]))"
    )
    top = start("-c", broken, program=[sys.executable])
    assert top.end() == 1
    _, given_back, after = top.shown.partition(fullscreen._LEAVE)
    assert given_back
    assert "ZeroDivisionError" in after
    assert top.is_as_before()


def test_a_new_size_is_drawn_at_once(start: Start, shop_url: str) -> None:
    """Without waiting for the next look."""
    top = start("top", "--url", shop_url, "--interval", "3600")
    top.until("\x1b[J")
    top.resize(50, 12)
    frame = frames(top.until("\x1b[J"))[-1]
    assert (len(frame), width(frame[-1])) == (12, 50)


def test_keys_sort_and_scroll(start: Start, shop_url: str) -> None:
    """Arrows in both of their forms, and letters."""
    top = start("top", "--url", shop_url, "--interval", "3600", columns=100)

    def endpoints(keys: str, said: str) -> list[str]:
        top.type(keys)
        frame = frames(top.until(f"sort: {said} ") + top.until("\x1b[J"))[-1]
        begin = next(n for n, line in enumerate(frame) if line.startswith("endpoint")) + 1
        return [line.split("  ")[0] for line in frame[begin : frame.index("", begin)]]

    top.until("\x1b[J")
    by_name = ["(background)", "GET /price/{sku}", "GET /users/{id}", "POST /login"]
    assert endpoints("\x1b[D", "endpoint") == by_name
    assert endpoints("\x1b[C\x1bOC", "growth")[0] == "POST /login"
    assert endpoints("s", "per-request")[0] == "POST /login"
    assert endpoints("\x1b[D\x1b[D\x1bOD", "endpoint") == by_name
    assert endpoints("\x1b[B\x1b[B", "endpoint") == by_name[2:]
    assert endpoints("\x1b[A", "endpoint") == by_name[1:]
    assert endpoints("j" * 50, "endpoint") == by_name[3:]
    top.type("zq")
    assert top.end() == 0


def test_it_lets_itself_be_stopped(start: Start, shop_url: str) -> None:
    """Ctrl-Z gives the terminal back, and when it goes on it draws anew."""
    top = start("top", "--url", shop_url, "--interval", "3600")
    top.until("\x1b[J")
    top.type("\x1a")
    shown = top.until("\x1b[J")
    stopped = shown.index("[stopped]")
    assert fullscreen._LEAVE in shown[:stopped]
    assert fullscreen._ENTER in shown[stopped:]
    top.type("q")
    assert top.end() == 0
    assert top.is_as_before()


def test_an_app_that_goes_away_is_waited_for(
    start: Start, shop_url: str, admin: Any, shop_monitor: Any
) -> None:
    """What was seen stays, with what is wrong; then the new report comes."""
    top = start("top", "--url", shop_url, "--interval", "0.1", columns=120)
    top.until("POST /login")
    path, admin._path = admin._path, "/elsewhere"
    shown = top.until("the path or the token is wrong") + top.until("\x1b[J")
    assert "POST /login" in "".join(frames(shown)[-1])
    admin._path = path
    report, shop_monitor.latest = shop_monitor.latest, None
    top.until("This worker has made no report yet")
    shop_monitor.latest = replace(report, service="new")
    top.until("new 1.4.2")
    top.type("q")
    assert top.end() == 0


def test_without_keys_it_goes_on_until_it_is_ended(start: Start, shop_url: str) -> None:
    """Standard input may be no terminal."""
    command = f"{sys.executable} -m leakmw top --interval 0.1 --url {shop_url} < /dev/null"
    top = start(f"exec {command}", program=["/bin/sh", "-c"])
    for _ in range(3):
        top.until("\x1b[J")
    top.type("q\x03")
    assert top.end() == 130
    assert top.shown.rstrip("^Cq").endswith(fullscreen._LEAVE)


def test_nobody_there_is_said_before_the_screen_is_taken(start: Start) -> None:
    """As by every other command."""
    top = start("top", "--url", "http://127.0.0.1:1")
    assert top.end() == 3
    assert top.shown.startswith("leakmw top: http://127.0.0.1:1/__leaks__: connection refused")
    assert "\x1b" not in top.shown


def _top(shop_url: str, *options: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LEAKMW, "top", "--url", shop_url, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LEAKMW_TOKEN": TOKEN} | environment,
    )


def test_without_a_terminal_it_prints(shop_url: str) -> None:
    """Once in each interval, without anything that acts on a terminal."""
    top = _top(shop_url, "--interval", "0.1")
    assert top.stdout is not None
    titles = 0
    said = ""
    while titles < 3:
        line = top.stdout.readline()
        said += line
        titles += line.startswith("shop 1.4.2, 1 worker alive")
    top.terminate()
    out, err = top.communicate()
    assert (top.returncode, err) == (-signal.SIGTERM, "")
    assert (said + out).replace("\n", "").isprintable()


def test_once_is_once(shop_url: str, shop_monitor: Any) -> None:
    """As text, or as JSON; without a report it has failed."""
    out, err = _top(shop_url, "--once").communicate()
    assert (out.count("shop 1.4.2"), err) == (1, "")
    out, err = _top(shop_url, "--once", "--json").communicate()
    assert out.count("\n") == 1
    assert '"schema": "leakmw.report/1"' in out
    assert '"workers": [' in out
    shop_monitor.latest = None
    for options in ((), ("--json",)):
        top = _top(shop_url, "--once", *options)
        out, err = top.communicate()
        assert (top.returncode, out) == (1, "")
        assert "has made no report yet" in err


def test_a_reader_that_goes_away_ends_it(shop_url: str) -> None:
    """As with ``| head``."""
    top = _top(shop_url, "--interval", "0.1", "--json")
    assert top.stdout is not None
    assert top.stdout.readline()
    top.stdout.close()
    assert top.stderr is not None
    with top.stderr as stderr:
        assert stderr.read() == ""
    assert top.wait() == 141


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "often", "1e9"])
def test_an_interval_is_a_time(start: Start, interval: str) -> None:
    """Anything else is refused."""
    top = start("top", "--interval", interval)
    assert top.end() == 2
    assert "is no number of seconds from 0.1 to a day" in " ".join(top.shown.split())


@pytest.mark.parametrize("columns", [40, 100, 200])
def test_a_report_is_as_wide_as_the_window(start: Start, shop_url: str, columns: int) -> None:
    """And in color."""
    report = start("report", "--url", shop_url, columns=columns)
    assert report.end() == 0
    lines = COLORS.sub("", report.shown).split("\r\n")
    assert max(map(width, lines)) <= columns
    assert max(map(width, lines)) > columns - 5
    assert "\x1b[33mSUSPECT\x1b[0m" in report.shown


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}]
)
@pytest.mark.parametrize("command", [["report"], ["doctor"], ["top", "--once"]])
def test_who_wants_no_colors_gets_none(
    start: Start, shop_url: str, environment: dict[str, str], command: list[str]
) -> None:
    """By ``NO_COLOR`` or a terminal that has none."""
    report = start(*command, "--url", shop_url, **environment)
    assert report.end() in {0, 1}  # without its extension the doctor is not content
    assert "\x1b" not in report.shown


def test_a_leak_is_red(start: Start, shop_url: str, shop_monitor: Any) -> None:
    """Where it is seen first."""
    finding = replace(shop_monitor.latest.findings[0], verdict=Verdict.LEAK)
    shop_monitor.latest = replace(shop_monitor.latest, findings=(finding,))
    report = start("report", "--url", shop_url)
    assert report.end() == 0
    assert "\x1b[1;31mLEAK\x1b[0m  POST /login" in report.shown
