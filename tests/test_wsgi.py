"""The WSGI face: when a visit ends, what it is called, and that the server sees the app's own."""

from __future__ import annotations

import gc
import io
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults, shift_path_info
from wsgiref.validate import validator

import pytest
from gunicorn.http.wsgi import FileWrapper as GunicornWrapper
from waitress.buffers import ReadOnlyFileBasedBuffer as WaitressWrapper
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from leakmw.records import OTHER
from leakmw.settings import SettingsError
from leakmw.visits.paths import CAP, MAX_LENGTH
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import WSGIApplication

    Watch = Callable[..., LeakMiddleware]

TOKEN = "correct-horse-battery"


def environ(path: str = "/", /, **more: Any) -> dict[str, Any]:
    """Return what a server hands over for ``GET path``."""
    given = {"PATH_INFO": path, **more}
    setup_testing_defaults(given)
    return given


def with_wrapper(wrapper: Any) -> dict[str, Any]:
    """Return what a server hands over that can send files by itself."""
    return environ() | {"wsgi.file_wrapper": wrapper}


def start(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
    """Start a response that nobody reads."""
    return lambda data: None


def close(body: Any) -> None:
    """Do what a server does at the end of a response."""
    if hasattr(body, "close"):
        body.close()


def get(app: WSGIApplication, path: str = "/", **more: Any) -> bytes:
    """Serve one request as a server does, and return the body."""
    body = app(environ(path, **more), start)
    try:
        return b"".join(body)
    finally:
        close(body)


def visits(face: LeakMiddleware) -> dict[str, int]:
    """Return the visits by name."""
    return {name: known.visits for name, known in face.monitor.endpoints().items()}


def answering(body: Any, status: str = "200 OK") -> WSGIApplication:
    """Return an app that always returns *body*."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "text/plain")])
        made: Iterable[bytes] = body() if callable(body) else body
        return made

    return app


class Closing:
    """An iterable, not an iterator, that counts what is done to it."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    def __iter__(self) -> Iterator[bytes]:
        self.done["iter"] += 1
        return iter([b"a", b"b"])

    def close(self) -> None:
        """Count it."""
        self.done["close"] += 1


def test_nothing_is_done_to_the_body_before_the_server_does_it(watch_wsgi: Watch) -> None:
    """The iterable is iterated when the server iterates, closed when it closes, as often."""
    closing = Closing()
    body: Any = watch_wsgi(answering(closing))(environ(), start)
    before = dict(closing.done)

    chunks = list(body)
    body.close()

    assert before == {}
    assert chunks == [b"a", b"b"]
    assert closing.done == {"iter": 1, "close": 1}


def test_a_visit_ends_at_close(watch_wsgi: Watch) -> None:
    """The last chunk does not end it; closing does, after the app's own close; once only."""
    counted = []

    class Counting(Closing):
        def close(self) -> None:
            counted.append(visits(face))

    face = watch_wsgi(answering(Counting))
    body: Any = face(environ(), start)
    list(body)
    body.close()
    body.close()

    assert counted == [{"GET /": 0}, {"GET /": 1}]
    assert visits(face) == {"GET /": 1}


def test_a_list_comes_back_as_it_is(watch_wsgi: Watch) -> None:
    """It has no close() to wait for, and to send it runs none of the app's code."""
    chunks = [b"a", b"b"]
    face = watch_wsgi(answering(chunks))

    assert face(environ(), start) is chunks
    assert visits(face) == {"GET /": 1}


def test_a_list_with_a_close_of_its_own_is_waited_for(watch_wsgi: Watch) -> None:
    """What an app has made of a list may do anything when it is sent."""

    class Chunks(list[bytes]):
        def close(self) -> None:
            assert visits(face) == {"GET /": 0}

    face = watch_wsgi(answering(Chunks([b"a"])))
    body: Any = face(environ(), start)
    body.close()

    assert visits(face) == {"GET /": 1}


def test_a_body_that_is_never_iterated_is_closed(watch_wsgi: Watch) -> None:
    """A generator around the body would never have reached its finally."""
    closing = Closing()
    face = watch_wsgi(answering(closing))

    body: Any = face(environ(), start)
    body.close()

    assert closing.done == {"close": 1}
    assert visits(face) == {"GET /": 1}


def test_a_lazy_app_that_is_never_started_is_counted(watch_wsgi: Watch) -> None:
    """It never called start_response, and its path is its name all the same."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"late"

    face = watch_wsgi(app)
    body: Any = face(environ("/lazy"), start)
    body.close()

    assert visits(face) == {"GET /lazy": 1}


def test_a_close_that_raises_ends_the_visit(watch_wsgi: Watch) -> None:
    """The exception goes on to the server."""

    class Failing(Closing):
        def close(self) -> None:
            raise OSError("cannot close")

    face = watch_wsgi(answering(Failing()))
    body: Any = face(environ(), start)

    with pytest.raises(OSError, match="cannot close"):
        body.close()
    assert visits(face) == {"GET /": 1}


def test_a_server_that_forgets_to_close(watch_wsgi: Watch) -> None:
    """The visit ends when the server drops the body; the app's body is not closed in its place."""
    closing = Closing()
    face = watch_wsgi(answering(closing))

    list(face(environ(), start))

    assert closing.done == {"iter": 1}
    assert visits(face) == {"GET /": 1}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_goes_through(watch_wsgi: Watch, error: type[BaseException]) -> None:
    """Whatever the app raises reaches the server as it was, and ends the visit."""
    raised = error("mine")

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise raised

    face = watch_wsgi(app)

    with pytest.raises(error) as caught:
        face(environ(), start)
    assert caught.value is raised
    assert visits(face) == {"GET /": 1}


def test_a_body_has_the_length_of_the_apps(watch_wsgi: Watch) -> None:
    """Servers make Content-Length of ``len(body) == 1``; a generator has none, and is true."""
    sized: Any = watch_wsgi(answering([b"one"]))(environ(), start)
    unsized: Any = watch_wsgi(answering(lambda: (chunk for chunk in [b"one"])))(environ(), start)

    assert len(sized) == 1
    assert not hasattr(unsized, "__len__")
    assert bool(unsized)


@pytest.mark.parametrize("body", [[b"one"], [b"one", b"two"], (chunk for chunk in [b"one"])])
def test_a_server_sends_the_same_bytes(watch_wsgi: Watch, body: Any) -> None:
    """The whole response of the standard library's server, headers and all, is the bare app's."""
    kept = list(body)
    fresh = answering((lambda: kept) if isinstance(body, list) else lambda: iter(kept))

    def served(app: WSGIApplication) -> bytes:
        sent = io.BytesIO()
        SimpleHandler(io.BytesIO(), sent, io.StringIO(), environ()).run(app)
        return sent.getvalue()

    assert served(watch_wsgi(fresh)) == served(fresh)


def test_next_works_where_it_did(watch_wsgi: Watch) -> None:
    """A generator can be asked for its first chunk without iter(), a list cannot."""
    generator: Any = watch_wsgi(answering(lambda: (chunk for chunk in [b"a"])))(environ(), start)
    sized: Any = watch_wsgi(answering([b"a"]))(environ(), start)

    assert next(generator) == b"a"
    with pytest.raises(TypeError, match="object is not an iterator"):
        next(sized)


def test_start_response_gets_what_the_app_gave(watch_wsgi: Watch) -> None:
    """Two arguments stay two, exc_info is passed on, and its write() comes back."""
    given: list[tuple[Any, ...]] = []
    written: list[bytes] = []

    def recording(*arguments: Any, **named: Any) -> Callable[[bytes], object]:
        given.append((*arguments, named))
        return written.append

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", headers)(b"written")
        try:
            headers.fail()
        except AttributeError:
            start_response("500 Oops", headers, sys.exc_info())
            start_response("501 Oops", headers, exc_info=None)
        return []

    headers: Any = [("Content-Type", "text/plain")]
    face = watch_wsgi(app)
    close(face(environ(), recording))

    assert [call[0] for call in given] == ["200 OK", "500 Oops", "501 Oops"]
    assert [len(call) for call in given] == [3, 4, 3]  # with the dict of what came by name
    assert given[0][1] is headers
    assert given[1][2][0] is AttributeError
    assert [call[-1] for call in given] == [{}, {}, {}]
    assert written == [b"written"]
    assert visits(face) == {"GET /": 1}


@pytest.mark.parametrize("wrapper", [FileWrapper, GunicornWrapper, WaitressWrapper])
def test_a_file_response_stays_the_servers_own(watch_wsgi: Watch, wrapper: Any) -> None:
    """The server finds its own file wrapper, so that sendfile works; closing it ends the visit."""
    file = io.BytesIO(b"content")
    wrapped = wrapper(file)  # gunicorn's and the standard library's call it filelike
    face = watch_wsgi(answering(wrapped))

    body: Any = face(with_wrapper(wrapper), start)
    before = visits(face)
    content = wrapped.filelike.read() if hasattr(wrapped, "filelike") else wrapped.file.read()
    body.close()
    body.close()

    assert body is wrapped
    assert content == b"content"
    assert before == {"GET /": 0}
    assert visits(face) == {"GET /": 1}
    assert file.closed


def test_a_file_response_is_not_kept(watch_wsgi: Watch) -> None:
    """Once it is closed, no circle of references is left for the collector."""

    class Wrapper:
        def close(self) -> None:
            return None

    face = watch_wsgi(answering(Wrapper))
    gc.disable()
    try:
        body: Any = face(with_wrapper(Wrapper), start)
        alive = weakref.ref(body)
        body.close()
        del body

        assert alive() is None
    finally:
        gc.enable()


def test_a_file_that_cannot_be_followed_ends_its_visit_at_return(watch_wsgi: Watch) -> None:
    """A wrapper made in C takes no new close: its visit is counted early rather than never."""

    class Sealed:
        __slots__ = ()

        def close(self) -> None:
            return None

    sealed = Sealed()
    face = watch_wsgi(answering(sealed))

    body: Any = face(with_wrapper(Sealed), start)

    assert body is sealed
    assert visits(face) == {"GET /": 1}


def test_a_file_wrapper_that_is_a_function(watch_wsgi: Watch) -> None:
    """UWSGI's wrapper returns the file itself and later looks for that very object."""
    with Path(__file__).open("rb") as file:
        face = watch_wsgi(answering(file))

        body: Any = face(with_wrapper(lambda file, size: file), start)
        before = visits(face)
        body.close()

        assert body is file
        assert before == {"GET /": 0}
        assert visits(face) == {"GET /": 1}
        assert file.closed


def test_validators_find_nothing_wrong(watch_wsgi: Watch) -> None:
    """The face is a good server to the app and a good app to the server (PEP 3333)."""
    face = watch_wsgi(validator(answering([b"one", b"two"])))
    given = environ("/x", QUERY_STRING="", SCRIPT_NAME="")

    def strict_start(status: str, headers: Any, exc_info: Any = None) -> Any:
        return start(status, headers, exc_info)

    body: Any = validator(face)(given, strict_start)
    chunks = list(body)
    body.close()

    assert chunks == [b"one", b"two"]
    assert visits(face) == {"GET /x": 1}


def test_an_environ_that_is_used_again(watch_wsgi: Watch) -> None:
    """A harness that serves two requests from one environ has made two visits."""
    face = watch_wsgi(lambda environ, start: answering([b""], environ["status"])(environ, start))
    again = environ("/a")

    for status in ("404 Not Found", "200 OK", "404 Not Found"):
        again["status"] = status
        close(face(again, start))

    assert visits(face) == {"GET /a": 2, "(unmatched)": 1}


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/", "200 OK", "GET /"),
        ("", "200 OK", "GET /"),
        ("/users", "200 OK", "GET /users"),
        ("/users/", "301 Moved", "GET /users/"),
        ("/failing", "500 Oops", "GET /failing"),
        ("/caf\u00c3\u00a9", "200 OK", "GET /caf\u00e9"),
        ("/missing", "404 Not Found", "(unmatched)"),
        ("/wrong", "405 Method Not Allowed", "(unmatched)"),
        ("/line\nbreak", "200 OK", OTHER),
        ("(background)", "200 OK", OTHER),
        ("/" + "x" * MAX_LENGTH, "200 OK", OTHER),
    ],
)
def test_a_plain_app_is_named_by_its_paths(
    watch_wsgi: Watch, path: str, status: str, name: str
) -> None:
    """A path that the app knows is a name, if it is fit to be shown."""
    face = watch_wsgi(answering([b""], status))

    for _ in range(2):  # the first time it is looked for, from then on it is known
        get(face, path)

    assert visits(face) == {name: 2}


