"""``leakmw demo`` as a user runs it: in a process of its own, with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAKMW = (sys.executable, "-m", "leakmw")
COLOR = re.compile(rb"\x1b\[[0-9;]*m")


def marked_line() -> int:
    """Return the line of the shop that says of itself that it leaks."""
    lines = resources.files("leakmw.demo").joinpath("shop.py").read_text().splitlines()
    [number] = [number for number, line in enumerate(lines, start=1) if "# leak: " in line]
    return number


def suspects(report: dict[str, Any]) -> set[str]:
    """Return the suspected endpoints."""
    found = [one for one in report["findings"] if one["verdict"] in {"leak", "suspect"}]
    return {one["endpoint"] for one in found}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run in, which is as empty afterwards as it was before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    yield tmp_path
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("shell")
def test_it_prints_the_leaking_endpoint_with_file_and_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a terminal the text report is all that is printed, whatever the shell sets."""
    monkeypatch.setenv("LEAKMW_ENABLED", "no")
    demo = subprocess.run([*LEAKMW, "demo"], capture_output=True, text=True, check=False)
    assert (demo.returncode, demo.stderr) == (0, "")
    assert "POST /login" in demo.stdout
    assert f"leakmw/demo/shop.py:{marked_line()} in login" in demo.stdout


@pytest.mark.usefixtures("shell")
def test_json_is_the_report_and_nothing_else() -> None:
    """With ``--json`` standard output is one JSON document that suspects the leak alone."""
    demo = subprocess.run(
        [*LEAKMW, "demo", "--json", "--requests", "7200"], capture_output=True, check=False
    )
    assert (demo.returncode, demo.stderr) == (0, b"")
    report = json.loads(demo.stdout)
    assert report["schema"] == "leakmw.report/1"
    assert suspects(report) == {"POST /login"}, json.dumps(report["findings"], indent=2)
    sites = [(found["site"]["file"], found["site"]["line"]) for found in report["findings"]]
    assert ("leakmw/demo/shop.py", marked_line()) in sites


@pytest.mark.usefixtures("shell")
def test_a_healthy_shop_has_no_suspect() -> None:
    """With the leak switched off nothing is found, which is what is right then."""
    demo = subprocess.run(
        [*LEAKMW, "demo", "--healthy", "--json", "--requests", "7200"],
        capture_output=True,
        check=False,
    )
    assert (demo.returncode, demo.stderr) == (0, b"")
    assert not suspects(json.loads(demo.stdout))


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_sees_progress_and_the_exit_status_says_if_the_leak_was_found(
    *, no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few requests are too few to tell; the bar is drawn on standard error, plain if wished."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal, stderr = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        demo = subprocess.Popen(
            [*LEAKMW, "demo", "--requests", "300"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        os.close(stderr)
        drawn = read_until_closed(screen.fileno())
        said, _ = demo.communicate()
    assert demo.returncode == 1
    assert b"Visiting a small shop" in drawn
    assert bool(COLOR.search(drawn)) is not no_color
    assert "\x1b" not in said
    assert "SUSPECT" not in said
    assert "LEAK " not in said


def read_until_closed(terminal: int) -> bytes:
    """Return what is written to *terminal* until nobody has it open any more."""
    drawn = b""
    try:
        while chunk := os.read(terminal, 4096):
            drawn += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    return drawn


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_it_leaves_nothing_running_however_it_ends(sent: int, status: int) -> None:
    """After Ctrl-C, and even after being killed, the server ends."""
    demo = subprocess.Popen([*LEAKMW, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (servers := psutil.Process(demo.pid).children()):
        assert demo.poll() is None
    demo.send_signal(sent)
    _, stderr = demo.communicate()
    assert demo.returncode == status
    assert stderr == b""
    psutil.wait_procs(servers)
    assert not any(server.is_running() for server in servers)


@pytest.mark.usefixtures("shell")
def test_a_shop_that_dies_is_said_with_its_status() -> None:
    """It is not the traffic's fault then."""
    demo = subprocess.Popen(
        [*LEAKMW, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (servers := psutil.Process(demo.pid).children()):
        assert demo.poll() is None
    while not servers[0].net_connections():
        assert demo.poll() is None
    servers[0].kill()
    said, stderr = demo.communicate()
    assert (demo.returncode, said) == (1, "")
    assert stderr == "leakmw demo: the shop ended with status -9: it said nothing\n"


@pytest.mark.parametrize("missing", ["httpx", "rich", "uvicorn"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(missing: str) -> None:
    """Without its extra the demo says what to run."""
    hidden = f"import sys; sys.modules[{missing!r}] = None; import leakmw.cli as cli; "
    command = [sys.executable, "-c", f"{hidden} sys.exit(cli.main(['demo']))"]
    demo = subprocess.run(command, capture_output=True, text=True, check=False)
    assert demo.returncode == 2
    assert demo.stdout == ""
    assert demo.stderr == f"leakmw demo: {missing} missing; run: pip install 'leakmw[demo]'\n"


def test_a_wrong_option_is_named() -> None:
    """What cannot be run is said with the value given, and with exit status 2."""
    demo = subprocess.run(
        [*LEAKMW, "demo", "--requests", "many"], capture_output=True, text=True, check=False
    )
    assert demo.returncode == 2
    assert "'many' is no whole number above 0" in demo.stderr


def test_the_version_is_the_packages() -> None:
    """``--version`` names the installed version."""
    version = subprocess.run([*LEAKMW, "--version"], capture_output=True, text=True, check=False)
    assert version.stdout == f"leakmw {metadata.version('leakmw')}\n"
