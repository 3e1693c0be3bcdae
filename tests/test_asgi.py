"""The ASGI face around apps written by hand: what it passes on, what it counts, what it leaves."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
import uvloop

from leakmw import SettingsError
from leakmw.asgi import LeakMiddleware
from leakmw.records import VISIT_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from leakmw.monitor import Monitor

    Watch = Callable[..., LeakMiddleware]

TOKEN = "correct-horse-battery"
OK = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"", "more_body": False}


class Scope(dict[str, Any]):
    """A scope that can be referred to weakly."""


def _scope(path: str = "/", **given: Any) -> Scope:
    kind = given.get("type", "http")
    return Scope(
        {
            "type": kind,
            "method": "GET",
            "scheme": "http" if kind == "http" else "ws",
            "path": path,
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"shop.test")],
            "server": ("127.0.0.1", 80),
        }
        | given
    )


class Wire:
    """Stands for a server: hands out messages, and keeps what is sent."""

    def __init__(self, *incoming: dict[str, Any]) -> None:
        self.incoming = list(incoming)
        self.received = 0
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        """Hand out the next message."""
        self.received += 1
        return self.incoming.pop(0)

    async def send(self, message: Any) -> None:
        """Keep a message."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The status sent."""
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        """The body sent."""
        return b"".join(message.get("body", b"") for message in self.sent)


def _call(app: Any, scope: Any, wire: Wire | None = None) -> Wire:
    """Have *app* serve *scope* on an event loop of its own."""
    wire = wire or Wire()
    asyncio.run(app(scope, wire.receive, wire.send))
    return wire


def _answering(status: int = 200) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**OK, "status": status})
        await send(END)

    return app


def _visits(monitor: Monitor) -> dict[str, int]:
    return {name: one.visits for name, one in monitor.endpoints().items() if one.visits}


@pytest.mark.parametrize("kind", ["lifespan", "something.new"])
def test_other_scopes_pass_through(watch_asgi: Watch, kind: str) -> None:
    """What is neither a request nor a websocket reaches the app as it came, and is no visit."""
    seen = []

    async def app(*given: Any) -> None:
        seen.append(given)

    face, scope, wire = watch_asgi(app), {"type": kind}, Wire()
    receive, send = wire.receive, wire.send
    asyncio.run(face(scope, receive, send))

    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope
    assert scope == {"type": kind}
    assert _visits(face.monitor) == {}


def test_an_app_with_routes_gets_all_as_it_came(watch_asgi: Watch) -> None:
    """Scope, receive and send are the server's own where nobody needs the status."""
    seen = []

    class App:
        routes = ()

        async def __call__(self, *given: Any) -> None:
            seen.append(given)

    scope, wire = _scope(), Wire()
    receive, send = wire.receive, wire.send
    asyncio.run(watch_asgi(App())(scope, receive, send))

    assert seen[0][0] is scope
    assert seen[0][1] is receive
    assert seen[0][2] is send


def test_a_plain_app_gets_scope_and_receive_as_they_came(watch_asgi: Watch) -> None:
    """The same scope, extensions included, and the same receive; its messages go out unchanged."""
    extensions: dict[str, Any] = {"http.response.pathsend": {}, "http.response.trailers": {}}
    messages = [
        {"type": "http.response.debug", "info": {}},
        {**OK, "trailers": True},
        {"type": "http.response.pathsend", "path": "/a"},
        {"type": "http.response.zerocopysend", "file": 3},
        END,
        {"type": "http.response.trailers", "headers": []},
    ]
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive))
        for message in messages:
            await send(message)

    scope, wire = _scope(extensions=extensions), Wire()
    receive = wire.receive
    asyncio.run(watch_asgi(app)(scope, receive, wire.send))

    assert seen[0][0] is scope
    assert seen[0][1] is receive
    assert scope["extensions"] is extensions
    assert [id(message) for message in wire.sent] == [id(message) for message in messages]


