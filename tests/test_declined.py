"""A look at the heap that comes to harm: the app serves on, and what is missing is said."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
from tests.c_library import refuse_to_fork

from leakmw import forked, looking
from leakmw.admin import collector, routes
from leakmw.heap import garbage, inspector, search
from leakmw.heap.child import Child
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="nothing is forked here")

TOKEN = "a-token-of-some-length"
KEPT: list[bytearray] = []


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Leak at one of two paths, and answer."""
    start_response("200 OK", [("X-Shop", "yes")])
    if environ["PATH_INFO"] == "/leak":
        KEPT.append(bytearray(30_000))
    return [b"every byte ", b"of it"]


def ask(face: Any, method: str, path: str) -> tuple[list[Any], bytes]:
    """Return all that a server gets to see."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
    if path.startswith("/__leaks__"):
        environ["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    setup_testing_defaults(environ)
    head: list[Any] = []
    body = face(environ, lambda *given: head.append(given[:2]))
    text = b"".join(body)
    getattr(body, "close", bool)()
    return head, text


@pytest.fixture(name="face")
def _face(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the app, watched; to be made when what is to come to harm is known."""
    for module in (collector, routes):  # a busy machine is no failure
        monkeypatch.setattr(module, "LOOK_TIMEOUT", 600.0)
    made: list[Any] = []

    def make() -> Any:
        made.append(LeakMiddleware(app, every=10**6, frames=3, token=TOKEN))
        return made[-1]

    yield make
    for face in made:
        face.monitor.close()
    KEPT.clear()


def serve(face: Any) -> None:
    """Serve until there is something whose holder is looked for; each answer is the app's own."""
    bare = {path: ask(app, "GET", path) for path in ("/leak", "/quiet")}
    for number in range(8):
        for path, count in (("/leak", 20), ("/quiet", 15 + 5 * (number % 3))):
            for _ in range(count):
                assert ask(face, "GET", path) == bare[path]
        face.monitor.take_snapshot(600)


def die(*_: object) -> Any:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang(*_: object) -> Any:
    """Never end."""
    while True:
        pass


def devour(*_: object) -> Any:
    """Take more memory than there is."""
    return bytearray(1 << 45)


HARM: dict[str, tuple[Callable[..., Any] | None, str]] = {
    "killed": (die, "the child died before it had finished: killed, or out of memory"),
    "hung": (hang, "the child was killed: it had not finished after 0.3 s"),
    "out of memory": (devour, "the child failed with MemoryError"),
    "fork refused": (None, os.strerror(errno.EAGAIN)),
    "limits too tight": (None, "the memory limit leaves 30 MiB"),
}
"""What befalls a look, and what is said of it."""


@pytest.fixture(params=HARM, name="reason")
def _reason(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have every look at the heap come to harm, but no snapshot; return what is to be said."""
    harm, reason = HARM[request.param]
    if harm is not None:
        monkeypatch.setattr(search, "look", harm)
        monkeypatch.setattr(garbage, "unreachable", harm)
        monkeypatch.setattr(inspector, "cycles", harm)
        monkeypatch.setattr(inspector, "referrers", harm)
        monkeypatch.setattr(inspector, "unreachable", harm)
    if harm is hang:
        for module in (search, garbage, inspector):
            monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.3)
    if request.param == "fork refused":
        monkeypatch.setattr(Child, "run", _refusing(Child.run, monkeypatch))
        monkeypatch.setattr(search, "IN_PROCESS_BLOCKS", 1000)
    if request.param == "limits too tight":
        _tighten(monkeypatch)
    return reason


def _refusing(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what runs a child where the system refuses one."""

    def refused(*given: Any) -> Any:
        with monkeypatch.context() as patch:
            refuse_to_fork(patch)
            return run(*given)

    return refused


def _tighten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave room for a snapshot, and none for a look at the heap."""
    little = lambda: 30 << 20  # noqa: E731
    for name, kind in (("Search", search.Search), ("Garbage", garbage.Garbage)):
        made = lambda rss, _, other, kind=kind: kind(rss, little, other)  # noqa: E731
        monkeypatch.setattr(looking, name, made)
    monkeypatch.setattr(looking, "Child", lambda rss, _: Child(rss, little))


def test_the_report_says_what_was_not_looked_at(face: Callable[[], Any], reason: str) -> None:
    """Its findings are there all the same, without holders."""
    watched = face()
    serve(watched)
    report = watched.monitor.report()
    notes = [note for note in report.notes if note.startswith("what holds the growth")]
    assert len(notes) == 1
    assert reason in notes[0]
    (grown,) = (one for one in report.findings if one.growth.bytes > 1_000_000)
    assert grown.growth.endpoint == "GET /leak"
    assert grown.holder is None


def test_the_answers_say_what_was_not_looked_at(face: Callable[[], Any], reason: str) -> None:
    """503 with the reason, or null and why; the collector collects all the same."""
    watched = face()
    bare = ask(app, "GET", "/quiet")
    gc.garbage.append([])
    try:
        state = json.loads(ask(watched, "GET", "/__leaks__/api/gc")[1])["garbage"]
    finally:
        gc.garbage.clear()
    assert reason in state["missing"]
    assert [one["referrers"] for one in state["groups"]] == [None]
    for path, code in (("heap", "no_look"), ("gc/inspect", "no_inspection")):
        ((status, _),), text = ask(watched, "POST", f"/__leaks__/api/{path}")
        assert status.startswith("503")
        error = json.loads(text)["error"]
        assert error["code"] == code
        assert reason in error["message"]
    collected = json.loads(ask(watched, "POST", "/__leaks__/api/gc/collect")[1])
    assert reason in collected["missing"]
    assert collected["bytes"] is None
    assert ask(watched, "GET", "/quiet") == bare


def test_without_harm_nothing_is_missing(face: Callable[[], Any]) -> None:
    """The innocent case: the holder is named, and the notes are of the tracer alone."""
    watched = face()
    serve(watched)
    report = watched.monitor.report()
    (grown,) = (one for one in report.findings if one.growth.bytes > 1_000_000)
    assert grown.holder is not None
    assert grown.holder.path.endswith("test_declined.KEPT")
    assert len(report.notes) == 1
    for path in ("heap", "gc/inspect", "gc/collect"):
        ((status, _),), _ = ask(watched, "POST", f"/__leaks__/api/{path}")
        assert status.startswith("200")
