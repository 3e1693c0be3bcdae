"""The script for tab completion offers in a real shell what the parser knows."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from leakmw import cli

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "demo",
    "report",
    "workers",
    "top",
    "snapshot",
    "diff",
    "gc",
    "heap",
    "scan",
    "logs",
    "doctor",
    "completion",
}
ASK = """
set -- $WORDS
COMP_WORDS=(leakmw "$@")
[[ $WORDS == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_leakmw leakmw "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command prints for *shell*."""
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(script: str, words: str, folder: Path) -> set[str]:
    """Return what bash offers after *words*."""
    done = subprocess.run(
        ["bash", "--norc", "-c", script + ASK],
        env={"WORDS": words, "PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (" ", COMMANDS),
        ("re", {"report"}),
        ("do", {"doctor"}),
        ("--v", {"--version"}),
        ("nothing ", set()),
        ("report --fo", {"--format"}),
        ("report --format ", {"text", "markdown", "json"}),
        ("report --json --fail-on s", {"suspect"}),
        ("report --worker ", set()),
        ("gc --co", {"--collect"}),
        ("top --sort re", {"requests"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("logs ", {"app.log", "other.log"}),
        ("logs a", {"app.log"}),
        ("logs app.log --by ", set()),
        ("report --store o", {"other.log"}),
        ("diff ", set()),
    ],
)
def test_bash_offers_what_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, offered: set[str]
) -> None:
    """Commands, options, the values of options, files where files are meant, and nothing else."""
    for name in ("app.log", "other.log"):
        (tmp_path / name).touch()
    assert completed(script("bash", capsys), words, tmp_path) == offered


def test_bash_offers_every_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script and the parser are one."""
    said = script("bash", capsys)
    (commands,) = (
        action
        for action in cli.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert set(commands.choices) == COMMANDS
    for name, parser in commands.choices.items():
        known = {spelling for action in parser._actions for spelling in action.option_strings}
        assert completed(said, f"{name} -", tmp_path) == known


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_takes_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads it without running it; a shell that is not there is passed over."""
    said = script(shell, capsys)
    for name in COMMANDS:
        assert name in said
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=said, text=True, check=True)


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["completion", "tcsh"])
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