def test_send_answers_as_the_servers_does(watch_asgi: Watch) -> None:
    """What the server's send raises or returns is what the app gets."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await send(OK))
        try:
            await send(END)
        except OSError as error:
            seen.append(str(error))

    async def send(message: Any) -> Any:
        if message is END:
            raise OSError("the client has gone")
        return "sent"

    asyncio.run(watch_asgi(app)(_scope(), Wire().receive, send))

    assert seen == ["sent", "the client has gone"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken"),
        KeyboardInterrupt(),
        asyncio.CancelledError("by name"),
        BaseExceptionGroup("both", [ValueError(), KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_app_raises_is_untouched(watch_asgi: Watch, error: BaseException) -> None:
    """The very exception comes out, groups and cancellation too, and the visit is over."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    face = watch_asgi(app)

    async def serve() -> BaseException | None:
        try:
            await face(_scope("/a"), Wire().receive, Wire().send)
        except BaseException as raised:  # noqa: BLE001  # which one it is, is the test
            return raised
        return None

    assert asyncio.run(serve()) is error
    assert error.__cause__ is None
    assert _visits(face.monitor) == {"GET /a": 1}


def test_a_cancelled_visit_is_over(watch_asgi: Watch) -> None:
    """A visit whose task is cancelled has ended, and the task is cancelled."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    face = watch_asgi(app)

    async def serve() -> bool:
        task = asyncio.create_task(face(_scope("/a"), Wire().receive, Wire().send))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(serve())
    assert _visits(face.monitor) == {"GET /a": 1}


def test_a_visit_ends_at_the_return(watch_asgi: Watch) -> None:
    """What the app does after its last message still belongs to the visit."""
    counted = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _answering()(scope, receive, send)
        counted.append(_visits(face.monitor))

    face = watch_asgi(app)
    _call(face, _scope("/a"))

    assert counted == [{}]
    assert _visits(face.monitor) == {"GET /a": 1}


def test_overlapping_visits(watch_asgi: Watch) -> None:
    """Of many visits at a time each is counted under its own name."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await _answering(404 if scope["path"] == "/3" else 200)(scope, receive, send)
        await asyncio.sleep(0)

    face = watch_asgi(app)

    async def serve() -> None:
        wire = Wire()
        visits = (face(_scope(f"/{n % 4}"), wire.receive, wire.send) for n in range(32))
        await asyncio.gather(*visits)

    asyncio.run(serve())
    assert _visits(face.monitor) == {"GET /0": 8, "GET /1": 8, "GET /2": 8, "(unmatched)": 8}


@pytest.mark.parametrize("loop", ["asyncio", "trio", "uvloop"])
def test_event_loops(watch_asgi: Watch, loop: str) -> None:
    """It needs nothing of any event loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.lowlevel.checkpoint()
        await _answering()(scope, receive, send)

    face, wire = watch_asgi(app), Wire()
    if loop == "uvloop":
        uvloop.run(face(_scope("/a"), wire.receive, wire.send))
    else:
        anyio.run(face, _scope("/a"), wire.receive, wire.send, backend=loop)

    assert wire.status == 200
    assert _visits(face.monitor) == {"GET /a": 1}


def test_servers_take_it_for_asgi_3(watch_asgi: Watch) -> None:
    """A server that guesses the interface from the app guesses right."""
    config = uvicorn.Config(watch_asgi(_answering()), log_config=None)
    config.load()

    assert config.interface == "asgi3"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, "GET /a"),
        (302, "GET /a"),
        (500, "GET /a"),
        (404, "(unmatched)"),
        (405, "(unmatched)"),
    ],
)
def test_plain_names(watch_asgi: Watch, status: int, name: str) -> None:
    """An app without routes is named by its paths, those that it answers."""
    face = watch_asgi(_answering(status))

    assert _call(face, _scope("/a")).status == status
    assert _visits(face.monitor) == {name: 1}


@pytest.mark.parametrize(
    ("path", "root_path", "name"),
    [
        ("/a", "/mounted", "GET /a"),
        ("/mounted/a", "/mounted", "GET /a"),
        ("/mounted", "/mounted", "GET /mounted"),
        ("/mountedness", "/mounted", "GET /mountedness"),
        ("", "", "GET /"),
        ("/ä b", "", "GET /ä b"),
    ],
)
def test_plain_paths(watch_asgi: Watch, path: str, root_path: str, name: str) -> None:
    """The root path is no part of the name, whether the server leaves it in the path or not."""
    face = watch_asgi(_answering())
    _call(face, _scope(path, root_path=root_path))

    assert _visits(face.monitor) == {name: 1}


def test_a_dispatcher_that_moves_the_path(watch_asgi: Watch) -> None:
    """The name is of the path that came in, not of what the app makes of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["root_path"], scope["path"] = "/sub", "/a"
        await _answering()(scope, receive, send)

    face = watch_asgi(app)
    _call(face, _scope("/sub/a"))

    assert _visits(face.monitor) == {"GET /sub/a": 1}


