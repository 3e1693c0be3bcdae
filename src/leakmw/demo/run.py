"""The demonstration: traffic to a leaky shop until leakmw has had enough windows to judge."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.progress import Progress

from leakmw.demo import traffic
from leakmw.demo.process import ServerError, serving
from leakmw.tracers.sampling import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LEAK = "POST /login"
"""The endpoint of the shop that leaks."""

EVERY = 900
"""Visits between two snapshots: said, and so kept to, however cheap the visits are."""

REQUESTS = 12_000
"""Requests to send where nobody says how many: then more, until the leak is called one."""

TRAFFIC_SECONDS = 45
"""After which no further window is begun, so that the whole ends within a minute."""

REPORT_SECONDS = 20
"""Longest wait for the report of one snapshot."""

POLL_SECONDS = 0.02

Document = dict[str, Any]


def run(*, requests: int | None, healthy: bool, as_json: bool) -> int:
    """Send traffic to the shop and print what leakmw says.

    Args:
        requests: How many to send, rounded up to whole windows; ``None`` for as many as it takes.

        healthy: Switch the leak off.

        as_json: Print the report as JSON instead of text.

    Returns:
        The exit status: 0 if leakmw suspects the leaking endpoint, or none in a healthy shop.

    Raises:
        ServerError: If the shop does not start, or stops answering.
    """
    token = secrets.token_hex(24)
    settings = {"token": token, "every": EVERY, "store": "memory"}
    if unavailable():
        settings["engine"] = "tracemalloc"  # which slows the shop down, but finds it as soon
    windows = -(-(requests or REQUESTS) // EVERY)

    def over(filled: int, report: Document) -> bool:
        enough = requests is not None or healthy or LEAK in _found(report, {"leak"})
        return enough and filled >= windows

    with serving(settings, leaky=not healthy) as url, _bar() as bar:
        task = bar.add_task("Visiting a small shop", total=windows * EVERY)
        try:
            report, text = asyncio.run(_visit(url, token, over, lambda: bar.advance(task)))
        except httpx.HTTPError as error:
            raise ServerError(f"the shop stopped answering: {error!r}") from error
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if as_json else text)
    wrong = _wrong(report, healthy=healthy)
    if wrong:
        sys.stderr.write(f"leakmw demo: {wrong}\n")
    return int(bool(wrong))


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not sys.stderr.isatty())


async def _visit(
    url: str, token: str, over: Callable[[int, Document], bool], answered: Callable[[], None]
) -> tuple[Document, str]:
    """Fill windows with visits until it is *over*; return the report as JSON and as text."""
    async with httpx.AsyncClient(
        base_url=url,
        timeout=REPORT_SECONDS,
        trust_env=False,  # the shop is on this machine, whatever proxy the shell names
    ) as client:
        admin = {"Authorization": f"Bearer {token}"}
        calls = traffic.calls()
        report: Document = {}
        deadline = time.monotonic() + TRAFFIC_SECONDS
        for filled in count(1):
            await traffic.send(client, islice(calls, EVERY), answered=answered)
            report = await _report_after(report, client, admin)
            if over(filled, report) or time.monotonic() > deadline:
                break
        page = await client.get("/__leaks__/", headers=admin | {"Accept": "text/plain"})
    return report, page.raise_for_status().text


async def _report_after(
    last: Document, client: httpx.AsyncClient, admin: dict[str, str]
) -> Document:
    """Wait for the report after *last*: this traffic is denser than what a snapshot takes."""
    deadline = time.monotonic() + REPORT_SECONDS
    while time.monotonic() < deadline:
        response = await client.get("/__leaks__/api/report", headers=admin)
        if response.is_success and response.json()["id"] != last.get("id"):
            report: Document = response.json()
            return report
        await asyncio.sleep(POLL_SECONDS)
    raise ServerError(f"no report for {EVERY} visits within {REPORT_SECONDS} s")


def _found(report: Document, verdicts: Collection[str]) -> set[str]:
    """Return the endpoints with one of *verdicts*."""
    findings = report["findings"]
    return {one["endpoint"] for one in findings if one["verdict"] in verdicts}


def _wrong(report: Document, *, healthy: bool = False) -> str | None:
    """Say what *report* says wrongly or should have said, if anything."""
    suspected = _found(report, {"leak", "suspect"})
    if healthy and suspected:
        return f"nothing leaks, and yet suspected: {', '.join(sorted(suspected))}"
    if not healthy and LEAK not in suspected:
        return f"{LEAK} leaks and was not found in {report['window']['visits']} visits"
    return None
