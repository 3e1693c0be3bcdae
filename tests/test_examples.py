"""Each example shop under its real server: every mistake is named, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from leakmw.records import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXAMPLES = Path(__file__).parent.parent / "examples"
TOKEN = "0123456789abcdef-examples"
EVERY = 100
WINDOWS = 10
POLL_SECONDS = 0.05


class Mistake(NamedTuple):
    """What is true of a marked line of the shops, and what reports must say of it.

    Attributes:
        endpoint: At which it leaks.
        cause: Kind of mistake.
        holder: What keeps it, as a pattern.
        named: What the advice must name; what keeps it unless given.
    """

    endpoint: str
    cause: str
    holder: str
    named: str = ""


MISTAKES = {
    "sessions": Mistake("POST /login", "unbounded-collection", r"SESSIONS|Session\.active"),
    "garbage": Mistake("GET /compare", "reference-cycle", r"gc\.garbage", r"shelves\.py"),
    "recommender": Mistake("GET /recommendations", "long-lived-holder", r"Recommender\.visits"),
    "cursors": Mistake("GET /pages", "suspended-generator", "CURSORS"),
    "arrays": Mistake("GET /products/{number}/similar", "native-memory", "SHOWN"),
    "function-cache": Mistake(
        "GET /products/{number}/delivery", "unbounded-cache", r"lru_cache of offers\(\)"
    ),
    "method-cache": Mistake(
        "POST /cart/total", "unbounded-cache", r"lru_cache of Cart\.total\(\)"
    ),
}
"""Each marked line of the shops that leaks with ``SHOP_LEAKS=1``."""

CYCLES = "GET /categories/{name}"
"""The endpoint that leaks with ``SHOP_LEAKS=cycles``, which turns the collector off."""

GUNICORN = ("gunicorn", "--worker-class", "gthread", "--threads", "8", "--bind", "127.0.0.1:0")
UVICORN = ("uvicorn", "--port", "0", "--no-access-log")

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Shop:
    """An example under one of the servers that its README names."""

    folder: Path
    serve: tuple[str, ...]
    concurrency: int
    prepare: tuple[str, ...] = ()

    def marked(self) -> Mapping[str, set[Place]]:
        """Return the lines that say of themselves which leak they are."""
        places: defaultdict[str, set[Place]] = defaultdict(set)
        for file in self.folder.rglob("*.py"):
            for number, line in enumerate(file.read_text().splitlines(), start=1):
                if mark := re.search(r"# leak: (.+)$", line):
                    places[mark[1]].add((str(file.relative_to(self.folder)), number))
        return places


SHOPS = {
    "flask-gunicorn": Shop(EXAMPLES / "flask_app", (*GUNICORN, "flask_shop:create_app()"), 8),
    "django-gunicorn": Shop(
        EXAMPLES / "django_app",
        (*GUNICORN, "django_shop.wsgi"),
        concurrency=8,
        prepare=("manage.py", "migrate"),
    ),
    "django-uvicorn": Shop(
        EXAMPLES / "django_app",
        (*UVICORN, "django_shop.asgi:application"),
        concurrency=8,
        prepare=("manage.py", "migrate"),
    ),
    "starlette-uvicorn": Shop(
        EXAMPLES / "starlette_app", (*UVICORN, "starlette_shop.main:app"), concurrency=32
    ),
}


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Shop:
    """Each example under each of its servers."""
    return SHOPS[request.param]


def test_each_mistake_is_named_with_its_cause_and_its_holder(shop: Shop, tmp_path: Path) -> None:
    """With the mistakes on, every one of them is reported where it is made, and nothing else."""
    report, looked_at = visited(shop, tmp_path, leaks="1")
    marked = shop.marked()
    assert set(marked) == {*MISTAKES, "cycles"}
    accused = {one.endpoint for one in suspects(report)}
    assert accused == {one.endpoint for one in MISTAKES.values()}, accused
    found = suspects(looked_at)
    missed = {
        name: [one for one in found if one.endpoint == mistake.endpoint]
        for name, mistake in MISTAKES.items()
        if not any(one.place in marked[name] and one.tells(mistake) for one in found)
    }
    assert not missed


@pytest.mark.parametrize("name", ["flask-gunicorn", "starlette-uvicorn"])
def test_cycles_are_suspected_while_the_collector_is_off(name: str, tmp_path: Path) -> None:
    """Cycles that nobody collects are reported where they are made.

    The frameworks' own cycles are too, so other endpoints may be.
    """
    report, _ = visited(SHOPS[name], tmp_path, leaks="cycles")
    found = suspects(report)
    marked = SHOPS[name].marked()["cycles"]
    assert any(one.endpoint == CYCLES and one.place in marked for one in found), found


def test_no_endpoint_of_a_healthy_shop_is_suspected(shop: Shop, tmp_path: Path) -> None:
    """With the mistakes off, the same traffic leaves no endpoint to suspect."""
    report, _ = visited(shop, tmp_path, leaks="")
    assert not suspects(report)


def visited(shop: Shop, tmp_path: Path, *, leaks: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Serve the shop, send it the traffic of its README.

    Returns:
        The report after it, and what a look at the heap says then.
    """
    environment = os.environ | {
        "HOME": str(tmp_path),
        "LEAKMW_EVERY": str(EVERY),
        "LEAKMW_FRAMES": "4",
        "LEAKMW_TOKEN": TOKEN,
        "LEAKMW_TOP": "100",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
        "SHOP_LEAKS": leaks,
    }
    log = tmp_path / "server.log"
    send = runpy.run_path(str(EXAMPLES / "traffic.py"))["send"]
    if shop.prepare:
        command = [sys.executable, *shop.prepare]
        subprocess.run(command, cwd=shop.folder, env=environment, check=True)
    with served(shop, environment, log) as url:
        for window in range(1, WINDOWS + 1):
            asyncio.run(send(url, requests=EVERY, concurrency=shop.concurrency, seed=window))
            report = report_on(url, log, visits=window * EVERY)
        return report, look_at_heap(url) if leaks == "1" else {}


