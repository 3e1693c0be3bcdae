"""Processes of every kind: each script serves visits, takes snapshots, and says what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from leakmw import forked

if TYPE_CHECKING:
    from pathlib import Path

HOW = "fork" if forked.AVAILABLE else "in-process"

WSGI = """
import json, sys, threading
from leakmw.wsgi import LeakMiddleware

KEPT = []

def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        KEPT.append(bytearray(2000))  # leak
    start_response("200 OK", [])
    return [b"answer"]

face = LeakMiddleware(app, every=10**9, frames=8)
monitor = face.monitor

def ask(path):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": ""}
    body = face(environ, lambda *given: None)
    try:
        assert b"".join(body) == b"answer"
    finally:
        getattr(body, "close", lambda: None)()

def rounds(times=7, visits=50):
    for round in range(times):
        for number in range(visits):
            # a mix that varies tells the endpoints of an app without views apart
            ask("/leak" if number < visits * (round % 4 + 1) / 5 else "/quiet")
        snapshot = monitor.take_snapshot(120)
    return snapshot

def say(**more):
    snapshot, report = monitor.snapshots()[-1], monitor.report()
    suspects = [one.growth for one in report.findings if one.verdict in {"leak", "suspect"}]
    print(json.dumps(dict(
        how=snapshot.trace.how,
        visits=snapshot.visits,
        suspects=sorted({one.endpoint for one in suspects}),
        **more,
    )))
"""

SCRIPTS = {
    "threads": """
threads = [threading.Thread(target=rounds, args=(7, 10)) for _ in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
rounds()
say()
""",
    "frozen": """
import gc
gc.freeze()
rounds()
say(frozen=gc.get_freeze_count() > 1000)
""",
    "collector off": """
import gc
gc.disable()
rounds()
evidence = " ".join(monitor.report().findings[0].evidence)
say(enabled=gc.isenabled(), said="garbage collector is off" in evidence)
""",
    "switch interval": """
sys.setswitchinterval(0.013)
before = sys.getswitchinterval()
rounds()
say(same=sys.getswitchinterval() == before)
""",
    "children ignored": """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
rounds()
say()
""",
    "few descriptors": """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
rounds()
say()
""",
}

WANTED: dict[str, dict[str, Any]] = {
    "threads": {"visits": 700},
    "frozen": {"frozen": True},
    "collector off": {"enabled": False, "said": True},
    "switch interval": {"same": True},
    "children ignored": {},
    "few descriptors": {},
}


def run(tmp_path: Path, script: str, *options: str) -> dict[str, Any]:
    """Run a script in a process of its own; nothing may be written to its stderr."""
    file = tmp_path / "app.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, *options, file], capture_output=True, text=True, check=False
    )
    # what the log of last resort says of suspects is no error
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("leakmw.leak_")]
    assert (done.returncode, complaints) == (0, [])
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("model", SCRIPTS)
def test_the_leak_is_found(tmp_path: Path, model: str) -> None:
    """At its endpoint and no other, and the process is left as it was."""
    said = run(tmp_path, WSGI + SCRIPTS[model], "-X", "dev", "-W", "error")
    wanted = {"how": HOW, "visits": 350, "suspects": ["GET /leak"]}
    assert said == {**wanted, **WANTED[model]}


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, logging
"""

GREENLETS = """
logging.basicConfig(stream=open("/dev/null", "w"), level=logging.INFO)
said = []
logging.getLogger("leakmw").addFilter(lambda record: said.append(record) or True)
ticks, stop = 0, False

def tick():
    global ticks
    while not stop:
        ticks += 1
        logging.getLogger("app").info("takes the lock of a handler, as leakmw's events do")
        gevent.sleep(0 if ticks % 100 else 0.001)

def serve():
    # as a server's listening socket does, this keeps the event loop from ending
    while not stop:
        gevent.sleep(0.01)

ticking, serving = gevent.spawn(tick), gevent.spawn(serve)
gevent.joinall([gevent.spawn(rounds, 7, 10) for _ in range(4)], raise_error=True)
before = ticks
rounds()
during = ticks
for number in range(60):
    monitor.failed("probe", type(f"Error{number}", (Exception,), {})())
    gevent.sleep(0)
after = ticks
for _ in range(3000):
    if said and ticks > after + 10:
        break
    gevent.sleep(0.01)
stop = True
gevent.joinall([ticking, serving], timeout=10)
native = len(sys._current_frames()) > 1
say(ticked=during - before > 100, said=bool(said), free=ticking.dead, native=native)
"""


def test_greenlets_go_on_while_a_snapshot_is_taken(tmp_path: Path) -> None:
    """The background thread is a real one, and whoever waits for it lets others run.

    It takes none of the locks that greenlets wait for: gevent may never wake them.
    """
    pytest.importorskip("gevent")
    said = run(tmp_path, GEVENT + WSGI + GREENLETS)
    assert said == {
        "how": HOW,
        "visits": 630,
        "suspects": ["GET /leak"],
        "ticked": True,
        "said": True,
        "free": True,
        "native": True,
    }


ASGI = """
import asyncio, json, logging, sys
from leakmw.asgi import LeakMiddleware

KEPT = []

async def app(scope, receive, send):
    if scope["path"] == "/leak":
        KEPT.append(bytearray(2000))  # leak
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"answer"})

face = LeakMiddleware(app, every=10**9, frames=8)
monitor = face.monitor

async def ask(path):
    sent = []
    async def send(message):
        sent.append(message)
    await face({"type": "http", "method": "GET", "path": path, "headers": []}, None, send)
    assert sent[1]["body"] == b"answer"

async def main():
    loop, ticks = asyncio.get_running_loop(), 0
    for number in range(7):
        # 32 requests overlap
        paths = ["/leak" if n % 4 <= number % 3 else "/quiet" for n in range(32)]
        await asyncio.gather(*map(ask, paths))
        taking = loop.run_in_executor(None, monitor.take_snapshot, 120)
        while not taking.done():
            ticks += 1
            await asyncio.sleep(0.001)
        snapshot = await taking
    growing = {"leak", "suspect"}
    suspects = [one.growth for one in monitor.report().findings if one.verdict in growing]
    print(json.dumps(dict(
        how=snapshot.trace.how,
        visits=snapshot.visits,
        in_flight=snapshot.in_flight,
        suspects=sorted({one.endpoint for one in suspects}),
        ticked=ticks > 7,
    )))
    monitor.close()
"""

LOOPS = {
    "asyncio": "asyncio.run(main())",
    "asyncio in debug mode": "logging.disable()\nasyncio.run(main(), debug=True)",
    "uvloop": "import uvloop\nuvloop.run(main())",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_an_event_loop_goes_on_while_a_snapshot_is_taken(tmp_path: Path, loop: str) -> None:
    """And the leak is found among requests that overlap."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    said = run(tmp_path, ASGI + LOOPS[loop])
    assert said == {
        "how": HOW,
        "visits": 224,
        "in_flight": 0,
        "suspects": ["GET /leak"],
        "ticked": True,
    }
