"""A shop with a secret in every place where data can be, which keeps more with each visit."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import sys
import threading
from collections import namedtuple
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import structlog

from leakmw.admin import collector, routes
from leakmw.wsgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SECRET = sys.argv[1]  # it stands in nobody's code
TOKEN = "a-token-of-some-length"


class Shop:
    """Has what outlives a request."""

    __doc__ = SECRET

    def __repr__(self) -> str:
        return SECRET


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def made(name: str, base: type = Shop, **body: Any) -> Any:
    """Make a class at run time, with the secret wherever it takes one."""
    return type(f"{name}_{SECRET}", (base,), {**body, "__doc__": SECRET, f"at_{SECRET}": SECRET})


def module(name: str) -> ModuleType:
    """Make a module at run time, as plugins of tenants may be."""
    new = sys.modules[name] = ModuleType(name, SECRET)
    return new


STATE = Shop()
TENANT = module(f"tenant_{SECRET}")
NESTED = module(f"tenants.{SECRET}.views")
PLUGIN: dict[str, Any] = {"__name__": f"plugin_{SECRET}", "list": list, "made": made}
exec(  # noqa: S102  # as template engines do
    compile(
        f"kept = []\n"
        f"class Page_{SECRET}:\n"
        f"    rows_{SECRET} = kept\n"
        f"def page_{SECRET}(number):\n"
        f"    row_{SECRET} = ['{SECRET}', number] * 9\n"
        f"    yield row_{SECRET}\n",
        f"<page {SECRET}>",
        "exec",
    ),
    PLUGIN,
)
KEPT: dict[str, Any] = {}
PAGES: list[Any] = []
ROWS: list[Any] = []
CLASSES: list[type] = []
ERRORS: list[Exception] = []
THREADS: list[threading.Thread] = []
TASKS: set[asyncio.Task[None]] = set()
BOUND: ContextVar[list[Any]] = ContextVar(f"bound_{SECRET}")
BOUND.set([])
LOOP = asyncio.new_event_loop()
OVER = threading.Event()

made_holder = made("Holder")()
setattr(STATE, f"basket_{SECRET}", [])
setattr(STATE, f"__{SECRET}__", [])
setattr(TENANT, f"kept_{SECRET}", [])
setattr(NESTED, f"kept_{SECRET}", [])
setattr(made_holder, f"kept_{SECRET}", [])
globals()[f"GLOBAL_{SECRET}"] = []
globals()[f"Public_{SECRET}"] = public = made("Public")
public.__qualname__, public.__module__ = f"Public_{SECRET}", f"tenant_{SECRET}"
public.instances = []
NAMEDTUPLE: Any = namedtuple  # noqa: PYI024  # its names are data
Row = NAMEDTUPLE("Row", [f"name_{SECRET}", "number"])
LOGGER = logging.getLogger(f"of.{SECRET}")


async def wait() -> None:
    """Wait in a task."""
    await asyncio.Event().wait()


def _closure() -> Callable[[int], None]:
    kept: list[Any] = []

    def view(number: int) -> None:
        kept.append([SECRET, number] * 9)

    view.__name__ = view.__qualname__ = f"view_{SECRET}"
    view.__doc__ = SECRET
    return view


VIEW = _closure()


def keep(number: int) -> None:
    """Keep one more of everything."""
    key = f"{SECRET} {number}"
    KEPT[key] = {key: [key] * 9}
    KEPT[f"{key} again"] = key  # all else grows by one: a look at the heap lists what grows most
    getattr(STATE, f"basket_{SECRET}").append([key] * 20)
    getattr(STATE, f"__{SECRET}__").append([key] * 20)
    getattr(TENANT, f"kept_{SECRET}").append([key] * 20)
    getattr(NESTED, f"kept_{SECRET}").append([key] * 20)
    getattr(made_holder, f"kept_{SECRET}").append([key] * 20)
    globals()[f"GLOBAL_{SECRET}"].append([key] * 20)
    public.instances.append([key] * 20)
    LOGGER.__dict__.setdefault(f"kept_{SECRET}", []).append([key] * 20)
    BOUND.get().append([key] * 20)
    CLASSES.append(made(f"Made{number}"))
    ROWS.append(Row([key] * 20, number))
    PAGES.append(PLUGIN[f"page_{SECRET}"](number))
    next(PAGES[-1])
    PLUGIN["kept"].append(made("Order")())
    VIEW(number)
    TASKS.add(LOOP.create_task(wait(), name=f"task {key}"))
    try:
        raise made("Error", ValueError, __module__=SECRET)(key) from ValueError(key)
    except ValueError as error:
        ERRORS.append(error)
    cycle = made("Garbage")()
    cycle.__dict__.update({"itself": cycle, key: Cycle()})
    del cycle  # this frame is kept
    gc.garbage.append(made("Uncollectable")())
    if number % 10 == 0:
        thread = threading.Thread(target=OVER.wait, name=f"thread {key}", daemon=True)
        thread.start()
        THREADS.append(thread)


NUMBERS = iter(range(1_000_000))


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer, and say the secret to whoever asks."""
    if environ["PATH_INFO"] == "/orders":
        keep(next(NUMBERS))
    start_response("200 OK", [("X-Secret", SECRET)])
    return [SECRET.encode()]