@contextmanager
def served(shop: Shop, environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run the shop's server for the time of a block, which gets its URL."""
    command = [sys.executable, "-m", *shop.serve]
    with log.open("w") as said:
        server = subprocess.Popen(
            command, cwd=shop.folder, env=environment, stdout=said, stderr=said
        )
        try:
            yield address(server, log)
        finally:
            server.terminate()
            server.wait()
            sys.stdout.write(log.read_text())  # shown when a test fails


def address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says where it listens."""
    while server.poll() is None:
        if said := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return said[0]
        time.sleep(POLL_SECONDS)
    pytest.fail("the server did not start")


def report_on(url: str, log: Path, *, visits: int) -> dict[str, Any]:
    """Wait for the report on the snapshot after so many visits: a busy machine takes its time."""
    with httpx.Client(base_url=f"{url}/__leaks__/api/", timeout=60) as admin:
        admin.headers["Authorization"] = f"Bearer {TOKEN}"
        while True:
            assert "leakmw.self_error" not in log.read_text()
            taken = admin.get("snapshots").raise_for_status().json()["snapshots"]
            report = admin.get("report")
            if taken and taken[-1]["visits"] >= visits and report.is_success:
                document: dict[str, Any] = report.json()
                if document["id"] == taken[-1]["id"]:
                    return document
            time.sleep(POLL_SECONDS)


def look_at_heap(url: str) -> dict[str, Any]:
    """Ask until there is an answer: a busy machine takes its time."""
    with httpx.Client(timeout=60) as admin:
        while True:
            answer = admin.post(
                f"{url}/__leaks__/api/heap", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                looked_at: dict[str, Any] = answer.raise_for_status().json()
                return looked_at


class Suspect(NamedTuple):
    """A finding that is not settled.

    Attributes:
        endpoint: However the framework writes its parameters.
        place: File and line; ``None`` of what grows outside of Python.
        cause: Kind of mistake; empty where it is not known.
        holder: What keeps it; empty where it is not known.
        advice: What to do; empty where there is nothing to say.
    """

    endpoint: str
    place: Place | None
    cause: str
    holder: str
    advice: str

    def tells(self, mistake: Mistake) -> bool:
        """Say whether it names the cause and the holder, and says what to do with it."""
        return (
            (self.endpoint, self.cause) == (mistake.endpoint, mistake.cause)
            and bool(re.search(mistake.holder, self.holder))
            and bool(re.search(mistake.named or mistake.holder, self.advice))
        )


def suspects(report: dict[str, Any]) -> list[Suspect]:
    """Return what is suspected.

    What the server keeps of connections until a full collection comes belongs to no endpoint.
    """
    return [
        Suspect(
            re.sub(r"<(?:\w+:)?(\w+)>|{(\w+)(?::\w+)?}", r"{\1\2}", one["endpoint"]),
            one["site"] and (one["site"]["file"], one["site"]["line"]),
            one["cause"] or "",
            one["holder"]["path"] if one["holder"] else "",
            one["advice"] or "",
        )
        for one in report["findings"]
        if one["verdict"] in {"leak", "suspect"} and one["endpoint"] != BACKGROUND
    ]