def test_a_path_has_a_name_from_its_first_answer_on(watch_wsgi: Watch) -> None:
    """A 404 or an odd status before makes none, and does not take it away later."""
    face = watch_wsgi(lambda environ, start: answering([], environ["test.status"])(environ, start))

    for status in ("404 Not Found", 500, "200 OK", "404 Not Found", "200 OK"):
        close(face(environ("/page") | {"test.status": status}, start))

    assert visits(face) == {"GET /page": 3, "(unmatched)": 2}


def test_a_scanner_makes_no_names(watch_wsgi: Watch) -> None:
    """An app that answers anything has its first paths as names, and all others in one."""
    face = watch_wsgi(answering([b""]))

    for number in range(CAP + 100):
        get(face, f"/{number}")
    get(face, "/0")

    assert len(visits(face)) == CAP + 1
    assert visits(face)["GET /0"] == 2
    assert visits(face)[OTHER] == 100


def test_an_app_that_a_dispatcher_mounts_is_named_by_the_whole_path(watch_wsgi: Watch) -> None:
    """What the dispatcher moves from the path to the script name is still a part of the name."""

    def shifting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        shift_path_info(environ)
        return answering([b"shifted"])(environ, start_response)

    mounts: Any = {"/mounted": answering([b"mounted"]), "/shifted": shifting}
    face = watch_wsgi(DispatcherMiddleware(answering([b"root"]), mounts))

    bodies = [get(face, path, SCRIPT_NAME="/given") for path in ("/a", "/mounted/a", "/shifted/a")]

    assert bodies == [b"root", b"mounted", b"shifted"]
    assert visits(face) == {"GET /a": 1, "GET /mounted/a": 1, "GET /shifted/a": 1}