def named(environ: Any) -> str | None:
    """Name no visit, but fail at some with an error of the app's own making."""
    if "fails" in environ["QUERY_STRING"]:
        raise made("Failure", LookupError, __module__=SECRET)(SECRET)
    return None


def asked(face: Any, method: str, path: str, accept: str = "*/*", query: str = "") -> str:
    """Return head and body of an answer."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query or f"q={SECRET}",
        "HTTP_ACCEPT": accept,
        "HTTP_COOKIE": f"session={SECRET}",
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}" if path.startswith("/__leaks__") else SECRET,
    }
    setup_testing_defaults(environ)
    head: list[Any] = []
    body = face(environ, lambda *given: head.append(given))
    answer = b"".join(body)
    getattr(body, "close", bool)()
    if answer.startswith(b"\x1f\x8b"):  # a profile
        answer = gzip.decompress(answer)
    return f"{head} {answer.decode(errors='replace')}"


def _events(said: list[str]) -> Iterator[None]:
    """Have what is said kept, first through structlog, then through logging."""

    def keep_event(_logger: object, level: str, event: Any) -> Any:
        said.append(json.dumps({**event, "level": level}, default=str))
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"{record.getMessage()} {record.__dict__}")

    structlog.configure(processors=[keep_event])
    yield
    structlog.reset_defaults()
    logging.getLogger("leakmw").addHandler(Handler())
    logging.getLogger("leakmw").setLevel(logging.DEBUG)
    yield


PAGES_AND_READINGS = (
    *(("GET", "/", accept) for accept in ("text/html", "text/plain", "text/markdown")),
    *(("GET", path, "*/*") for path in ("/api/report", "/api/snapshots", "/api/gc", "/metrics")),
    *(("GET", path, "*/*") for path in ("/api/workers", "/debug/pprof/heap", "/api/openapi.json")),
    *(("GET", f"/api/profile?format={one}", "*/*") for one in ("speedscope", "collapsed")),
    ("GET", "/debug/pprof/allocs?debug=1", "*/*"),
    *(("GET", path, "*/*") for path in ("/api/profile", "/debug/pprof/allocs", "/debug/pprof/")),
    *(("POST", path, "*/*") for path in ("/api/heap", "/api/gc/inspect", "/api/gc/collect")),
)


def main(engine: str, folder: str) -> dict[str, str]:
    """Serve, report and ask for everything; return all that was said, by where."""
    settings: dict[str, Any] = {"token": TOKEN, "inspect": True, "engine": engine, "top": 50}
    settings["store"] = str(store := Path(folder) / "history.sqlite3")
    if engine == "sampling":
        settings["sample_bytes"] = 32
    gc.disable()  # so that garbage stays
    for module in (collector, routes):  # a busy machine is no failure
        vars(module)["LOOK_TIMEOUT"] = 600.0
    face: Any = LeakMiddleware(app, every=10**6, frames=6, endpoint=named, **settings)
    said: list[str] = []
    for _ in _events(said):
        asked(face, "GET", "/orders", query="fails=1")
        for window in range(7):
            for _ in range(12 + window % 3):
                asked(face, "GET", "/orders")
            for _ in range(5 + 7 * (window % 2)):
                asked(face, "GET", "/quiet")
            face.monitor.take_snapshot(600)
    # finds the holders that the next report names
    first = asked(face, "POST", "/__leaks__/api/heap")
    face.monitor.take_snapshot(600)
    kept = face.monitor.snapshots()
    ends = f"from={kept[0].id}&to={kept[-1].id}"
    answers = {"log": "\n".join(said), "heap": first}
    for path in ("/diff", "/api/diff"):
        answers[path] = asked(face, "GET", f"/__leaks__{path}", query=ends)
    for query in ("format=collapsed", "format=pprof&seconds=1", "seconds=1"):
        answers[f"profile {query}"] = asked(face, "GET", "/__leaks__/api/profile", query=query)
    answers["listing"] = asked(face, "GET", "/__leaks__/debug/pprof/heap", query="debug=1")
    for method, path, accept in PAGES_AND_READINGS:
        bare, _, query = path.partition("?")
        answer = asked(face, method, f"/__leaks__{bare}", accept, query)
        answers[f"{method} {path} {accept}"] = answer
    face.monitor.close()
    history = store.read_bytes().decode(errors="replace")
    # places are kept as they are and described when they are shown, those of generated code too
    answers["store"] = history.replace(f"<page {SECRET}>", "").replace(f"page_{SECRET}", "")
    return answers


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[2:])), flush=True)
    OVER.set()