def test_plain_names_are_bounded(watch_asgi: Watch) -> None:
    """Whatever paths and methods come, there are few names."""
    face = watch_asgi(_answering())

    async def serve() -> None:
        wire = Wire()
        for number in range(2000):
            path = f"/{number}/" + "x" * (number % 300)
            await face(_scope(path, method=f"M{number % 50}"), wire.receive, wire.send)

    asyncio.run(serve())
    assert len(face.monitor.endpoints()) <= 51
    assert sum(_visits(face.monitor).values()) == 2000


@pytest.mark.parametrize(
    ("messages", "name"),
    [
        ([{"type": "websocket.accept"}, {"type": "websocket.close"}], "WS /a"),
        ([{"type": "websocket.close", "code": 4403}], "(unmatched)"),
        ([{"type": "websocket.http.response.start", "status": 404}], "(unmatched)"),
        ([{"type": "websocket.http.response.start", "status": 401}], "WS /a"),
        ([], "(unmatched)"),
    ],
)
def test_plain_websockets(watch_asgi: Watch, messages: list[dict[str, Any]], name: str) -> None:
    """A websocket has its path for a name if the app has taken it, or refused it with a reason."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    face = watch_asgi(app)
    _call(face, _scope("/a", type="websocket"))

    assert _visits(face.monitor) == {name: 1}


def test_an_app_that_tells_its_template(watch_asgi: Watch) -> None:
    """Litestar leaves the template of its route in the scope."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = "/users/{user_id:int}"
        scope["path"] = "/rewritten"
        await _answering()(scope, receive, send)

    face = watch_asgi(app)
    _call(face, _scope("/users/3"))

    assert _visits(face.monitor) == {"GET /users/{user_id:int}": 1}


def test_wrapped_twice_counts_once(watch_asgi: Watch) -> None:
    """The inner of two faces hands on what it gets."""
    inner = watch_asgi(_answering())
    outer = watch_asgi(inner)
    _call(outer, _scope("/a"))
    _call(outer, _scope("/b"))

    assert _visits(inner.monitor) == {}
    assert _visits(outer.monitor) == {"GET /a": 1, "GET /b": 1}


def test_a_path_that_was_answered_keeps_its_name(watch_asgi: Watch) -> None:
    """An app without routes may answer 404 for what is not there any more."""
    statuses = [200, 404]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _answering(statuses.pop(0))(scope, receive, send)

    face = watch_asgi(app)
    _call(face, _scope("/a"))
    _call(face, _scope("/a"))

    assert _visits(face.monitor) == {"GET /a": 2}


