"""The Flask face: every visit under the name of its rule, and an extension like any other."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import flask
import pytest
from flask import Blueprint, Flask, Response
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from leakmw.flask import LeakMW
from leakmw.records import Span
from leakmw.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.monitor import Monitor
    from leakmw.wsgi import LeakMiddleware

    Watch = Callable[..., LeakMiddleware]


class Article(MethodView):
    """A class-based view."""

    def get(self, slug: str) -> str:
        """Return the article's slug."""
        return slug


def shop(name: str = "shop") -> Flask:
    """Return an app with one of everything that Flask routes by."""
    app = Flask(name)
    api = Blueprint("api", name, url_prefix="/api")
    version = Blueprint("version", name, url_prefix="/v<int:version>")
    version.add_url_rule("/items/<uuid:item>", "item", lambda version, item: "item")
    api.add_url_rule("/", "index", lambda: "api")
    api.add_url_rule("/u/<int:uid>", "user", lambda uid: "user")
    api.register_blueprint(version)
    app.register_blueprint(api)
    app.register_blueprint(api, url_prefix="/again", name="again")
    app.add_url_rule("/", "root", lambda: "root")
    app.add_url_rule("/users/<name>", "user", lambda name: name, methods=["GET", "DELETE"])
    app.add_url_rule("/files/<path:rest>", "files", lambda rest: rest)
    app.add_url_rule("/slash/", "slash", lambda: "slash")
    app.add_url_rule("/articles/<slug>", view_func=Article.as_view("article"))
    app.add_url_rule("/gone", "gone", lambda: flask.abort(404))
    app.add_url_rule("/denied", "denied", lambda: flask.abort(403))
    app.add_url_rule("/away", "away", lambda: flask.redirect("/"))
    app.add_url_rule("/failing", "failing", lambda: str(1 // 0))
    app.add_url_rule("/stopped", "stopped", stop)
    return app


def stop() -> str:
    """Leave in a way that no error handler of Flask's sees."""
    raise SystemExit


@pytest.fixture(name="watch")
def _watch() -> Iterator[Callable[..., Monitor]]:
    """Watch Flask apps until the end of the test."""
    monitors: list[Monitor] = []

    def watch(app: Flask, **settings: Any) -> Monitor:
        LeakMW(app, **settings)
        monitors.append(app.extensions["leakmw"])
        return monitors[-1]

    yield watch
    for monitor in monitors:
        monitor.close()


def visits(monitor: Monitor) -> dict[str, int]:
    """Return the visits by name."""
    return {name: known.visits for name, known in monitor.endpoints().items()}


NAMES = [
    ("GET", "/", "GET /"),
    ("HEAD", "/", "HEAD /"),
    ("OPTIONS", "/", "OPTIONS /"),
    ("GET", "/?q=1", "GET /"),
    ("GET", "/users/ann", "GET /users/<name>"),
    ("DELETE", "/users/ann", "DELETE /users/<name>"),
    ("GET", "/files/a/b", "GET /files/<path:rest>"),
    ("GET", "/slash/", "GET /slash/"),
    ("GET", "/articles/x", "GET /articles/<slug>"),
    ("GET", "/api/", "GET /api/"),
    ("GET", "/api/u/7", "GET /api/u/<int:uid>"),
    ("GET", "/again/u/7", "GET /again/u/<int:uid>"),
    (
        "GET",
        "/api/v2/items/12345678-1234-5678-1234-567812345678",
        "GET /api/v<int:version>/items/<uuid:item>",
    ),
    ("GET", "/static/none.css", "GET /static/<path:filename>"),
    ("GET", "/gone", "GET /gone"),
    ("GET", "/denied", "GET /denied"),
    ("GET", "/away", "GET /away"),
    ("GET", "/failing", "GET /failing"),
    ("GET", "/slash", "(unmatched)"),
    ("GET", "/api/u/ann", "(unmatched)"),
    ("GET", "/wp-login.php", "(unmatched)"),
    ("POST", "/users/ann", "(unmatched)"),
    ("BREW", "/", "(unmatched)"),
]


@pytest.mark.parametrize(("method", "path", "name"), NAMES)
def test_a_visit_is_named_by_its_rule(
    watch: Callable[..., Monitor], method: str, path: str, name: str
) -> None:
    """Rules with the prefixes of their blueprints; what no rule claims has one name in all."""
    app = shop()
    monitor = watch(app)

    for _ in range(2):  # the first time it is looked for, from then on it is known
        app.test_client().open(path, method=method, buffered=True)

    assert visits(monitor) == {name: 2}


@pytest.mark.parametrize(("method", "path", "name"), NAMES)
def test_the_plain_wsgi_face_finds_the_same_names(
    watch_wsgi: Watch, method: str, path: str, name: str
) -> None:
    """Who wraps a Flask app by hand loses nothing."""
    app = shop()
    app.wsgi_app = face = watch_wsgi(app.wsgi_app)  # type: ignore[method-assign]  # as one does

    for _ in range(2):
        app.test_client().open(path, method=method, buffered=True)

    assert visits(face.monitor) == {name: 2}


def test_mounted_apps_are_named_with_their_mount(watch_wsgi: Watch) -> None:
    """What a dispatcher takes off the path is put back, at each level, and only that."""
    inner: Any = DispatcherMiddleware(shop("inner"), {"/deep": shop("deepest")})
    app: Any = DispatcherMiddleware(shop(), {"/mnt": inner})
    face = watch_wsgi(app)
    client = Flask("client")
    client.wsgi_app = face  # type: ignore[method-assign]  # for its test client
    paths = ["/users/a", "/mnt/users/a", "/mnt/deep/users/a", "/mnt/", "/mnt/deep/none"]

    for path in paths * 2:
        client.test_client().get(path, environ_overrides={"SCRIPT_NAME": "/given"}, buffered=True)

    assert visits(face.monitor) == {
        "GET /users/<name>": 2,
        "GET /mnt/users/<name>": 2,
        "GET /mnt/deep/users/<name>": 2,
        "GET /mnt/": 2,
        "(unmatched)": 2,
    }


@pytest.mark.parametrize("outside", [True, False])
def test_a_prefix_out_of_a_header_makes_no_names(watch_wsgi: Watch, outside: object) -> None:
    """X-Forwarded-Prefix is anyone's to choose, on whichever side of the proxy fix we stand."""
    app = shop()
    inner: Any = app.wsgi_app if outside else ProxyFix(app.wsgi_app, x_prefix=1)
    face = watch_wsgi(inner)
    outermost: Any = ProxyFix(face, x_prefix=1) if outside else face
    app.wsgi_app = outermost  # type: ignore[method-assign]  # as Flask's manual says to

    for number in range(3):
        app.test_client().get("/users/ann", headers={"X-Forwarded-Prefix": f"/{number}"})

    assert visits(face.monitor) == {"GET /users/<name>": 3}


@pytest.mark.parametrize("propagate", [True, False])
def test_a_failing_view_is_named(watch: Callable[..., Monitor], propagate: object) -> None:
    """Also where the exception goes on to the server, and no response is ever started."""
    app = shop()
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    monitor = watch(app)

    try:
        status = app.test_client().get("/failing", buffered=True).status_code
    except ZeroDivisionError:
        status = None

    assert status == (None if propagate else 500)
    assert visits(monitor) == {"GET /failing": 1}


def test_what_no_handler_sees_is_counted(watch: Callable[..., Monitor]) -> None:
    """A SystemExit goes by all of Flask's hooks: the visit has no name, but it has an end."""
    app = shop()
    monitor = watch(app)

    with pytest.raises(SystemExit):
        app.test_client().get("/stopped")

    assert visits(monitor) == {"(unmatched)": 1}


def test_a_middleware_that_answers_is_named_by_path(watch: Callable[..., Monitor]) -> None:
    """Where Flask was not asked, the path says what was answered."""
    app = shop()

    def healthy(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"healthy"]

    app.wsgi_app = healthy  # type: ignore[method-assign]  # as one does
    monitor = watch(app)

    app.test_client().get("/health")

    assert visits(monitor) == {"GET /health": 1}


@pytest.mark.parametrize(
    ("path", "code"), [("/stopped", stop.__code__), ("/articles/x", Article.get.__code__)]
)
def test_an_endpoint_knows_where_its_view_stands(
    watch: Callable[..., Monitor], path: str, code: Any
) -> None:
    """Tracebacks are told apart by the lines of the view, a function or a class."""
    app = shop()
    monitor = watch(app)

    app.test_client().open(path, method="OPTIONS")

    (known,) = monitor.endpoints().values()
    last = max(line for _, _, line in code.co_lines() if line)
    assert Span(code.co_filename, code.co_firstlineno, last) in known.views


def test_a_streamed_response_keeps_its_context(watch: Callable[..., Monitor]) -> None:
    """``stream_with_context`` works, and the visit lasts as long as the stream."""
    app = shop()
    counted = []

    @app.get("/lines")
    def lines() -> Response:
        def generate() -> Iterator[str]:
            counted.append(visits(monitor))
            yield flask.request.path

        return Response(flask.stream_with_context(generate()))

    monitor = watch(app)
    with app.test_client().get("/lines") as response:
        text = response.get_data(as_text=True)

    assert text == "/lines"
    assert counted == [{"GET /lines": 0}]
    assert visits(monitor) == {"GET /lines": 1}


def test_configuration_comes_from_the_app() -> None:
    """``LEAKMW_*`` in the configuration, and what is given in code wins over it."""
    app = shop()
    app.config.update(LEAKMW_TOKEN="a-token-of-the-config", LEAKMW_PATH="/__mem__")
    LeakMW(app, path="/__code__")
    client = app.test_client()
    bearer = {"Authorization": "Bearer a-token-of-the-config"}

    answers = [
        client.get(f"{path}/api/gc", headers=bearer).status_code
        for path in ("/__leaks__", "/__mem__", "/__code__")
    ]
    app.extensions["leakmw"].close()

    assert answers == [404, 404, 200]


@pytest.mark.parametrize(
    ("key", "value"), [("LEAKMW_EVRY", 10), ("LEAKMW_EVERY", 0), ("LEAKMW_ENABLED", "yes")]
)
def test_a_wrong_key_is_an_error_at_start(key: str, value: object) -> None:
    """It is not found out by the first request."""
    app = shop()
    app.config[key] = value

    with pytest.raises(SettingsError, match=key.removeprefix("LEAKMW_").lower()):
        LeakMW(app)


def test_one_extension_serves_several_apps(watch: Callable[..., Monitor]) -> None:
    """As Flask's rules for extensions ask, it keeps no app, and each app has its own monitor."""
    leaks = LeakMW(every=10)
    first, second = shop("first"), shop("second")
    for app in (first, second):
        leaks.init_app(app)

    first.test_client().get("/")
    monitors = [app.extensions["leakmw"] for app in (first, second)]
    for monitor in monitors:
        monitor.close()

    assert [visits(monitor) for monitor in monitors] == [{"GET /": 1}, {}]


def test_disabled_leaves_the_app_as_it_was() -> None:
    """Nothing is wrapped and nothing is registered."""
    app = shop()
    before = app.wsgi_app

    LeakMW(app, enabled=False)

    assert app.wsgi_app == before
    assert "leakmw" not in app.extensions


def test_an_app_that_is_thrown_away_is_free(watch: Callable[..., Monitor]) -> None:
    """Nothing of leakmw's, and no signal, holds on to it."""

    def build() -> weakref.ref[Flask]:
        app = shop()
        LeakMW(app)
        app.test_client().get("/")
        return weakref.ref(app)

    alive = build()
    gc.collect()

    assert alive() is None
