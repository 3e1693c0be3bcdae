"""Settings: frozen, validated, from code, from a mapping and from the environment."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_args, get_origin, get_type_hints

from leakmw.records import EndpointNamer

PREFIX = "LEAKMW_"


class SettingsError(ValueError):
    """A setting is unknown or has a wrong value; the message names it, the value and the remedy."""


def _wrong(name: str, value: object, remedy: str) -> SettingsError:
    return SettingsError(f"leakmw: setting {name!r} has the value {value!r}: {remedy}")


def _at_least(low: float) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value is not None and value < low:
            raise _wrong(name, value, f"use {low} or more")

    return check


def _overhead(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise _wrong(name, value, "use a share of CPU time above 0 and at most 1, such as 0.01")


def _engine(name: str, value: str) -> None:
    if value == "sampling":
        raise _wrong(name, value, "this version has no sampling engine; use 'auto' or 'tracemalloc'")
    if value not in {"auto", "tracemalloc"}:
        raise _wrong(name, value, "use 'auto' or 'tracemalloc'")


def _frames(name: str, value: int) -> None:
    if not 1 <= value <= 128:  # noqa: PLR2004  # deeper tracebacks only cost
        raise _wrong(name, value, "use 1 to 128 frames")


def _path(name: str, value: str) -> None:
    parts = value.split("/")
    if parts[0] or len(parts) < 2 or any(not part or part in {".", ".."} for part in parts[1:]):  # noqa: PLR2004
        raise _wrong(name, value, "use an absolute path without a slash at its end, such as '/__leaks__'")
    if not value.isascii() or any(sign in value for sign in "?#% ;\\\"'<>"):
        raise _wrong(name, value, "use only letters, digits, '/', '_', '-', '.' and '~'")


def _token(name: str, value: str | None) -> None:
    if value is None:
        return
    shown = "…"  # the value is a secret: an error message is read by others
    if len(value) < 16:  # noqa: PLR2004
        raise _wrong(name, shown, "use at least 16 characters, such as `openssl rand -hex 24` prints")
    if not value.isascii() or not value.isprintable() or any(sign in value for sign in " ;,\"\\"):
        raise _wrong(name, shown, "use printable ASCII without spaces, quotes, commas and semicolons")


def _store(name: str, value: str | None) -> None:
    if value not in {None, "memory"}:
        raise _wrong(name, value, "this version keeps history in memory only; use None or 'memory'")


def _setting(default: Any, check: Callable[[str, Any], None] | None = None) -> Any:
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose.

    Attributes:
        enabled: ``False``: the face hands back the app, nothing runs.
        every: Visits between two snapshots.
        engine: ``auto`` or ``tracemalloc``.
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
        store: Where history lives: ``None`` and ``memory`` keep it in the process.
    """

    enabled: bool = _setting(True)
    every: int = _setting(1000, _at_least(1))
    engine: str = _setting("auto", _engine)
    overhead: float = _setting(0.01, _overhead)
    sample_bytes: int | None = _setting(None, _at_least(1))
    frames: int = _setting(32, _frames)
    path: str = _setting("/__leaks__", _path)
    token: str | None = field(default=None, repr=False, metadata={"check": _token})
    inspect: bool = _setting(False)
    endpoint: EndpointNamer | None = _setting(None)
    max_endpoints: int = _setting(500, _at_least(1))
    top: int = _setting(10, _at_least(1))
    ignore: tuple[str, ...] = _setting(())
    service: str | None = _setting(None)
    version: str | None = _setting(None)
    store: str | None = _setting(None, _store)

    def __post_init__(self) -> None:
        for name, (kinds, check) in _RULES.items():
            value = getattr(self, name)
            if name == "ignore" and isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, name, value)
            _check_type(name, value, kinds)
            if check is not None:
                check(name, value)

    @classmethod
    def load(cls, given: Mapping[str, Any] | None = None, **overrides: Any) -> Self:
        """Merge the environment, *given* and *overrides*, the later ones winning.

        Args:
            given: Settings by lower-case name, from code or a framework's configuration.

            overrides: The same, winning over *given*.

        Raises:
            SettingsError: If a name is unknown or a value is wrong.
        """
        merged = _from_environment(os.environ) | dict(given or {}) | overrides
        unknown = sorted(set(merged) - set(_RULES))
        if unknown:
            name = unknown[0]
            raise SettingsError(
                f"leakmw: unknown setting {name!r} (value {merged[name]!r}); known are: {', '.join(_RULES)}"
            )
        return cls(**merged)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the plain classes that a value of *annotation* may have."""
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is not None and annotation != tuple[str, ...]:
        if get_origin(annotation) is Callable:
            return (Callable,)
        return tuple(kind for member in get_args(annotation) for kind in _kinds(member))
    return (get_origin(annotation) or annotation,)


def _check_type(name: str, value: object, kinds: tuple[Any, ...]) -> None:
    if float in kinds and type(value) is int:
        return
    if type(value) is bool and bool not in kinds:
        raise _wrong(name, value, _wanted(kinds))
    if any(callable(value) if kind is Callable else isinstance(value, kind) for kind in kinds):
        if name == "ignore" and not all(isinstance(glob, str) for glob in value):  # type: ignore[attr-defined]
            raise _wrong(name, value, "use a tuple of strings")
        return
    shown = "…" if name == "token" else value
    raise _wrong(name, shown, _wanted(kinds))


_SPOKEN = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a tuple of strings",
    type(None): "None",
    Callable: "a callable",
}


def _wanted(kinds: tuple[Any, ...]) -> str:
    return "use " + " or ".join(_SPOKEN[kind] for kind in kinds)


_RULES: dict[str, tuple[tuple[Any, ...], Callable[[str, Any], None] | None]] = {
    setting.name: (_kinds(get_type_hints(Settings)[setting.name]), setting.metadata["check"] if setting.metadata else None)
    for setting in fields(Settings)
}

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read ``LEAKMW_<NAME>``; names that are no setting are an error like any other."""
    return {
        name: _parse(name, text)
        for key, text in environ.items()
        if key.startswith(PREFIX) and (name := key.removeprefix(PREFIX).lower())
    }


def _parse(name: str, text: str) -> Any:
    kinds, _ = _RULES.get(name, ((str,), None))
    if Callable in kinds:
        raise _wrong(name, text, "a callable can only be given in code")
    if type(None) in kinds and text.lower() in {"", "none"}:
        return None
    if bool in kinds:
        if text.lower() not in _WORDS:
            raise _wrong(name, text, "use one of " + ", ".join(_WORDS))
        return _WORDS[text.lower()]
    if tuple in kinds:
        return tuple(glob.strip() for glob in text.split(",") if glob.strip())
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                raise _wrong(name, text, _wanted(kinds)) from None
    return text
