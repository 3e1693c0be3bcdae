"""Settings: frozen, validated, from code, from a mapping and from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from leakmw.records import EndpointNamer

PREFIX = "LEAKMW_"
"""Before the upper-case name of a setting in the environment and in ``app.config``."""

EVERY = 1000
"""Visits between two snapshots where nobody has said how many."""


class SettingsError(ValueError):
    """A setting is unknown or wrong; the message names it, its value and the remedy."""


Check = Callable[[Any], str | None]
"""Returns the remedy for a value of the right kind that is wrong, ``None`` for a right one."""


def _anything(_value: object) -> None:
    return None


def _at_least(low: int) -> Check:
    return lambda value: None if value >= low else f"use {low} or more"


def _share(value: float) -> str | None:
    right = 0 < value <= 1
    return None if right else "use a share of CPU time above 0 and at most 1, such as 0.01"


def _engine(value: str) -> str | None:
    right = value in {"auto", "sampling", "tracemalloc"}
    return None if right else "use 'auto', 'sampling' or 'tracemalloc'"


def _frames(value: int) -> str | None:
    deepest = 128  # deeper tracebacks cost memory and say no more
    return None if 1 <= value <= deepest else f"use 1 to {deepest} frames"


def _path(value: str) -> str | None:
    if not re.fullmatch(r"(/[\w.~-]+)+", value, re.ASCII) or {".", ".."} & set(value.split("/")):
        return (
            "use an absolute path of letters, digits, '_', '-', '.' and '~', "
            "without a slash at its end, such as '/__leaks__'"
        )
    return None


def _token(value: str) -> str | None:
    if not re.fullmatch(r"[!-~]*", value) or set(value) & set(',;"\\'):
        return "use printable ASCII without spaces, quotes, commas, semicolons and backslashes"
    shortest = 16
    if len(value) < shortest:
        return f"use at least {shortest} characters, such as `openssl rand -hex 24` prints"
    return None


def _store(value: str) -> str | None:
    if not value or value.endswith("/") or os.path.isdir(value):  # noqa: PTH112  # the other may raise
        return "use a file's path, 'memory', or None for a private file of this user and app"
    return None


class _Kind(NamedTuple):
    """How the values of one annotation are told apart, read from text and asked for."""

    accepts: Callable[[Any], bool]
    parse: Callable[[str], Any]
    wanted: str


_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True)
_FLAGS |= dict.fromkeys(("0", "false", "no", "off"), False)


def _parse_flag(text: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _parse_globs(text: str) -> tuple[str, ...]:
    return tuple(glob.strip() for glob in text.split(",") if glob.strip())


def _parse_callable(text: str) -> Any:
    raise ValueError(text)


_KINDS = {
    "bool": _Kind(
        lambda value: isinstance(value, bool),
        _parse_flag,
        f"use True or False (in the environment one of {', '.join(_FLAGS)})",
    ),
    # type() and not isinstance() below: True and False are no numbers here.
    "int": _Kind(lambda value: type(value) is int, int, "use a whole number"),
    "float": _Kind(lambda value: type(value) in {int, float}, float, "use a number"),
    "str": _Kind(lambda value: isinstance(value, str), str, "use a string"),
    "tuple[str, ...]": _Kind(
        lambda value: isinstance(value, tuple) and all(isinstance(glob, str) for glob in value),
        _parse_globs,
        "use a tuple of strings (in the environment with commas between them)",
    ),
    "EndpointNamer": _Kind(callable, _parse_callable, "use a callable, which only code can give"),
}


def _setting(default: Any, check: Check = _anything, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"check": check})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose.

    Attributes:
        enabled: ``False``: the face hands back the app, nothing runs.
        every: Visits between two snapshots.
        engine: ``auto``, ``sampling`` or ``tracemalloc``.
        overhead: Share of CPU time that taking samples may cost.
        sample_bytes: A fixed mean interval between samples instead, in bytes.
        frames: Deepest traceback kept.
        path: Where the admin endpoint answers.
        token: Who has it may see the admin endpoint; without one there is none.
        inspect: Allow what shows more than types, sizes and places.
        endpoint: Callable naming a visit from environ or scope.
        max_endpoints: Names past it are counted as ``(other)``.
        top: Findings in one report.
        ignore: Globs on files, sites and holders never reported.
        service: The name that logs, metrics and store carry.
        version: The version that they carry.
        store: Where history lives: a file's path for SQLite, or ``memory``; ``None`` picks a
            private file per user and app.

    Raises:
        SettingsError: If a value is wrong.
    """

    enabled: bool = _setting(True)
    every: int = _setting(EVERY, _at_least(1))
    engine: str = _setting("auto", _engine)
    overhead: float = _setting(0.01, _share)
    sample_bytes: int | None = _setting(None, _at_least(1))
    frames: int = _setting(32, _frames)
    path: str = _setting("/__leaks__", _path)
    token: str | None = _setting(None, _token, secret=True)
    inspect: bool = _setting(False)
    endpoint: EndpointNamer | None = _setting(None)  # noqa: RUF009  # the call makes a field
    max_endpoints: int = _setting(500, _at_least(1))
    top: int = _setting(10, _at_least(1))
    ignore: tuple[str, ...] = _setting(())
    service: str | None = _setting(None)
    version: str | None = _setting(None)
    store: str | None = _setting(None, _store)

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if remedy := rule.remedy(value):
                raise rule.error(value, remedy)

    @classmethod
    def load(cls, given: Settings | Mapping[str, Any] | None = None, **overrides: Any) -> Self:
        """Merge the environment, *given* and *overrides*, the later ones winning.

        Args:
            given: Settings by lower-case name, from code or a framework's configuration, or a
                whole ``Settings``, which wins over the environment in everything.

            overrides: Settings by lower-case name.

        Raises:
            SettingsError: If a name is unknown or a value is wrong.
        """
        if isinstance(given, Settings):
            given = {name: getattr(given, name) for name in _RULES}
        merged = _from_environment(os.environ) | dict(given or {}) | overrides
        for name, value in merged.items():
            if name not in _RULES:
                raise SettingsError(
                    f"leakmw: unknown setting {name!r} with the value {value!r}: "
                    f"use one of {', '.join(_RULES)}"
                )
        if isinstance(merged.get("ignore"), list):
            merged["ignore"] = tuple(merged["ignore"])
        return cls(**merged)


