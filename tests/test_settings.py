"""Settings are validated at start, from code, from a mapping and from the environment."""

from __future__ import annotations

import dataclasses
import os
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw import Settings, SettingsError

TOKEN = "correct-horse-battery"
ENGINE = "LEAKMW_ENGINE"
STORE = "LEAKMW_STORE"
NAMES = [field.name for field in dataclasses.fields(Settings)]


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests take for granted is looked at here."""
    monkeypatch.delenv(ENGINE)
    monkeypatch.delenv(STORE)


DEFAULTS = {
    "enabled": True,
    "every": 1000,
    "engine": "auto",
    "overhead": 0.01,
    "sample_bytes": None,
    "frames": 32,
    "path": "/__leaks__",
    "token": None,
    "inspect": False,
    "endpoint": None,
    "max_endpoints": 500,
    "top": 10,
    "ignore": (),
    "service": None,
    "version": None,
    "store": None,
}

RIGHT: list[tuple[str, Any, str | None]] = [
    # name, value in code, the same in the environment (None: it cannot be said there)
    ("enabled", False, "false"),
    ("enabled", True, "ON"),
    ("inspect", True, "1"),
    ("inspect", False, "no"),
    ("every", 1, "1"),
    ("every", 250_000, "250000"),
    ("engine", "tracemalloc", "tracemalloc"),
    ("engine", "auto", "auto"),
    ("engine", "sampling", "sampling"),
    ("overhead", 1, "1"),
    ("overhead", 0.005, "5e-3"),
    ("sample_bytes", None, ""),
    ("sample_bytes", None, "None"),
    ("sample_bytes", 65536, "65536"),
    ("frames", 1, "1"),
    ("frames", 128, "128"),
    ("path", "/ops/leaks.v1/~me_-", "/ops/leaks.v1/~me_-"),
    ("token", None, ""),
    ("token", TOKEN, TOKEN),
    ("endpoint", str, None),
    ("max_endpoints", 1, "1"),
    ("top", 1, "1"),
    ("ignore", (), ""),
    ("ignore", ("*/vendor/*", "shop.cache"), " */vendor/*, shop.cache,"),
    ("service", "shop", "shop"),
    ("version", "1.4.2", "1.4.2"),
    ("store", "memory", "memory"),
    ("store", "/var/lib/leakmw.db", "/var/lib/leakmw.db"),
    ("store", None, "none"),
]

WRONG: list[tuple[str, Any, str]] = [
    # name, value in code, what the message must tell the user to do
    ("enabled", 1, "use True or False"),
    ("enabled", None, "use True or False"),
    ("inspect", "yes", "use True or False"),
    ("every", 0, "use 1 or more"),
    ("every", True, "use a whole number"),
    ("every", 10.0, "use a whole number"),
    ("every", None, "use a whole number"),
    ("engine", "memray", "use 'auto', 'sampling' or 'tracemalloc'"),
    ("engine", b"auto", "use a string"),
    ("overhead", 0, "above 0 and at most 1"),
    ("overhead", 1.01, "above 0 and at most 1"),
    ("overhead", float("nan"), "above 0 and at most 1"),
    ("overhead", True, "use a number"),
    ("sample_bytes", 0, "use 1 or more"),
    ("sample_bytes", "64k", "use a whole number or None"),
    ("frames", 0, "use 1 to 128 frames"),
    ("frames", 129, "use 1 to 128 frames"),
    ("path", "", "use an absolute path"),
    ("path", "/", "use an absolute path"),
    ("path", "leaks", "use an absolute path"),
    ("path", "/leaks/", "use an absolute path"),
    ("path", "/a//b", "use an absolute path"),
    ("path", "/a/../b", "use an absolute path"),
    ("path", "/./a", "use an absolute path"),
    ("path", "/leaks?x", "use an absolute path"),
    ("path", "/läcks", "use an absolute path"),
    ("path", "/leaks\n", "use an absolute path"),
    ("endpoint", "shop.naming", "use a callable, which only code can give or None"),
    ("max_endpoints", 0, "use 1 or more"),
    ("top", -1, "use 1 or more"),
    ("ignore", "*/vendor/*", "use a tuple of strings"),
    ("ignore", (1,), "use a tuple of strings"),
    ("service", 7, "use a string or None"),
    ("version", 1.4, "use a string or None"),
    ("store", "/var/", "use a file's path, 'memory', or None"),
]

WRONG_IN_ENVIRONMENT = [
    ("enabled", "maybe", "one of 1, true, yes, on, 0, false, no, off"),
    ("enabled", "", "use True or False"),
    ("every", "often", "use a whole number"),
    ("every", "", "use a whole number"),
    ("every", "0", "use 1 or more"),
    ("overhead", "1%", "use a number"),
    ("overhead", "inf", "above 0 and at most 1"),
    ("endpoint", "shop:name", "only code can give"),
    ("store", "/var/", "use a file's path, 'memory', or None"),
]

WRONG_TOKENS = [
    ("fifteen-letters", "use at least 16 characters"),
    ("sixteen letters and more", "use printable ASCII"),
    ("sixteen-letters;more", "use printable ASCII"),
    ('sixteen-letters"more', "use printable ASCII"),
    ("sixteen-läters-more", "use printable ASCII"),
    ("sixteen-letters-\n", "use printable ASCII"),
    (b"sixteen-letters-as-bytes", "use a string or None"),
]


def test_every_setting_has_its_documented_default() -> None:
    """Without a word from the user each setting has the default that the documentation states."""
    assert dataclasses.asdict(Settings.load()) == DEFAULTS


@pytest.mark.parametrize(("name", "value", "_text"), RIGHT)
def test_right_values_are_taken_from_code(name: str, value: Any, _text: str | None) -> None:
    """A right value given in code is the value of the setting, unchanged."""
    assert getattr(Settings.load(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "text"), [case for case in RIGHT if case[2] is not None]
)
def test_right_values_are_read_from_the_environment(
    name: str, value: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LEAKMW_<NAME> says the same in text as the value does in code."""
    monkeypatch.setenv(f"LEAKMW_{name.upper()}", text)

    assert getattr(Settings.load(), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_said_in_code_and_in_the_environment(name: str) -> None:
    """No setting is left out of the cases above; a callable alone has no text."""
    texts = [text for case, _, text in RIGHT if case == name]

    assert texts
    assert all(text is None for text in texts) == (name == "endpoint")


@pytest.mark.parametrize(("name", "value", "remedy"), WRONG)
def test_a_wrong_value_is_an_error_that_names_it(name: str, value: Any, remedy: str) -> None:
    """The message of a wrong value names the setting, the value and what to use instead."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(**{name: value})

    message = str(caught.value)
    assert message.startswith(f"leakmw: setting {name!r} has the value {value!r}: ")
    assert remedy in message


@pytest.mark.parametrize(("name", "text", "remedy"), WRONG_IN_ENVIRONMENT)
def test_a_wrong_text_in_the_environment_is_an_error_that_names_it(
    name: str, text: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read from the environment is said as plainly as what is wrong in code."""
    monkeypatch.setenv(f"LEAKMW_{name.upper()}", text)

    with pytest.raises(SettingsError, match=f"setting '{name}' has the value ") as caught:
        Settings.load()

    assert remedy in str(caught.value)


@pytest.mark.parametrize(("token", "remedy"), WRONG_TOKENS)
def test_a_wrong_token_is_refused_without_being_shown(token: Any, remedy: str) -> None:
    """An error message is read by others, so it does not repeat the secret."""
    with pytest.raises(SettingsError, match=remedy) as caught:
        Settings.load(token=token)

    assert "letters-" not in str(caught.value)
    assert "setting 'token'" in str(caught.value)


def test_a_token_is_not_in_the_repr() -> None:
    """Settings that end up in a log or a traceback do not give the token away."""
    assert TOKEN not in repr(Settings(token=TOKEN))


def test_unknown_settings_are_errors_that_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is refused wherever it stands, with the names there are."""
    known = ".* use one of enabled, every, "
    with pytest.raises(SettingsError, match=f"unknown setting 'evry' with the value 5:{known}"):
        Settings.load(evry=5)
    with pytest.raises(SettingsError, match=f"unknown setting 'EVERY' with the value 5:{known}"):
        Settings.load({"EVERY": 5})
    monkeypatch.setenv("LEAKMW_EVRY", "5")
    with pytest.raises(SettingsError, match=f"unknown setting 'evry' with the value '5':{known}"):
        Settings.load()


def test_other_variables_of_the_environment_are_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only names that begin with the prefix are read."""
    monkeypatch.setenv("EVERY", "5")
    monkeypatch.setenv("MY_LEAKMW_EVERY", "5")

    assert Settings.load() == Settings()


def test_code_wins_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override wins over the mapping, the mapping over the environment, that over defaults."""
    monkeypatch.setenv("LEAKMW_EVERY", "10")
    monkeypatch.setenv("LEAKMW_TOP", "10")
    monkeypatch.setenv("LEAKMW_FRAMES", "10")

    loaded = Settings.load({"every": 20, "top": 20}, every=30)

    assert (loaded.every, loaded.top, loaded.frames, loaded.max_endpoints) == (30, 20, 10, 500)


def test_whole_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings made in code are taken as they are, but for the overrides."""
    monkeypatch.setenv("LEAKMW_EVERY", "10")
    monkeypatch.setenv("LEAKMW_TOP", "10")

    assert Settings.load(Settings(top=3), frames=4) == Settings(top=3, frames=4)


def test_a_list_of_globs_is_as_good_as_a_tuple() -> None:
    """Configuration files have no tuples; the setting is one all the same."""
    assert Settings.load({"ignore": ["*/vendor/*"]}).ignore == ("*/vendor/*",)


def test_settings_cannot_be_changed() -> None:
    """What was validated at start stays as it was."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().every = 5  # type: ignore[misc]  # the point of the test


def test_a_store_that_cannot_be_looked_at_stops_no_app() -> None:
    """Too long a name, say: what is wrong with it is said by the store, once it is opened."""
    assert Settings(store="x" * 300).store == "x" * 300


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_a_value_or_a_settings_error(name: str, text: str) -> None:
    """Whatever stands in the environment, start-up either takes it or says what is wrong."""
    try:
        loaded = _load_with(name, text)
    except SettingsError as error:
        assert repr(name) in str(error)  # noqa: PT017  # both outcomes are right
    else:
        assert Settings.load(loaded) == loaded


@given(
    value=st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
)
@pytest.mark.parametrize("name", NAMES)
def test_any_value_is_taken_or_a_settings_error(name: str, value: object) -> None:
    """Whatever code gives, it is the setting's value or a SettingsError, nothing else."""
    try:
        loaded = Settings.load({name: value})
    except SettingsError as error:
        assert repr(name) in str(error)  # noqa: PT017  # both outcomes are right
    else:
        taken = tuple(value) if isinstance(value, list) else value
        assert getattr(loaded, name) == taken


@given(overhead=st.floats(0, 1, exclude_min=True))
def test_numbers_come_back_from_the_environment_as_they_were(overhead: float) -> None:
    """A number written into the environment is the number that is read."""
    assert _load_with("overhead", str(overhead)).overhead == overhead


def _load_with(name: str, text: str) -> Settings:
    # not monkeypatch: it would set one example after the other and undo them all at the end
    with mock.patch.dict(os.environ, {f"LEAKMW_{name.upper()}": text}):
        return Settings.load()
