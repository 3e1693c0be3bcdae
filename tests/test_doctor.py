"""``leakmw doctor`` says whether this Python can do all that leakmw needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from leakmw import cli, doctor, forked
from leakmw.tracers import sampling

if TYPE_CHECKING:
    from collections.abc import Mapping


def checks(capsys: pytest.CaptureFixture[str]) -> tuple[int, Mapping[str, Mapping[str, object]]]:
    """Return exit status and what was found, by name."""
    status = cli.main(["doctor", "--json"])
    return status, {check["name"]: check for check in json.loads(capsys.readouterr().out)}


@pytest.mark.skipif(sampling.unavailable() is not None, reason="the extension is not built")
def test_a_healthy_installation_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    """With the engine that will be used."""
    status, found = checks(capsys)
    assert status == 0
    assert found["engine"]["found"] == "sampling: its extension is built and loads"
    assert cli.main(["doctor"]) == 0
    assert "sampling" in capsys.readouterr().out


def test_a_missing_extension_is_said_with_its_reason_and_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words that somebody who has never compiled anything can follow."""
    monkeypatch.setattr(sampling, "_missing", "No module named '_sampler'")
    status, found = checks(capsys)
    assert status == 1
    assert "No module named '_sampler'" in str(found["engine"]["found"])
    assert "C compiler" in str(found["engine"]["remedy"])
    assert cli.main(["doctor"]) == 1
    assert "C compiler" in capsys.readouterr().out


def test_a_platform_without_fork_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what that means."""
    monkeypatch.setattr(forked, "AVAILABLE", False)
    status, found = checks(capsys)
    assert (status, found["fork"]["good"]) == (1, False)


@pytest.mark.parametrize(
    ("release", "good"), [((3, 13, 9), True), ((3, 14, 2), False), ((3, 14, 5), True)]
)
def test_a_python_with_a_faulty_collector_is_named(
    release: tuple[int, ...], *, good: bool
) -> None:
    """Its garbage would look like a leak."""
    check = doctor._python(release)
    assert (check.good, check.remedy is None) == (good, good)