def test_disabled_is_the_app_itself() -> None:
    """Who switches leakmw off gets back what he gave, even if that is another face."""
    app = answering([b""])
    face = LeakMiddleware(app)

    assert LeakMiddleware(app, enabled=False) is app
    assert LeakMiddleware(face, enabled=False) is face
    assert face.app is app


def test_a_wrong_setting_is_an_error_at_start() -> None:
    """It names the setting, whether it is given in the mapping or by name."""
    with pytest.raises(SettingsError, match="'evry'"):
        LeakMiddleware(answering([]), {"evry": 10})
    with pytest.raises(SettingsError, match="'every'"):
        LeakMiddleware(answering([]), {"every": 10}, every=0)


@pytest.mark.parametrize("path", ["/__leaks__x", "/__leak", "/x/__leaks__/", "/"])
def test_paths_beside_the_admin_path_are_the_apps(watch_wsgi: Watch, path: str) -> None:
    """The token opens the admin path, and no other."""
    face = watch_wsgi(answering([b"the app"]), token=TOKEN)

    assert get(face, path, HTTP_AUTHORIZATION=f"Bearer {TOKEN}") == b"the app"


def test_the_admin_endpoint_works_below_a_script_name(watch_wsgi: Watch) -> None:
    """Mounted under a prefix, it sends its cookie for that prefix only."""
    face = watch_wsgi(answering([b"the app"]), token=TOKEN)
    sent: dict[str, str] = {}

    def recording(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        sent.update(headers, status=status)

    face(environ("/__leaks__/", SCRIPT_NAME="/shop", QUERY_STRING=f"token={TOKEN}"), recording)

    assert sent["status"].startswith("303")
    assert "Path=/shop/__leaks__" in sent["Set-Cookie"]
    assert visits(face) == {}


@pytest.mark.parametrize("host", ["", "a b", "[", "x" * 5000, "host:port", "\u00e9"])
def test_an_odd_host_is_the_apps_to_answer(watch_wsgi: Watch, host: str) -> None:
    """Whatever a scanner sends to the admin path, the app answers it."""
    face = watch_wsgi(answering([b"the app"]), token=TOKEN)

    assert get(face, "/__leaks__/", HTTP_HOST=host, QUERY_STRING="token=%ff") == b"the app"