def test_a_scope_used_again_is_a_new_visit(watch_asgi: Watch) -> None:
    """What a first visit left in a scope has no part in the second."""
    statuses = [404, 200]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _answering(statuses.pop(0))(scope, receive, send)

    face, scope = watch_asgi(app), _scope("/a")
    _call(face, scope)
    _call(face, scope)

    assert _visits(face.monitor) == {"GET /a": 1, "(unmatched)": 1}


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_kept(watch_asgi: Watch, *, fails: bool) -> None:
    """After the visit nothing refers to its scope, receive or send, without a collection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(OK)
        if fails:
            raise ValueError

    face = watch_asgi(app)
    scope, wire = _scope(), Wire()
    kept: list[weakref.ref[Any]] = [weakref.ref(scope), weakref.ref(wire)]

    async def serve() -> None:
        nonlocal scope, wire
        try:
            await face(scope, wire.receive, wire.send)
        except ValueError:
            assert fails
        del scope, wire

    gc.disable()
    try:
        asyncio.run(serve())
        assert [reference() for reference in kept] == [None, None]
    finally:
        gc.enable()


def test_the_visit_keeps_nothing_of_the_request(watch_asgi: Watch) -> None:
    """The one thing that stays in the scope refers to nothing of it."""
    face, scope = watch_asgi(_answering()), _scope()
    _call(face, scope)

    visit = scope[VISIT_KEY]
    assert visit.finished
    assert visit.__slots__ == ("endpoint", "finished", "outer")
    assert getattr(visit, "outer", None) is None
    assert visit.endpoint.name == "GET /"


def test_disabled_is_the_app_itself() -> None:
    """With ``enabled=False`` there is no face at all."""
    app = _answering()

    assert LeakMiddleware(app, enabled=False) is app
    assert LeakMiddleware(app, {"enabled": False}) is app


def test_wrong_settings_are_refused_at_once() -> None:
    """A setting that is not known is an error when the app starts."""
    with pytest.raises(SettingsError, match="evry"):
        LeakMiddleware(_answering(), evry=3)


def _asking(path: str = "/__leaks__/api/gc", **given: Any) -> Scope:
    headers = [(b"host", b"shop.test"), (b"authorization", f"Bearer {TOKEN}".encode())]
    return _scope(path, **{"headers": headers, **given})


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/__leaks__/api/gc", ""),
        ("/__leaks__/api/gc", "/proxied"),
        ("/proxied/__leaks__/api/gc", "/proxied"),
    ],
)
def test_admin_below_the_root_path(watch_asgi: Watch, path: str, root_path: str) -> None:
    """The admin endpoint is where the app is, whether the server leaves the root path or not."""
    face = watch_asgi(_answering(404), token=TOKEN)
    wire = _call(face, _asking(path, root_path=root_path), Wire({"type": "http.request"}))

    assert wire.status == 200
    assert b'"counts"' in wire.body
    assert _visits(face.monitor) == {}


@pytest.mark.parametrize(
    ("scope", "received"),
    [
        (_scope("/__leaks__/api/gc"), 0),
        (_scope("/__leaks__/api/gc", headers=[]), 0),
        (_scope("/__leaks__/api/gc", headers=[(b"host", b"/\xff@:bad"), (b"cookie", b"\xff")]), 0),
        (_scope("/__leaks__/api/gc", query_string=b"token=%ff&token=wrong"), 0),
        (_asking("/elsewhere/__leaks__/api/gc"), 0),
        (_asking("/__leaks__ness"), 0),
        (_asking("/__leaks__/api/gc", type="websocket"), 0),
    ],
    ids=["no token", "no headers", "bad headers", "bad query", "not below", "longer", "websocket"],
)
def test_what_is_not_the_admins_is_the_apps(
    watch_asgi: Watch, scope: Scope, received: int
) -> None:
    """Who has no token, or asks for something else, is the app's, with the body unread."""
    reached = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(wire.received)
        await _answering()(scope, receive, send)

    face, wire = watch_asgi(app, token=TOKEN), Wire()
    _call(face, Scope(scope), wire)

    assert reached == [received]
    assert sum(_visits(face.monitor).values()) == 1


