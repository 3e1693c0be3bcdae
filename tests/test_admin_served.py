"""What a person and a program do with the admin endpoint of a served app works from end to end."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx
import pytest
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

from leakmw.asgi import LeakMiddleware as AsgiFace
from leakmw.report.document import schema
from leakmw.wsgi import LeakMiddleware as WsgiFace

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a-token-of-some-length"  # the secret of tests
SERVER = "http://shop.example"
BROWSER = {"Accept": "text/html,*/*;q=0.8", "Origin": SERVER}
PROGRAM = {"Authorization": f"Bearer {TOKEN}"}


class Links(HTMLParser):
    """The addresses on a page.

    Attributes:
        found: In order, as they stand there.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a link or form."""
        self.found += [str(value) for name, value in attrs if name in {"href", "action"}]


def _wsgi(prefix: str) -> tuple[Any, Any]:
    face: Any = WsgiFace(Response("no such page", 404), token=TOKEN, frames=1)
    app = DispatcherMiddleware(Response("root", 404), {prefix: face}) if prefix else face
    return face, httpx.Client(transport=httpx.WSGITransport(app=app), base_url=SERVER)


def _asgi(prefix: str) -> tuple[Any, Any]:
    face: Any = AsgiFace(Starlette(), token=TOKEN, frames=1)
    app = Starlette(routes=[Mount(prefix, face)]) if prefix else face
    return face, TestClient(app, base_url=SERVER, follow_redirects=False)


@pytest.fixture(params=["", "/shop"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Return where the app is mounted."""
    mounted: str = request.param
    return mounted


@pytest.fixture(params=[_wsgi, _asgi])
def client(request: pytest.FixtureRequest, prefix: str) -> Iterator[Any]:
    """Return a client of an app behind a face, which keeps cookies like a browser."""
    face, client = request.param(prefix)
    try:
        with client:
            yield client
    finally:
        face.monitor.close()


def test_a_person_logs_in_and_takes_snapshots(client: Any, prefix: str) -> None:
    """From the address with the token to the growth between two snapshots, by links alone."""
    page = f"{SERVER}{prefix}/__leaks__/"
    login = client.get(f"{prefix}/__leaks__?token={TOKEN}", headers=BROWSER)
    assert login.status_code == 303
    assert urljoin(str(login.url), login.headers["Location"]) == page

    waiting = client.get(page, headers=BROWSER)
    assert (waiting.status_code, "No report yet" in waiting.text) == (200, True)
    (button,) = [link for link in Links(waiting.text).found if link.endswith("snapshots")][:1]
    for _ in range(2):
        taken = client.post(urljoin(page, button), headers=BROWSER)
        assert taken.status_code == 303
        assert urljoin(str(taken.url), taken.headers["Location"]) == page

    shown = client.get(page, headers=BROWSER)
    links = Links(shown.text).found
    assert any(link.startswith("diff?") for link in links)
    for link in links:
        assert client.get(urljoin(page, link), headers=BROWSER).status_code == 200


def test_a_program_takes_snapshots_and_compares_them(client: Any, prefix: str) -> None:
    """With the token in its header, and documents as published."""
    api = f"{prefix}/__leaks__/api"
    early = client.get(f"{api}/report", headers=PROGRAM)
    assert (early.status_code, early.json()["error"]["code"]) == (404, "no_report")

    taken = [client.post(f"{api}/snapshots", headers=PROGRAM) for _ in range(2)]
    assert [response.status_code for response in taken] == [201, 201]
    for response in taken:
        address = urljoin(str(response.url), response.headers["Location"])
        assert client.get(address, headers=PROGRAM).json() == response.json()

    older, newer = (response.json()["id"] for response in taken)
    diff = client.get(f"{api}/diff", params={"from": older, "to": newer}, headers=PROGRAM)
    published = schema()
    Draft202012Validator(published | published["$defs"]["diff"]).validate(diff.json())
    Draft202012Validator(published).validate(client.get(f"{api}/report", headers=PROGRAM).json())


def test_a_stranger_meets_the_app_alone(client: Any, prefix: str) -> None:
    """Without the token, the answers are the app's, to every method."""
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        ours = client.request(method, f"{prefix}/__leaks__/api/snapshots")
        theirs = client.request(method, f"{prefix}/elsewhere")
        assert (ours.status_code, ours.content) == (404, theirs.content)
        assert ours.headers == theirs.headers


def test_another_site_cannot_use_the_persons_cookie(client: Any, prefix: str) -> None:
    """Its form is refused although the browser sends the cookie."""
    client.get(f"{prefix}/__leaks__/?token={TOKEN}", headers=BROWSER)
    elsewhere = BROWSER | {"Origin": "http://evil.example"}

    refused = client.post(f"{prefix}/__leaks__/api/snapshots", headers=elsewhere)

    assert refused.status_code == 403
    assert client.get(f"{prefix}/__leaks__/api/snapshots").json() == {"snapshots": []}


def test_a_body_past_the_limit_is_refused(client: Any, prefix: str) -> None:
    """However it is sent, no more of it is read than is needed to tell."""
    response = client.post(
        f"{prefix}/__leaks__/api/snapshots", headers=PROGRAM, content=b"x" * 100_000
    )

    assert response.status_code == 413
