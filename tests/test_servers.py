"""Real servers: each is started, visited, left in the middle of an answer, and stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"
TOKEN = "0123456789abcdef-servers"
EVERY = 20
CLIENTS = 4
MAX_ROUNDS = 100
"""How often something that takes its time is looked for."""

LONG = 400
"""Chunks of 64 KiB: more than all buffers between a server and its client hold."""

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 20
"""After which a server that was asked to end is killed, and has failed."""

NO_TLS = httpx.create_ssl_context()
"""One for all clients: making it takes longer than most of their requests."""

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--workers", "2")
UVICORN = ("uvicorn", "--port", "0", "--no-access-log")


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started on one of the apps."""

    line: tuple[str, ...]
    app: str
    stop: signal.Signals = signal.SIGTERM

    @property
    def source(self) -> Path:
        """The app's file."""
        return APPS / f"{self.app}.py"

    @property
    def leak(self) -> str:
        """The endpoint that leaks, as its framework writes it."""
        template = {"wsgi_shop": "<int:number>", "asgi_shop": "{number:int}"}[self.app]
        return f"POST /carts/{template}"


SERVERS = {
    "gunicorn-sync": Command(GUNICORN, "wsgi_shop"),
    "gunicorn-gthread": Command((*GUNICORN, "--threads", "4"), "wsgi_shop"),
    "gunicorn-gevent": Command((*GUNICORN, "--worker-class", "gevent"), "wsgi_shop"),
    "gunicorn-preload": Command((*GUNICORN, "--threads", "4", "--preload"), "wsgi_shop"),
    # waitress has no handler for SIGTERM, which ends any Python at once
    "waitress": Command(
        ("waitress", "--listen", "127.0.0.1:0", "--threads", "4"), "wsgi_shop", signal.SIGINT
    ),
    "uvicorn-asyncio": Command((*UVICORN, "--loop", "asyncio"), "asgi_shop"),
    "uvicorn-uvloop": Command((*UVICORN, "--loop", "uvloop"), "asgi_shop"),
    "uvicorn-workers": Command((*UVICORN, "--workers", "2"), "asgi_shop"),
    "hypercorn": Command(("hypercorn", "--bind", "127.0.0.1:0"), "asgi_shop"),
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    command: Command
    address: tuple[str, int]
    log: Path

    def client(self) -> httpx.Client:
        """Return a client with a connection of its own: it may reach any of the workers."""
        url = "http://{}:{}".format(*self.address)
        return httpx.Client(base_url=url, timeout=60, verify=NO_TLS)

    def admin(self, method: str, path: str) -> httpx.Response:
        """Ask one of the workers what it knows."""
        assert "leakmw.self_error" not in self.log.read_text()
        with self.client() as client:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return client.request(method, f"/__leaks__/api/{path}", headers=headers)


@pytest.fixture(params=SERVERS, scope="module", name="server")
def _server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each server; one that does not end in order is an error."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serving(SERVERS[request.param], log) as server:
        yield server


def test_answers_are_the_apps_own(server: Server) -> None:
    """Every answer has the status and the body that the app gave, without the token its 404."""
    with server.client() as client:
        assert client.get("/").text == "home"
        assert client.post("/carts/7").text == "cart 7"
        assert client.get("/stream/3").content == bytes(3 << 16)
        assert client.head("/").content == b""
        assert client.get("/nothing/here").status_code == 404
        assert client.post("/").status_code == 405
        unknown, refused = client.get("/unknown"), client.get("/__leaks__/")
        assert (refused.status_code, refused.text) == (404, unknown.text)


def test_a_file_is_sent_as_the_server_likes_it(server: Server) -> None:
    """A file arrives whole, and a server that knows sendfile got its own wrapper back."""
    with server.client() as client:
        response = client.get("/file")
    assert response.content == server.command.source.read_bytes()
    if server.command.app == "wsgi_shop":
        assert response.headers["X-File-Wrapper"] == "True"


def test_the_leaking_endpoint_is_named(server: Server) -> None:
    """Under mixed, overlapping traffic one of the workers names the leak with file and line."""
    source = server.command.source
    [line] = [n for n, text in enumerate(source.read_text().split("\n"), 1) if "# leak" in text]
    for _ in range(MAX_ROUNDS):
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(visit, [server] * CLIENTS))
        suspects = suspected(server.admin("GET", "report"))
        if server.command.leak in suspects:
            break
    # only the app's own lines: what C code looks up by a fresh string, as gunicorn's Date header
    # has it do, stays in CPython's type cache, which takes thousands of requests to fill
    places = {(endpoint, site) for endpoint, sites in suspects.items() for site in sites}
    own = {place for place in places if place[1][0] == source.name}
    assert own == {(server.command.leak, (source.name, line))}