def test_admin_without_a_token_is_the_apps(watch_asgi: Watch) -> None:
    """Where no token is set there is no admin endpoint."""
    face = watch_asgi(_answering())
    _call(face, _asking())

    assert _visits(face.monitor) == {"GET /__leaks__/api/gc": 1}


def test_admin_login(watch_asgi: Watch) -> None:
    """``?token=`` is answered by a cookie, which then stands for it, split as HTTP/2 may do."""
    face = watch_asgi(_answering(404), token=TOKEN)
    login = _scope("/__leaks__/", query_string=f"token={TOKEN}".encode(), scheme="https")
    wire = _call(face, login, Wire({"type": "http.request"}))
    headers = dict(wire.sent[0]["headers"])
    cookie = headers[b"set-cookie"].partition(b";")[0]
    pages = [(b"host", b"shop.test"), (b"cookie", b"other=1"), (b"cookie", cookie)]

    assert wire.status == 303
    assert b"Secure" in headers[b"set-cookie"]
    page = _call(face, _scope("/__leaks__/", headers=pages), Wire({"type": "http.request"}))
    assert page.status == 200


def test_admin_reads_no_more_than_it_needs(watch_asgi: Watch) -> None:
    """Of an endless body only as much is read as shows that it is too long."""
    chunk = {"type": "http.request", "body": b" " * 1000, "more_body": True}
    wire = Wire(*[chunk] * 100)
    face = watch_asgi(_answering(404), token=TOKEN)
    _call(face, _asking("/__leaks__/api/gc/collect", method="POST"), wire)

    assert wire.status == 413
    assert wire.received == 5


def test_admin_client_that_leaves(watch_asgi: Watch) -> None:
    """Who leaves before the body is complete gets no answer, and raises nothing."""
    wire = Wire({"type": "http.disconnect"})
    face = watch_asgi(_answering(), token=TOKEN)
    _call(face, _asking("/__leaks__/api/gc/collect", method="POST"), wire)

    assert wire.sent == []
    assert _visits(face.monitor) == {}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_admin_when_all_threads_are_at_work(watch_asgi: Watch, backend: str) -> None:
    """The admin endpoint answers on any event loop, also when the app has used up its threads."""
    face, wire = watch_asgi(_answering(404), token=TOKEN), Wire({"type": "http.request"})

    async def serve() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        async with anyio.to_thread.current_default_thread_limiter():
            await face(_asking(), wire.receive, wire.send)

    anyio.run(serve, backend=backend)
    assert wire.status == 200


def test_admin_does_not_hold_up_the_loop(
    watch_asgi: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the service is at work, which may be a snapshot, the loop serves on."""
    loops: list[object] = []

    def handle(*_: Any) -> None:
        try:
            loops.append(asyncio.get_running_loop())
        except RuntimeError:
            loops.append(None)

    monkeypatch.setattr("leakmw.admin.service.Service.handle", handle)
    face = watch_asgi(_answering(), token=TOKEN)
    wire = _call(face, _asking(), Wire({"type": "http.request"}))

    assert loops == [None]
    assert wire.status == 500


def _failing(*_: Any) -> Awaitable[None]:
    raise RuntimeError("not ours to serve")


def test_admin_look_that_fails_is_the_apps(
    watch_asgi: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of our own in looking at a request leaves it to the app, and is counted."""
    monkeypatch.setattr("leakmw.admin.service.Service.admits", _failing)
    failed: list[str] = []
    face = watch_asgi(_answering(), token=TOKEN)
    monkeypatch.setattr(face._admin, "_failed", lambda where, error: failed.append(where))
    wire = _call(face, _asking())

    assert wire.status == 200
    assert failed == ["admin"]
    assert _visits(face.monitor) == {"GET /__leaks__/api/gc": 1}
