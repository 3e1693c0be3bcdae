"""Prometheus and pprof themselves, on a real server: the shipped alert fires, and clears."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from tests.test_deploy import DEPLOY, shown
from tests.test_servers import APPS, PATIENCE_SECONDS, POLL_SECONDS, TOKEN, Command, serving

from leakmw.records import Frame, Live
from leakmw.report.pprof import pprof
from leakmw.report.stacks import alive
from leakmw.tracers import sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import ShopMonitor
    from tests.test_servers import Server

    from leakmw.admin.messages import AdminResponse

    Ask = Callable[..., AdminResponse]

PACKAGES = {"prometheus": "prometheus", "promtool": "prometheus", "go": "golang-go"}
"""Debian's packages of the tools."""

REQUIRED = "REQUIRE_TOOLS"
"""Set by ``.ci/run``: a tool that is missing is an error there."""

GUNICORN = Command(("gunicorn", "--bind", "127.0.0.1:0", "--workers", "4"), "tap_shop")
LEAK = "POST /carts/<int:number>"
SITE = re.compile(r"tap_shop\.py:\d+")
MAX_ROUNDS = 400
"""How often something that takes its time is looked for."""


QUIET_ROUNDS = 20
"""Without the alert, after which it has cleared."""


def tool(name: str) -> str:
    """Return where a tool is; without it the test is skipped, or fails where all are to be."""
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is missing here: apt-get install {PACKAGES[name]}"
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def run(name: str, *arguments: str | Path, stdin: bytes = b"") -> str:
    """Run a tool, which is to succeed, and return all that it says."""
    line = [tool(name), *map(str, arguments)]
    done = subprocess.run(
        line, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


def test_the_shipped_rules_hold_their_tests() -> None:
    """Promtool finds no fault in them, and each alert fires and clears as its test says."""
    said = run("promtool", "check", "rules", DEPLOY / "prometheus/leakmw.rules.yml")
    assert "6 rules found" in said
    run("promtool", "test", "rules", DEPLOY / "prometheus/leakmw.rules.test.yml")


def test_the_shipped_configuration_is_valid(tmp_path: Path) -> None:
    """With the token beside it, as the page says."""
    shutil.copytree(DEPLOY / "prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "leakmw.token").write_text(TOKEN)

    assert "SUCCESS" in run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_prometheus_can_read_the_dashboards_expressions(tmp_path: Path) -> None:
    """Each as a rule that records it."""
    rules = [
        {"record": f"panel:{at}", "expr": expression.replace("$job", "shop")}
        for at, (expression, _) in enumerate(shown())
    ]
    written = tmp_path / "panels.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", written)


def test_promtool_likes_the_metrics(ask: Ask) -> None:
    """Their names, units and helps are as Prometheus would have them."""
    assert run("promtool", "check", "metrics", stdin=ask("GET", "/metrics").body) == ""


@pytest.fixture(scope="module", name="tap")
def _tap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that makes the app leak while it is there."""
    return tmp_path_factory.mktemp("tap") / "open"


@pytest.fixture(scope="module", name="server")
def _server(tap: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return gunicorn with four workers that take samples."""
    if sampling.unavailable():
        pytest.skip("no sampling engine here")
    tap.touch()
    variables = {
        "LEAKMW_ENGINE": "sampling",
        "LEAKMW_SAMPLE_BYTES": "4096",
        "LEAKMW_STORE": str(tap.with_name("history.db")),
        "TAP": str(tap),
        # as any run of the tests' own process has it
        "PYTHONPATH": os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH")])),
    }
    log = tmp_path_factory.mktemp("tools") / "server.log"
    with serving(GUNICORN, log, harmed=False, **variables) as server:
        yield server


def visit(server: Server) -> None:
    """Send requests to whichever workers take them: half of them leak."""
    with server.client() as client:
        for number in range(20):
            assert client.get("/").text == "home"
            assert client.post(f"/carts/{number}").text == f"cart {number}"


def ask_server(server: Server, path: str) -> httpx.Response:
    """Ask one of the workers."""
    with server.client() as client:
        return client.get(f"/__leaks__/{path}", headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture(name="pprof_says")
def _pprof_says(tmp_path: Path) -> Callable[..., str]:
    """Return what has ``go tool pprof`` read a profile."""
    go, written = tool("go"), tmp_path / "heap.pb.gz"
    home = {"HOME": str(tmp_path), "PPROF_TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}

    def read(profile: bytes, *arguments: str) -> str:
        written.write_bytes(profile)
        command = [go, "tool", "pprof", *arguments, str(written)]
        return subprocess.run(
            command, env=home, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    return read


def test_go_names_the_leaking_function_and_its_route(
    server: Server, pprof_says: Callable[..., str]
) -> None:
    """And who calls it; another route has none of it."""
    function = re.compile(r"^ *[\d.]+[kM]?B .* keep$", re.MULTILINE)
    for _ in range(MAX_ROUNDS):
        visit(server)
        answer = ask_server(server, "debug/pprof/allocs")
        if answer.status_code == 200 and function.search(pprof_says(answer.content, "-top")):
            break
    profile = answer.content

    first = pprof_says(profile, "-top", "-focus=keep", "-nodecount=1")
    assert "Type: inuse_space" in first
    assert function.search(first)
    callers, _, callees = pprof_says(profile, "-peek=^keep$").partition("| keep\n")
    assert callers.rstrip(" ").splitlines()[-2].endswith("Flask.dispatch_request")
    assert "keep" not in callees
    assert function.search(pprof_says(profile, "-top", "-tagfocus=http.route=^/carts/"))
    assert not function.search(pprof_says(profile, "-top", "-tagignore=http.route=^/carts/"))
    routes = pprof_says(profile, "-tags")
    assert re.search(r"B \([ \d.]+%\): /carts/<int:number>$", routes, re.MULTILINE)
    assert "Type: inuse_objects" in pprof_says(profile, "-top", "-sample_index=inuse_objects")


def test_go_reads_growth(server: Server, pprof_says: Callable[..., str]) -> None:
    """Of the seconds that the profile says."""
    for _ in range(MAX_ROUNDS):
        visit(server)
        answer = ask_server(server, "debug/pprof/heap?seconds=1")
        if answer.status_code == 200 and " keep" in pprof_says(answer.content, "-top"):
            break
    said = pprof_says(answer.content, "-top")

    assert re.search(r"^Duration: \d", said, re.MULTILINE)
    assert re.search(r" keep$", said, re.MULTILINE)
    assert "growth in" in said


def test_go_takes_no_name_for_one_of_cpp(
    shop_monitor: ShopMonitor, pprof_says: Callable[..., str]
) -> None:
    """It strips what looks like a template; Python's own names look so."""
    (profile,) = shop_monitor.live
    names = ("<module>", "<lambda>", "outer.<locals>.inner", "operator[]")
    traceback = tuple(Frame("shop.py", at, name) for at, name in enumerate(names, 1))
    stacks = alive([replace(profile, rows=(Live("GET /", traceback, 5, 1),))])
    said = pprof_says(pprof(stacks), "-top")

    assert {line.split()[-1] for line in said.splitlines()[-4:]} == set(names)


@contextmanager
def prometheus(folder: Path, server: Server) -> Iterator[str]:
    """Run Prometheus with the shipped files, everything in them a hundred times as fast."""
    (folder / "leakmw.token").write_text(TOKEN)
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    (scraped,) = config["scrape_configs"]
    scraped["static_configs"] = [{"targets": ["{}:{}".format(*server.address)]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = yaml.safe_load((DEPLOY / "prometheus/leakmw.rules.yml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule |= {name: "1s" for name in ("for", "keep_firing_for") if name in rule}
    (folder / "leakmw.rules.yml").write_text(yaml.safe_dump(rules))
    log = folder / "prometheus.log"
    line = [tool("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with log.open("w") as said:
        process = subprocess.Popen(
            [*line, "--web.listen-address=127.0.0.1:0"], cwd=folder, stdout=said, stderr=said
        )
        try:
            yield f"http://{_listens(process, log)}"
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
            process.kill()
            process.wait()


def _listens(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        if said := re.search(r'"Listening on" address=(127\.0\.0\.1:\d+)', log.read_text()):
            return said[1]
        time.sleep(POLL_SECONDS)
    pytest.fail(f"Prometheus did not start: {log.read_text()}")


def asked(address: str, query: str) -> list[str]:
    """Return the values that Prometheus has for a query."""
    answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, trust_env=False)
    return [one["value"][1] for one in answer.json()["data"]["result"]]


def firing(address: str) -> dict[str, dict[str, Any]]:
    """Return the alerts that fire, by name."""
    answer = httpx.get(f"{address}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]
    return {one["labels"]["alertname"]: one for one in answer if one["state"] == "firing"}


def test_the_alert_fires_and_clears(server: Server, tap: Path, tmp_path: Path) -> None:
    """While the app leaks, with what somebody who is woken needs; not any more when it has not."""
    with prometheus(tmp_path, server) as address:
        for _ in range(MAX_ROUNDS):
            visit(server)
            alert = firing(address).get("MemoryLeak")
            if alert is not None:
                break
        assert alert is not None
        assert alert["labels"]["severity"] == "page"
        assert "{method} {route}".format(**alert["labels"]) == LEAK
        assert SITE.fullmatch(alert["labels"]["site"])
        assert "leaks memory at tap_shop.py:" in alert["annotations"]["summary"]
        assert "Each request leaves 1" in alert["annotations"]["description"]
        assert alert["labels"]["fingerprint"] in alert["annotations"]["description"]

        tap.unlink()
        quiet = 0  # rounds: workers are scraped in turn, and not all of them know it at once
        for _ in range(MAX_ROUNDS):
            visit(server)
            alerts = firing(address)
            if asked(address, "up") == ["1"]:  # a scrape that failed tells nothing
                quiet = 0 if "MemoryLeak" in alerts else quiet + 1
            if quiet == QUIET_ROUNDS:
                break
        assert quiet == QUIET_ROUNDS
        assert "LeakmwErrors" not in alerts
        assert asked(address, "max_over_time(leakmw_workers[1h])") == ["4"]