def test_clients_that_go_away_are_no_trouble(server: Server) -> None:
    """After clients that left in the middle of an answer it serves on, and no visit is open."""
    for _ in range(CLIENTS):
        leave_early(server)
    with server.client() as client:
        assert client.get("/").text == "home"
        assert client.get(f"/stream/{LONG}").content == bytes(LONG << 16)
    for _ in range(MAX_ROUNDS):
        snapshot = server.admin("POST", "snapshots")
        if snapshot.status_code == 201 and snapshot.json()["in_flight"] == 0:
            return
        assert snapshot.status_code in {201, 429, 503}  # 503: not in time, on a busy machine
        time.sleep(1)
    pytest.fail("visits of clients that left are still open")


@contextmanager
def serving(
    command: Command, log: Path, *, harmed: bool = False, **variables: str
) -> Iterator[Server]:
    """Run a server for the time of a block; after it nothing of the server may be left.

    Args:
        command: How it is started.

        log: The file that it writes to.

        harmed: Whether leakmw may say errors of its own.

        variables: Of its environment, besides those of all servers here.
    """
    environment = os.environ | {
        "LEAKMW_ENGINE": "tracemalloc",
        "LEAKMW_EVERY": str(EVERY),
        "LEAKMW_FRAMES": "8",
        "LEAKMW_TOKEN": TOKEN,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(APPS),
        **variables,
    }
    line = [sys.executable, "-m", *command.line, f"{command.app}:app"]
    with log.open("w") as said:
        process = psutil.Popen(line, cwd=APPS, env=environment, stdout=said, stderr=said)
        try:
            yield Server(command, listening(process, log), log)
            family = [process, *process.children(recursive=True)]
            process.send_signal(command.stop)
            _, left = psutil.wait_procs(family, PATIENCE_SECONDS)
        finally:
            end(process)
            sys.stdout.write(log.read_text())  # shown when a test fails
    assert not left, "the server left processes behind"
    assert not re.search(
        "Traceback" if harmed else r"leakmw\.self_error|Traceback", log.read_text()
    )


def end(process: psutil.Popen) -> None:
    """End whatever is still there of a server."""
    if process.is_running():
        for one in [*process.children(recursive=True), process]:
            one.kill()
    process.wait()


def listening(process: psutil.Popen, log: Path) -> tuple[str, int]:
    """Wait until the server has said where it listens, and does."""
    while process.poll() is None:
        if said := re.search(r"http://(127\.0\.0\.1):(\d+)", log.read_text()):
            address = said[1], int(said[2])
            with suppress(ConnectionRefusedError), socket.create_connection(address):
                return address
        time.sleep(POLL_SECONDS)
    pytest.fail("the server did not start")


def visit(server: Server) -> None:
    """Make the visits of one client: half of them leak."""
    with server.client() as client:
        for number in range(EVERY // 2):
            assert client.get("/").text == "home"
            assert client.post(f"/carts/{number}").text == f"cart {number}"


def suspected(report: httpx.Response) -> dict[str, set[tuple[str, int]]]:
    """Return the suspected lines by endpoint; none where the worker has no report yet."""
    places: dict[str, set[tuple[str, int]]] = {}
    for finding in report.json().get("findings", ()):
        if finding["verdict"] in {"leak", "suspect"}:
            site = finding["site"]["file"], finding["site"]["line"]
            places.setdefault(finding["endpoint"], set()).add(site)
    return places


def leave_early(server: Server) -> None:
    """Ask for a long answer and reset the connection after its beginning."""
    with socket.create_connection(server.address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(f"GET /stream/{LONG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
