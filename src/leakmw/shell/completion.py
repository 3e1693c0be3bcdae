"""``leakmw completion``: a script for tab completion, made from the parser itself."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.shell.ending import FINE

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# tab completion of leakmw for bash: source <(leakmw completion bash)
_leakmw() {{
    local options="" choices="" files=""
    # not $2: zsh has "--" there for a word that is not begun yet
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    case ${{COMP_WORDS[1]}} in
{commands}
    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        choices="{names}" options="--help --version" files=""
    fi
    case ${{COMP_WORDS[1]}}:$before in
{values}
    esac
    if [[ $word == -* && -n $options ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    elif [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$word"))
    else
        COMPREPLY=($(compgen -W "$choices" -- "$word"))
    fi
}}
complete -F _leakmw leakmw
"""


class Option(NamedTuple):
    """One option of a command.

    Attributes:
        names: Its spellings.
        help: What it does.
        takes: Whether a value follows.
        choices: The values, where they are few.
        file: Whether the value is a file.
    """

    names: tuple[str, ...]
    help: str
    takes: bool
    choices: tuple[str, ...]
    file: bool


class Command(NamedTuple):
    """One command.

    Attributes:
        name: Its name.
        help: What it does.
        options: Its options.
        choices: What may stand behind it.
        file: Whether files may stand behind it.
    """

    name: str
    help: str
    options: tuple[Option, ...]
    choices: tuple[str, ...]
    file: bool


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a script for tab completion",
        description="Print a script for tab completion. bash: source <(leakmw completion bash). "
        "zsh: source <(leakmw completion zsh), after compinit. fish: leakmw completion fish | "
        "source.",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(command=run, name="completion", commands=commands)


def run(options: Namespace) -> int:
    """Print the script."""
    known = list(_commands(options.commands))
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    sys.stdout.write(script(known))
    return FINE


def _commands(commands: Any) -> Iterator[Command]:
    """Yield what the parser knows."""
    helps = {action.dest: action.help or "" for action in commands._choices_actions}  # noqa: SLF001  # nothing public tells
    for name, parser in commands.choices.items():
        options: list[Option] = []
        choices: list[str] = []
        file = False
        for action in _actions(parser):
            if action.option_strings:
                options.append(_option(action))
            else:
                choices += map(str, action.choices or ())
                file = file or action.metavar == "FILE"
        yield Command(name, helps[name], tuple(options), tuple(choices), file)


def _actions(parser: ArgumentParser) -> list[argparse.Action]:
    shown = parser._actions  # noqa: SLF001  # nothing public tells
    return [action for action in shown if action.help != argparse.SUPPRESS]


def _option(action: argparse.Action) -> Option:
    return Option(
        tuple(action.option_strings),
        action.help or "",
        action.nargs != 0,
        tuple(map(str, action.choices or ())),
        action.metavar == "FILE",
    )


def _bash(commands: list[Command]) -> str:
    about, values = [], []
    for command in commands:
        names = " ".join(name for option in command.options for name in option.names)
        file = "yes" if command.file else ""
        said = f'options="{names}" choices="{" ".join(command.choices)}" files="{file}"'
        about.append(f"        {command.name}) {said} ;;")
        for option in filter(lambda one: one.takes, command.options):
            where = "|".join(f"{command.name}:{name}" for name in option.names)
            said = f'options="" choices="{" ".join(option.choices)}"'
            values.append(f'        {where}) {said} files="{"yes" if option.file else ""}" ;;')
    names = " ".join(command.name for command in commands)
    return _BASH.format(commands="\n".join(about), values="\n".join(values), names=names)


def _zsh(commands: list[Command]) -> str:
    """Return the script of bash, which zsh can run."""
    head = "#compdef leakmw\n# tab completion of leakmw for zsh: source <(leakmw completion zsh)\n"
    return f"{head}autoload -U +X bashcompinit && bashcompinit\n{_bash(commands)}"


def _fish(commands: list[Command]) -> str:
    lines = [
        "# tab completion of leakmw for fish: leakmw completion fish | source",
        "complete -c leakmw -f",
        "complete -c leakmw -n __fish_use_subcommand -l version -l help",
    ]
    for command in commands:
        about = _quoted(command.help)
        lines.append(f"complete -c leakmw -n __fish_use_subcommand -a {command.name} -d {about}")
        here = f"complete -c leakmw -n '__fish_seen_subcommand_from {command.name}'"
        if command.choices:
            lines.append(f"{here} -a {_quoted(' '.join(command.choices))}")
        if command.file:
            lines.append(f"{here} -F")
        lines += [f"{here} {_fish_option(option)}" for option in command.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    flags = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    ]
    if option.takes:
        flags.append("-r" if option.file else "-x")
    if option.file:
        flags.append("-F")
    if option.choices:
        flags.append(f"-a {_quoted(' '.join(option.choices))}")
    return f"{' '.join(flags)} -d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
