"""The admin endpoint keeps what its OpenAPI description promises, through both faces."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import ignored_auth
from starlette.applications import Starlette

from leakmw.admin.openapi import description
from leakmw.asgi import LeakMiddleware as AsgiFace
from leakmw.report.document import schema
from leakmw.wsgi import LeakMiddleware as WsgiFace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.admin.messages import AdminResponse

    Ask = Callable[..., AdminResponse]

DESCRIBED = [
    (path, method.upper())
    for path, methods in description("")["paths"].items()
    for method in methods
    if method != "parameters"
]
LOOKS = [one for one in DESCRIBED if one[0] in {"/api/gc/collect", "/api/gc/inspect", "/api/heap"}]
"""Those that look at the whole heap, which of a process that runs tests is large."""

TOKEN = "a-token-of-some-length"  # the secret of tests
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
ADDRESS = "/__leaks__/api/openapi.json"


def _validator(name: str) -> Draft202012Validator:
    whole = description("")
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}"} | whole)
    validator.check_schema(whole["components"]["schemas"][name])
    return validator


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("report", "/api/report"),
        ("workers", "/api/workers"),
        ("snapshots", "/api/snapshots"),
        ("snapshot", "/api/snapshots/000000000001"),
        ("diff", "/api/diff"),
        ("gc", "/api/gc"),
        ("error", "/api/nowhere"),
    ],
)
def test_documents_are_as_described(ask: Ask, name: str, path: str) -> None:
    """What is read is valid by its schema, and an empty object is not."""
    response = ask("GET", path, query="from=000000000001&to=000000000002")

    _validator(name).validate(json.loads(response.body))
    assert not _validator(name).is_valid({})


def test_a_collection_is_as_described(ask: Ask) -> None:
    """What came free has the promised form."""
    _validator("collection").validate(json.loads(ask("POST", "/api/gc/collect").body))


def test_an_inspection_is_as_described(ask: Ask) -> None:
    """What was found has the promised form."""
    _validator("inspection").validate(json.loads(ask("POST", "/api/gc/inspect").body))


def test_a_look_at_the_heap_is_as_described(ask: Ask) -> None:
    """What was seen has the promised form."""
    _validator("holdings").validate(json.loads(ask("POST", "/api/heap").body))


def test_the_reports_schema_is_the_published_one() -> None:
    """There is one schema of a report; only where its parts stand differs."""
    described = json.dumps(description("")["components"]["schemas"])
    published = schema()

    for name, part in {"report": published, **published["$defs"]}.items():
        expected = {key: part[key] for key in part if not key.startswith("$") or key == "$ref"}
        placed = json.dumps(expected).replace("#/$defs/", "#/components/schemas/")
        assert f'"{name}": {placed}' in described


def test_every_address_has_just_the_methods_described(ask: Ask) -> None:
    """The description leaves none out and invents none."""
    for path in {path for path, _ in DESCRIBED}:
        allowed = dict(ask("OPTIONS", path).headers)["Allow"].split(", ")
        expected = {method for other, method in DESCRIBED if other == path}
        assert set(allowed) - {"HEAD", "OPTIONS"} == expected


def test_it_says_where_it_is(ask: Ask) -> None:
    """Below a prefix, too."""
    assert json.loads(ask("GET", "/api/openapi.json").body)["servers"] == [{"url": "/__leaks__"}]
    assert description("/shop/__leaks__")["servers"] == [{"url": "/shop/__leaks__"}]


def _wsgi_app(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not Found"]


@pytest.fixture(params=["wsgi", "asgi"])
def served(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return the description as a real face serves it, one snapshot having been taken."""
    face: Any
    if request.param == "wsgi":
        face = WsgiFace(_wsgi_app, token=TOKEN, frames=1)
        loaded = schemathesis.openapi.from_wsgi(ADDRESS, face, headers=WITH_TOKEN)
    else:
        face = AsgiFace(Starlette(), token=TOKEN, frames=1)
        loaded = schemathesis.openapi.from_asgi(ADDRESS, face, headers=WITH_TOKEN)
    try:
        face.monitor.take_snapshot(60.0)  # only now: what is imported while it traces takes long
        yield loaded
    finally:
        face.monitor.close()
        shutdown_lifespans()
        while psutil.Process().children():  # a look goes on after its request has given up
            time.sleep(0.01)


_PATIENT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize(("path", "method"), [one for one in DESCRIBED if one not in LOOKS])
@given(data=st.data())
@settings(max_examples=10, suppress_health_check=_PATIENT)
def test_what_is_served_is_what_is_described(
    served: Any, path: str, method: str, data: st.DataObject
) -> None:
    """Any request by the description gets an answer by it; without the token the app's own."""
    case = data.draw(served[path][method].as_strategy())

    case.call_and_validate(headers=WITH_TOKEN, excluded_checks=[ignored_auth])

    assert case.call().content == b"Not Found"


# by ASGI, schemathesis gives up after ten seconds, and a look at all these tests may take longer
@pytest.mark.parametrize("served", ["wsgi"], indirect=True)
@pytest.mark.parametrize(("path", "method"), LOOKS)
@given(data=st.data())
@settings(max_examples=2, suppress_health_check=_PATIENT)
def test_what_takes_a_look_at_the_heap_is_as_described(
    served: Any, path: str, method: str, data: st.DataObject
) -> None:
    """So is its refusal, where the machine is too busy to look in time."""
    case = data.draw(served[path][method].as_strategy())
    excluded = [ignored_auth, not_a_server_error]

    case.call_and_validate(headers=WITH_TOKEN, excluded_checks=excluded)

    assert case.call().content == b"Not Found"