class _Rule(NamedTuple):
    """What one setting may be."""

    name: str
    kind: _Kind
    optional: bool
    secret: bool
    check: Check

    def remedy(self, value: object) -> str | None:
        """Return what to do about *value*, ``None`` if it is right."""
        if self.optional and value is None:
            return None
        if not self.kind.accepts(value):
            return self.kind.wanted + (" or None" if self.optional else "")
        return self.check(value)

    def parse(self, text: str) -> Any:
        """Read the value from the environment."""
        if self.optional and text.lower() in {"", "none"}:
            return None
        try:
            return self.kind.parse(text)
        except ValueError:
            raise self.error(text, self.kind.wanted) from None

    def error(self, value: object, remedy: str) -> SettingsError:
        """Say what is wrong, without the value of a secret: an error message is read by others."""
        shown = "…" if self.secret else repr(value)
        return SettingsError(f"leakmw: setting {self.name!r} has the value {shown}: {remedy}")


def _rules() -> dict[str, _Rule]:
    """Derive the rules from the fields, so that each setting stands in one place."""
    rules = {}
    for setting in fields(Settings):
        annotation = str(setting.type)
        kind = annotation.removesuffix(" | None")
        rules[setting.name] = _Rule(
            setting.name,
            _KINDS[kind],
            optional=kind != annotation,
            secret=not setting.repr,
            check=setting.metadata["check"],
        )
    return rules


_RULES = _rules()


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read ``LEAKMW_<NAME>``; a name that is no setting is left for the caller to refuse."""
    found = {}
    for key, text in environ.items():
        if key.startswith(PREFIX):
            name = key.removeprefix(PREFIX).lower()
            found[name] = _RULES[name].parse(text) if name in _RULES else text
    return found
