"""Many workers, one truth: whichever worker is asked, and whichever has ended."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.test_servers import NO_TLS, POLL_SECONDS, TOKEN, Command, serving

from leakmw.tracers import sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.test_servers import Server

pytestmark = pytest.mark.skipif(bool(sampling.unavailable()), reason="the extension is not built")

EVERY = 100
WORKERS = 4
MOST_ROUNDS = 60
"""How often something that takes its time is looked for."""

ROUND = 200
"""Requests of a round: half of them to the endpoint that leaks."""

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--workers", str(WORKERS))
UVICORN = ("uvicorn", "--port", "0", "--no-access-log", "--workers", str(WORKERS))

FLEETS = {
    "sync": Command(GUNICORN, "wsgi_shop"),
    "gthread": Command((*GUNICORN, "--threads", "2"), "wsgi_shop"),
    "preload": Command((*GUNICORN, "--preload"), "wsgi_shop"),
    "uvicorn": Command(UVICORN, "asgi_shop"),
}
RECYCLED = Command(
    (*GUNICORN, "--max-requests", "150", "--max-requests-jitter", "50"), "wsgi_shop"
)
ONE = Command(("gunicorn", "--bind", "127.0.0.1:0", "--workers", "1"), "wsgi_shop")


@contextmanager
def fleet(
    command: Command, folder: Path, *, harmed: bool = False, **variables: str
) -> Iterator[Server]:
    """Run workers that share a store in *folder*."""
    settings = {
        "LEAKMW_ENGINE": "sampling",
        "LEAKMW_SAMPLE_BYTES": "2048",
        "LEAKMW_EVERY": str(EVERY),
        "LEAKMW_STORE": str(folder / "store.db"),
        "LEAKMW_VERSION": "1",
        "SHOP_LOG_LEVEL": "INFO",
        **variables,
    }
    log = folder / f"{len(list(folder.iterdir()))}.log"
    with serving(command, log, harmed=harmed, **settings) as server:
        yield server


def visit(server: Server, *, leak: bool = True, strict: bool = True) -> None:
    """Make a round of requests, each by a connection of its own so that all workers get some."""

    def one(number: int) -> int:
        with server.client() as client:
            if number % 2 and leak:
                return client.post(f"/carts/{number}").status_code
            return client.get("/").status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one if strict else _forgiving(one), range(ROUND)))
    assert set(statuses) <= ({200} if strict else {200, None})


def _forgiving(one: Callable[[int], int]) -> Callable[[int], int | None]:
    def asked(number: int) -> int | None:
        try:
            return one(number)
        except httpx.TransportError:  # the worker was killed with the request
            return None

    return asked


def answered(server: Server, path: str, method: str = "GET") -> Any:
    """Ask whichever worker comes first."""
    with httpx.Client(base_url="http://{}:{}".format(*server.address), verify=NO_TLS) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        response = client.request(method, f"/__leaks__/api/{path}", headers=headers, timeout=60)
    assert response.status_code < 400, response.text
    return response.json()


def hear() -> None:
    """Leave the workers the time to hear of each other, which they do about once in a second."""
    time.sleep(0.5)


def until(seen: Callable[[], Any], meanwhile: Callable[[], object] = hear) -> Any:
    """Return what is seen at last."""
    for _ in range(MOST_ROUNDS):
        found = seen()
        if found:
            return found
        meanwhile()
        time.sleep(POLL_SECONDS)
    raise AssertionError(seen())


def confirmed(server: Server) -> list[str]:
    """Return the lines of the log that call a leak one."""
    return re.findall(r"leakmw\.leak_confirmed .*", server.log.read_text())


def visits(line: str) -> int:
    """Return how many visits of its endpoint a line speaks of."""
    found = re.search(r"growth_visits=(\d+)", line)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("kind", FLEETS)
def test_any_worker_speaks_for_all(kind: str, tmp_path: Path) -> None:
    """One event in all for one leak; every worker sees every other, and all that they know."""
    with fleet(FLEETS[kind], tmp_path) as server:
        until(lambda: confirmed(server), lambda: visit(server))
        for _ in range(3 * WORKERS):
            known = until(
                lambda: [w for w in answered(server, "workers")["workers"] if w["alive"]]
            )
            assert len(known) == WORKERS
            assert {one["version"] for one in known} == {"1"}

        def called() -> list[Any]:
            found = answered(server, "report")["findings"]
            return [one for one in found if one["verdict"] == "leak"]

        until(lambda: all(called() for _ in range(3 * WORKERS)))
        (leak,) = until(called)  # whoever is asked now may not have been asked before
        assert leak["endpoint"] == server.command.leak
        report = answered(server, "report")
        assert report["workers"] == WORKERS
        if kind == "preload":
            assert report["memory"]["pss_bytes"] < report["memory"]["rss_bytes"]
        visit(server)
        visit(server)
        assert len(confirmed(server)) == 1


def test_more_workers_call_a_leak_with_fewer_requests_each(tmp_path: Path) -> None:
    """Their windows add up."""
    took = {}
    for command, workers in ((ONE, 1), (FLEETS["sync"], WORKERS)):
        folder = tmp_path / str(workers)
        folder.mkdir()
        with fleet(command, folder) as server:
            (line, *_) = until(lambda: confirmed(server), lambda: visit(server))
            took[workers] = visits(line) / workers
    assert took[WORKERS] < took[1] / 2


def test_the_history_survives_the_workers(tmp_path: Path) -> None:
    """However often they are recycled: one leak is called once."""
    with fleet(RECYCLED, tmp_path) as server:
        until(lambda: confirmed(server), lambda: visit(server))
        for _ in range(6):
            visit(server)
        every = answered(server, "workers")["workers"]
        assert len(every) > 2 * WORKERS
        assert sum(one["alive"] for one in every) <= WORKERS + 1
        assert len(confirmed(server)) == 1
        leaks = [one for one in answered(server, "report")["findings"] if one["verdict"] == "leak"]
        assert [one["endpoint"] for one in leaks] == [server.command.leak]


@pytest.mark.parametrize("kind", ["sync", "gthread", "preload"])
def test_the_last_visits_of_a_worker_are_told(kind: str, tmp_path: Path) -> None:
    """A worker that is ended in order tells them, however far its next snapshot is."""
    with fleet(FLEETS[kind], tmp_path, LEAKMW_EVERY="100000") as server:
        visit(server)
        visit(server)
    assert visits_told(tmp_path) >= 2 * ROUND


def test_a_new_version_that_is_clean_resolves_it(tmp_path: Path) -> None:
    """Once, after as many requests as it had taken to confirm it."""
    with fleet(FLEETS["gthread"], tmp_path) as server:
        until(lambda: confirmed(server), lambda: visit(server))
    mended = {"LEAKMW_VERSION": "2", "SHOP_MENDED": "1", "SHOP_LOG_LEVEL": "INFO"}
    with fleet(FLEETS["gthread"], tmp_path, harmed=False, **mended) as server:
        resolved = until(
            lambda: re.findall(r"leakmw\.leak_resolved .*", server.log.read_text()),
            lambda: visit(server),
        )
        visit(server)
        assert len(resolved) == 1
        assert "version=2" in resolved[0]
        assert confirmed(server) == []
        until(lambda: answered(server, "report")["findings"] == [] or None)


def test_a_healthy_app_is_said_to_be(tmp_path: Path) -> None:
    """By all workers together, too."""
    with fleet(FLEETS["gthread"], tmp_path) as server:
        for _ in range(15):
            visit(server, leak=False)
        assert "leakmw.leak_" not in server.log.read_text()
        assert {one["verdict"] for one in answered(server, "report")["findings"]} <= {"settled"}


def test_a_worker_is_asked_by_name(tmp_path: Path) -> None:
    """Whichever worker gets the request; also one that has never been visited."""
    with fleet(FLEETS["gthread"], tmp_path) as server:
        visit(server)
        known = until(
            lambda: (
                alive
                if len(alive := [w for w in answered(server, "workers")["workers"] if w["alive"]])
                == WORKERS
                else None
            ),
            lambda: visit(server),
        )
        for one in known:
            name = f"{one['worker']['host']}:{one['worker']['pid']}"
            taken = answered(server, f"snapshots?worker={name}", "POST")
            listed = answered(server, f"snapshots?worker={one['worker']['pid']}")["snapshots"]
            assert taken["id"] in {snapshot["id"] for snapshot in listed}
            report = answered(server, f"report?worker={name}")
            assert (report["worker"]["pid"], report["workers"]) == (one["worker"]["pid"], 1)
        every = answered(server, "gc?worker=all")["workers"]
        assert {one["worker"]["pid"] for one in every} == {one["worker"]["pid"] for one in known}
        assert {one["status"] for one in every} == {200}


KILLS = 20


def test_workers_are_killed_at_any_moment(tmp_path: Path) -> None:
    """No visit that was told of is lost, and the store stays whole."""
    chance = random.Random(7)
    with fleet(FLEETS["gthread"], tmp_path) as server:
        parent = psutil.Process(master(server))
        told = 0
        for _ in range(KILLS):
            with ThreadPoolExecutor(1) as pool:
                traffic = pool.submit(visit, server, strict=False)
                time.sleep(chance.uniform(0, 0.2))
                workers = parent.children()
                if workers:
                    chance.choice(workers).kill()
                traffic.result()
            before, told = told, visits_told(tmp_path)
            assert told >= before
        until(lambda: confirmed(server), lambda: visit(server, strict=False))
        assert len(confirmed(server)) == 1
    store = sqlite3.connect(tmp_path / "store.db")
    assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def said_of_the_store(server: Server) -> list[tuple[str, str]]:
    """Return what was said of errors of the store: the pid of the worker, and the line."""
    said = re.findall(r"leakmw\.self_error .*where=store.*", server.log.read_text())
    pids = (re.search(r"worker_pid=(\d+)", line) for line in said)
    return [(found[1], line) for found, line in zip(pids, said, strict=True) if found]


def master(server: Server) -> int:
    """Return the pid of the process that starts the workers."""
    found = re.search(r"\[(\d+)\] \[INFO\] Listening at", server.log.read_text())
    assert found is not None
    return int(found[1])


def visits_told(folder: Path) -> int:
    """Return how many visits the store in *folder* knows of."""
    store = sqlite3.connect(folder / "store.db", timeout=30)
    try:
        (visits,) = store.execute("SELECT sum(visits) FROM visits WHERE release = ''").fetchone()
    except sqlite3.DatabaseError:  # nobody has begun a new one yet
        return 0
    finally:
        store.close()
    return visits or 0


HARMS: dict[str, Callable[[Path], object]] = {
    "removed": lambda store: store.unlink(),
    "overwritten": lambda store: store.write_bytes(b"nonsense" * 9000),
    "emptied": lambda store: os.truncate(store, 0),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_store_that_comes_to_harm_reaches_no_request(harm: str, tmp_path: Path) -> None:
    """Every answer is the app's own, the reason is said at most once by each worker."""
    with fleet(FLEETS["gthread"], tmp_path, harmed=True) as server:
        visit(server)
        HARMS[harm](tmp_path / "store.db")
        for _ in range(10):
            visit(server)
        pids = [pid for pid, _ in said_of_the_store(server)]
        assert len(pids) <= 2 * len(set(pids))
        until(lambda: visits_told(tmp_path), lambda: visit(server))


def test_a_locked_store_holds_no_request_up(tmp_path: Path) -> None:
    """What could not be told then is told later."""
    with fleet(FLEETS["gthread"], tmp_path, harmed=True) as server:
        visit(server)
        until(lambda: visits_told(tmp_path), lambda: visit(server))
        store = sqlite3.connect(tmp_path / "store.db", isolation_level=None, timeout=30)
        store.execute("BEGIN IMMEDIATE")
        visit(server)
        visit(server)
        store.execute("ROLLBACK")
        store.close()
        told = visits_told(tmp_path)
        until(lambda: visits_told(tmp_path) > told, lambda: visit(server))
