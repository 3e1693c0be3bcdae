"""``leakmw doctor`` says whether this Python can do all that leakmw needs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import cli, doctor, forked
from leakmw.shell.remote import HttpSource
from leakmw.tracers import sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leakmw.shell.asking import Answered


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
    ("release", "good", "issue"),
    [
        ((3, 11, 0), False, "99205"),
        ((3, 11, 1), True, None),
        ((3, 12, 2), True, "116604"),
        ((3, 12, 3), True, None),
        ((3, 13, 9), True, None),
        ((3, 14, 2), False, "142516"),
        ((3, 14, 5), True, None),
    ],
)
def test_a_python_with_a_faulty_collector_is_named(
    release: tuple[int, ...], *, good: bool, issue: str | None
) -> None:
    """With the issue and the release to use; it is bad where that would look like a leak."""
    check = doctor._python(release)
    assert check.good is good
    if issue is None:
        assert check.remedy is None
    else:
        assert f"CPython issue {issue}" in (check.remedy or "")


@pytest.mark.skipif(sampling.unavailable() is not None, reason="the extension is not built")
def test_the_tracer_is_tried(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs for a moment; one that sees hardly anything, or does not start, is bad."""
    assert checks(capsys)[1]["tracer"]["good"] is True
    monkeypatch.setattr(doctor, "TRIAL_BYTES", 0)
    status, found = checks(capsys)
    assert (status, found["tracer"]["good"]) == (1, False)
    assert str(found["tracer"]["found"]).startswith("runs and saw too little: ")

    def refuse(*_: object) -> None:
        raise RuntimeError("not in this interpreter")

    monkeypatch.setattr(sampling.SamplingTracer, "start", refuse)
    assert checks(capsys)[1]["tracer"]["found"] == "does not run: not in this interpreter"


def test_the_settings_of_the_environment_are_checked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong one would keep the app from starting; a token that is not set is said."""
    found = checks(capsys)[1]
    assert found["settings"]["good"] is True
    assert str(found["token"]["found"]).startswith("not set here")
    monkeypatch.setenv("LEAKMW_TOKEN", "a-token-of-some-length")
    assert checks(capsys)[1]["token"]["found"] == "set"
    monkeypatch.setenv("LEAKMW_EVERY", "often")
    status, found = checks(capsys)
    assert (status, found["settings"]["good"]) == (1, False)
    assert "'often'" in str(found["settings"]["found"])
    assert "token" not in found


def test_a_deployment_is_looked_at(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    shop_url: str,
    shop_monitor: Any,
) -> None:
    """The way to the app, its workers, whether they agree, and errors of leakmw's own."""
    monkeypatch.setenv("LEAKMW_TOKEN", "a-token-of-some-length")

    def found() -> Mapping[str, Mapping[str, object]]:
        cli.main(["doctor", "--json", "--url", shop_url])
        return {check["name"]: check for check in json.loads(capsys.readouterr().out)}

    well = found()
    assert [well[name]["good"] for name in ("endpoint", "workers", "versions", "errors")] == [
        True
    ] * 4
    assert well["workers"]["found"] == "1 alive: web-1:71"

    (known,) = shop_monitor.peers
    old = replace(known, worker=replace(known.worker, pid=72), version="1.4.1", errors=2)
    shop_monitor.peers = (known, old)
    ill = found()
    assert ill["versions"]["found"] == "of the app differ between workers: 1.4.1, 1.4.2"
    assert ill["errors"]["found"] == "2 errors of leakmw's own"

    shop_monitor.peers = ()
    none = found()
    assert none["workers"]["good"] is False
    assert "versions" not in none


def test_a_proxy_that_hides_the_prefix_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shop_url: str
) -> None:
    """The app must know its own address, or browsers keep the cookie to themselves."""
    monkeypatch.setenv("LEAKMW_TOKEN", "a-token-of-some-length")
    ask = HttpSource.ask

    def behind(source: HttpSource, *asked: Any) -> Answered:
        monkeypatch.setattr(source, "url", shop_url)
        answered = ask(source, *asked)
        monkeypatch.setattr(source, "url", f"{shop_url.removesuffix('/__leaks__')}/shop/__leaks__")
        return answered

    monkeypatch.setattr(HttpSource, "ask", behind)
    assert cli.main(["doctor", "--url", shop_url]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "answers at /shop/__leaks__, and the app believes to be at /__leaks__" in said


def test_an_app_that_cannot_be_asked_is_one_bad_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shop_url: str
) -> None:
    """The rest is said all the same; a wrong command is one."""
    monkeypatch.setenv("LEAKMW_TOKEN", "another-token-of-that-length")
    assert cli.main(["doctor", "--url", shop_url]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "the path or the token is wrong" in said
    assert "ok leakmw" in said
    assert cli.main(["doctor", "--url", "localhost"]) == 2
    assert "is no address" in capsys.readouterr().err
