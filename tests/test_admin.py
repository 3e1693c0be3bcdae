"""The admin endpoint answers those who have the token, whatever they ask, and nobody else."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakmw.admin.messages import BODY_LIMIT, AdminRequest
from leakmw.admin.service import CHANGES, CHANGES_SECONDS, Service
from leakmw.records import Reply, Request, SnapshotError, Worker
from leakmw.report.document import (
    diff_document,
    report_document,
    snapshot_document,
    workers_document,
)
from leakmw.report.markdown import markdown
from leakmw.report.text import text
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.admin.messages import AdminResponse
    from leakmw.records import Report

    Ask = Callable[..., AdminResponse]

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
READABLE = (
    ("/", "text/html; charset=utf-8"),
    ("/style.css", "text/css; charset=utf-8"),
    ("/api/report", "application/json"),
    ("/api/workers", "application/json"),
    ("/api/snapshots", "application/json"),
    ("/api/snapshots/000000000001", "application/json"),
    ("/api/gc", "application/json"),
    ("/api/openapi.json", "application/json"),
)


def _headers(response: AdminResponse) -> dict[str, str]:
    headers = dict(response.headers)
    assert len(headers) == len(response.headers)
    return headers


def _error(response: AdminResponse) -> str:
    error = json.loads(response.body)["error"]
    assert error["message"]
    return str(error["code"])


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_without_a_token_there_is_no_endpoint(shop_monitor: Any, method: str) -> None:
    """With no token set, no credential of any kind opens it."""
    service = Service(Settings(), shop_monitor)

    for credential in ("", "Bearer ", "Bearer None", "Bearer a-token-of-some-length"):
        request = AdminRequest(method, "/__leaks__/", "token=", {"authorization": credential})
        assert not service.owns(request.path)
        assert not service.admits(request)
        assert service.handle(request) is None


@pytest.mark.parametrize("path", ["", "/", "/api/report", "/api/snapshots", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_a_request_without_the_token_is_the_apps(admin: Service, method: str, path: str) -> None:
    """It gets no answer of any kind, so that nobody learns that there is something."""
    for headers in ({}, {"authorization": "Bearer another-token-of-that-length"}):
        request = AdminRequest(method, f"/__leaks__{path}", "", headers)
        assert not admin.admits(request)
        assert admin.handle(request) is None


@pytest.mark.parametrize("path", ["/", "/__leaks__x", "/__leak__", "/shop/__leaks__/", ""])
def test_other_paths_are_the_apps_even_with_the_token(
    admin: Service, admin_settings: Settings, path: str
) -> None:
    """Only the path and what is below it is ours."""
    headers = {"authorization": f"Bearer {admin_settings.token}"}

    assert admin.handle(AdminRequest("GET", path, "", headers)) is None


def test_it_answers_where_the_setting_says(shop_monitor: Any) -> None:
    """A path of several parts works, and the common one is then the app's."""
    token = "a-token-of-some-length"  # the secret of tests
    service = Service(Settings(token=token, path="/internal/leaks"), shop_monitor)
    headers = {"authorization": f"Bearer {token}"}

    ours = service.handle(AdminRequest("GET", "/internal/leaks", "", headers))

    assert ours is not None
    assert _headers(ours)["Location"] == "./leaks/"
    assert service.handle(AdminRequest("GET", "/__leaks__/", "", headers)) is None


@pytest.mark.parametrize(("path", "media_type"), READABLE)
def test_what_can_be_read(ask: Ask, path: str, media_type: str) -> None:
    """Each address answers GET with its own type, and HEAD with the same but the body."""
    response = ask("GET", path)
    head = ask("HEAD", path)

    assert response.status == 200
    assert response.body
    assert _headers(response)["Content-Type"] == media_type
    assert _headers(response)["Content-Length"] == str(len(response.body))
    assert (head.status, head.body) == (200, b"")
    assert set(_headers(head)) == set(_headers(response))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/api/snapshots", "GET, POST, HEAD, OPTIONS"),
        ("/api/gc/collect", "POST, OPTIONS"),
        ("/api/gc/inspect", "POST, OPTIONS"),
        ("/api/heap", "POST, OPTIONS"),
    ],
)
def test_methods_are_told(ask: Ask, path: str, allowed: str) -> None:
    """OPTIONS and a wrong method both say which ones there are."""
    options = ask("OPTIONS", path)
    wrong = ask("PUT", path)

    assert (options.status, options.body) == (204, b"")
    assert "Content-Length" not in _headers(options)
    assert (wrong.status, _error(wrong)) == (405, "method_not_allowed")
    assert _headers(options)["Allow"] == _headers(wrong)["Allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/", "/api/snapshots/", "/api/snapshots/1/2", "//"]
)
def test_an_unknown_address_is_answered_in_json(ask: Ask, path: str) -> None:
    """Who has the token is told that nothing is there, instead of being left to the app."""
    response = ask("GET", path)

    assert (response.status, _error(response)) == (404, "not_found")


def test_every_answer_is_locked_down(ask: Ask) -> None:
    """Whatever the status, nothing may be stored, framed, sniffed or loaded from elsewhere."""
    answers = [
        ask("GET", "/"),
        ask("GET", ""),
        ask("OPTIONS", "/"),
        ask("GET", "/api/diff"),
        ask("GET", "/nowhere"),
        ask("PUT", "/"),
        ask("POST", "/api/snapshots"),
        ask("POST", "/api/snapshots", content_type="text/plain"),
    ]

    assert [answer.status for answer in answers] == [200, 303, 204, 400, 404, 405, 201, 415]
    for answer in answers:
        headers = _headers(answer)
        policy = headers["Content-Security-Policy"].split("; ")
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert set(policy) == {
            "default-src 'none'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        }
        assert {"Accept", "Authorization", "Cookie"} <= set(headers["Vary"].split(", "))


def test_the_page_comes_as_the_client_likes_it(ask: Ask, shop_report: Report) -> None:
    """HTML by default, and the same report as text or Markdown."""
    assert ask("GET", "/", accept=BROWSER).body.startswith(b"<!DOCTYPE html>")
    assert ask("GET", "/", accept="*/*").body.startswith(b"<!DOCTYPE html>")
    assert ask("GET", "/", accept="text/plain").body.decode() == text(shop_report)
    assert ask("GET", "/", accept="text/markdown").body.decode() == markdown(shop_report)


def test_the_report_is_the_published_document(ask: Ask, shop_report: Report) -> None:
    """The API hands out what ``leakmw.report`` makes of it."""
    assert json.loads(ask("GET", "/api/report").body) == report_document(shop_report)


def test_the_workers_are_listed(ask: Ask, shop_monitor: Any) -> None:
    """With what each has done and takes; one without a snapshot has neither engine nor memory."""
    known = shop_monitor.peers[0]
    other = replace(known.worker, pid=72)
    early = replace(known, worker=other, alive=False, engine=None, memory=None, version=None)
    shop_monitor.peers = (known, early)

    document = json.loads(ask("GET", "/api/workers").body)

    assert document == workers_document(shop_monitor.peers)
    first, second = document["workers"]
    assert first["worker"] == {"host": "web-1", "pid": 71, "started_at": "2026-11-22T10:00:00Z"}
    assert (first["alive"], first["visits"], first["snapshots"]) == (True, 12_000, 3)
    assert first["memory"]["rss_bytes"] == 222_298_112
    assert (second["alive"], second["engine"], second["memory"]) == (False, None, None)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("worker=71", 200, None),
        ("worker=web-1:71", 200, None),
        ("worker=all", 200, None),
        ("worker=72", 404, "no_such_worker"),
        ("worker=web-2:71", 404, "no_such_worker"),
        ("worker=first", 400, "bad_query"),
        ("worker=0", 400, "bad_query"),
        ("worker=71&worker=72", 400, "bad_query"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "report"), ("POST", "snapshots")])
def test_a_worker_may_be_named(  # noqa: PLR0913  # two tables
    ask: Ask, *, method: str, path: str, query: str, status: int, code: str | None
) -> None:
    """By its pid, or with its host; an unknown one is not answered for."""
    response = ask(method, f"/api/{path}", query=query)
    here = "worker=all" not in query

    assert response.status == (201 if method == "POST" and status == 200 and here else status)
    assert code is None or _error(response) == code


def test_another_worker_answers_through_this_one(ask: Ask, shop_monitor: Any) -> None:
    """What it says is handed on as it is; it is asked for itself alone."""
    other = Worker(host="web-1", pid=72, started_at=shop_monitor.latest.taken_at)
    shop_monitor.replies["72"] = {other: Reply(503, '{"error": {"code": "no_look"}}')}

    response = ask("POST", "/api/heap", query="worker=72&x=y")

    assert (response.status, json.loads(response.body)) == (503, {"error": {"code": "no_look"}})
    assert shop_monitor.asked == [("72", Request("POST", "/api/heap", "x=y&worker=this"))]


def test_all_workers_answer_beside_each_other(ask: Ask) -> None:
    """Each with its own status."""
    document = json.loads(ask("GET", "/api/gc", query="worker=all").body)

    said = [(one["worker"]["pid"], one["status"], one["answer"]) for one in document["workers"]]
    assert said == [(71, 200, {}), (72, 404, {})]


def test_another_worker_that_does_not_answer_is_said(ask: Ask, shop_monitor: Any) -> None:
    """With what it waited for."""
    shop_monitor.refusal = SnapshotError("no answer of another worker within 25 s")

    response = ask("GET", "/api/gc", query="worker=72")

    assert (response.status, _error(response)) == (503, "no_answer")


def test_what_others_ask_through_the_store_needs_no_token(
    admin: Service, shop_monitor: Any
) -> None:
    """Who can write there is the same user; what is wrong gets the API's own errors."""
    assert json.loads(shop_monitor.answer(Request("GET", "/api/report")).body)["id"]
    assert shop_monitor.answer(Request("GET", "/api/nothing")).status == 404
    assert shop_monitor.answer(Request("DELETE", "/api/report")).status == 405
    assert [shop_monitor.answer(Request("POST", "/api/snapshots")).status for _ in range(7)] == [
        *[201] * 6,
        429,
    ]


@pytest.mark.parametrize("accept", [BROWSER, "text/plain", "text/markdown"])
def test_the_page_says_what_it_waits_for(ask: Ask, shop_monitor: Any, accept: str) -> None:
    """Before the first report there is a page, and it says when that comes."""
    shop_monitor.latest = None

    response = ask("GET", "/", accept=accept)

    assert response.status == 200
    assert "every 1,000 requests" in response.body.decode()
    assert "keeps 3" in response.body.decode()


def test_no_report_is_an_error_for_programs(ask: Ask, shop_monitor: Any) -> None:
    """A program learns that it is too early, and when it is not."""
    shop_monitor.latest = None

    response = ask("GET", "/api/report")

    assert (response.status, _error(response)) == (404, "no_report")
    assert "every 1,000 requests" in response.body.decode()


def test_the_snapshots_are_listed_and_found(ask: Ask, shop_monitor: Any) -> None:
    """The list has them all, and each has an address of its own."""
    listed = json.loads(ask("GET", "/api/snapshots").body)["snapshots"]

    assert listed == [snapshot_document(snapshot) for snapshot in shop_monitor.kept]
    for snapshot in listed:
        assert json.loads(ask("GET", f"/api/snapshots/{snapshot['id']}").body) == snapshot


@pytest.mark.parametrize("name", ["f00", "{id}", "<script>"])
def test_a_snapshot_that_is_not_kept_is_not_found(ask: Ask, name: str) -> None:
    """Its id is not repeated."""
    response = ask("GET", f"/api/snapshots/{name}")

    assert (response.status, _error(response)) == (404, "no_such_snapshot")
    assert name not in response.body.decode()


def test_a_snapshot_is_taken(ask: Ask, shop_monitor: Any) -> None:
    """A program gets its summary and where it stays."""
    response = ask("POST", "/api/snapshots")

    assert response.status == 201
    assert json.loads(response.body) == snapshot_document(shop_monitor.kept[-1])
    assert _headers(response)["Location"] == "snapshots/000000000003"


def test_a_person_who_takes_a_snapshot_comes_back_to_the_page(ask: Ask) -> None:
    """The page's form gets a redirect instead of JSON."""
    response = ask("POST", "/api/snapshots", accept=BROWSER)

    assert (response.status, response.body) == (303, b"")
    assert _headers(response)["Location"] == "../"


def test_a_snapshot_that_cannot_be_taken_says_why(ask: Ask, shop_monitor: Any) -> None:
    """Programs get the reason as JSON, people as a page, and both the same status."""
    shop_monitor.refusal = SnapshotError("no room for <another> process")

    response = ask("POST", "/api/snapshots")
    page = ask("POST", "/api/snapshots", accept=BROWSER)

    assert (response.status, _error(response)) == (503, "no_snapshot")
    assert "no room for <another> process" in response.body.decode()
    assert page.status == 503
    assert "no room for &lt;another&gt; process" in page.body.decode()


@pytest.mark.parametrize(("path", "kind"), [("/api/diff", b"{"), ("/diff", b"<!DOCTYPE html>")])
def test_two_snapshots_are_compared(ask: Ask, shop_monitor: Any, path: str, kind: bytes) -> None:
    """Growth between two comes as JSON and as a page."""
    response = ask("GET", path, query="from=000000000001&to=000000000003")

    assert response.status == 200
    assert response.body.startswith(kind)
    if path == "/api/diff":
        diff = shop_monitor.diff("000000000001", "000000000003")
        assert json.loads(response.body) == diff_document(diff)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "bad_query"),
        ("from=000000000001", 400, "bad_query"),
        ("from=000000000001&to=", 400, "bad_query"),
        ("from=1&from=2&to=3", 400, "bad_query"),
        ("from=000000000001&to=000000000002" + "&x=1" * 100, 400, "bad_query"),
        ("from=000000000001&to=f00", 404, "no_such_snapshot"),
        ("from=%ff%00&to=000000000001", 404, "no_such_snapshot"),
    ],
)
def test_a_comparison_needs_two_kept_snapshots(
    ask: Ask, query: str, status: int, code: str
) -> None:
    """What is missing, doubled or unknown is told apart."""
    response = ask("GET", "/api/diff", query=query)

    assert (response.status, _error(response)) == (status, code)


def test_snapshots_that_cannot_be_compared_are_a_conflict(ask: Ask, shop_monitor: Any) -> None:
    """They are there, and still there is no answer."""
    shop_monitor.refusal = SnapshotError("they were grouped in different ways")

    response = ask("GET", "/api/diff", query="from=000000000001&to=000000000003")

    assert (response.status, _error(response)) == (409, "not_comparable")


def test_garbage_is_collected_on_demand(ask: Ask) -> None:
    """A cycle that the collector has not come to is gone afterwards."""
    cycle: list[Any] = []
    cycle.append(cycle)
    del cycle

    response = ask("POST", "/api/gc/collect")

    assert response.status == 200
    assert json.loads(response.body)["freed_objects"] >= 1


def test_one_collection_at_a_time(ask: Ask) -> None:
    """Who comes while one is under way is told so, and one after it is served."""
    answers: list[AdminResponse] = []

    def during(phase: str, _info: dict[str, int]) -> None:
        if phase == "start" and not answers:
            answers.append(ask("POST", "/api/gc/collect"))

    gc.callbacks.append(during)
    try:
        outer = ask("POST", "/api/gc/collect")
    finally:
        gc.callbacks.remove(during)

    assert outer.status == 200
    assert (answers[0].status, _error(answers[0])) == (409, "collecting")
    assert ask("POST", "/api/gc/collect").status == 200


def test_an_inspection_that_cannot_be_had_says_what_is_missing(
    ask: Ask, shop_monitor: Any
) -> None:
    """Status 503, and the reason in words."""
    shop_monitor.refusal = SnapshotError("the memory limit leaves 30 MiB")

    response = ask("POST", "/api/gc/inspect")

    assert (response.status, _error(response)) == (503, "no_inspection")
    assert json.loads(response.body)["error"]["message"] == "the memory limit leaves 30 MiB"
    shop_monitor.refusal = None
    assert ask("POST", "/api/gc/inspect").status == 200


def test_a_look_at_the_heap_says_what_holds_what_grows(ask: Ask, shop_monitor: Any) -> None:
    """Or, with status 503, what is missing."""
    response = ask("POST", "/api/heap")

    said = json.loads(response.body)
    assert response.status == 200
    assert said["containers"] == [
        {"path": "shop.views.SESSIONS", "kind": "dict", "length": 4000, "cap": None, "grown": 1000}
    ]
    assert said["types"] == [{"type": "dict", "count": 30_000, "bytes": 7_000_000}]
    assert [one["endpoint"] for one in said["findings"]] == ["POST /login"]
    shop_monitor.refusal = SnapshotError("the memory limit leaves 30 MiB")
    refused = ask("POST", "/api/heap")
    assert (refused.status, _error(refused)) == (503, "no_look")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 201),
        (b"{}", {"content_type": "application/json"}, 201),
        (b"", {"content_type": "application/x-www-form-urlencoded; charset=utf-8"}, 201),
        (b"x" * BODY_LIMIT, {"content_type": "Application/JSON"}, 201),
        (b"", {"content_length": "no number"}, 201),
        (b"x" * (BODY_LIMIT + 1), {}, 413),
        (b"", {"content_length": str(BODY_LIMIT + 1)}, 413),
        (b"", {"content_length": "9" * 5000}, 413),
        (b"x", {"content_type": "text/plain"}, 415),
        (b"x", {"content_type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_bodies_are_small_and_of_known_types(
    ask: Ask, body: bytes, headers: dict[str, str], status: int
) -> None:
    """None is needed; one that no client of ours would send is refused."""
    assert ask("POST", "/api/snapshots", body=body, **headers).status == status


def test_changes_are_limited_and_reading_is_not(
    admin_settings: Settings, shop_monitor: Any
) -> None:
    """Past the limit a change is told when to come back, and is served then."""
    now = [0.0]
    service = Service(admin_settings, shop_monitor, clock=lambda: now[0])
    headers = {"authorization": f"Bearer {admin_settings.token}"}
    change = AdminRequest("POST", "/__leaks__/api/snapshots", "", headers)
    read = replace(change, method="GET")

    def answer(request: AdminRequest) -> AdminResponse:
        now[0] += 1.0
        response = service.handle(request)
        assert response is not None
        return response

    assert [answer(change).status for _ in range(CHANGES)] == [201] * CHANGES
    refused = answer(change)
    assert (refused.status, _error(refused)) == (429, "too_many_requests")
    wait = int(_headers(refused)["Retry-After"])
    assert wait == CHANGES_SECONDS - CHANGES
    assert [answer(read).status for _ in range(wait - 1)] == [200] * (wait - 1)
    assert answer(change).status == 201


def test_refused_changes_do_not_count(ask: Ask) -> None:
    """What costs nothing takes nothing from the limit."""
    for _ in range(CHANGES * 2):
        assert ask("POST", "/api/snapshots", content_type="text/plain").status == 415
        assert ask("POST", "/api/snapshots", sec_fetch_site="cross-site").status == 403

    assert ask("POST", "/api/snapshots").status == 201


@pytest.mark.parametrize(
    ("path", "query"),
    [("/", "token={}"), ("/{}", ""), ("/api/diff", "from={0}&to={0}"), ("/api/{}", "a={}")],
)
def test_no_answer_repeats_the_token(
    ask: Ask, admin_settings: Settings, path: str, query: str
) -> None:
    """Wherever it stands in the request, it is not in what comes back."""
    token = str(admin_settings.token)

    for method in ("GET", "PUT", "POST"):
        response = ask(method, path.format(token), query=query.format(token))
        assert token not in response.body.decode()
        assert token not in str(response.headers)


anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
addresses = st.sampled_from(["", "/", "/diff", "/api/diff", "/api/snapshots"])
queries = st.sampled_from(["", "token=", "from=", "from=1&to="])
names = st.sampled_from(["accept", "cookie", "origin", "content-type", "content-length"])
requests = st.builds(
    AdminRequest,
    method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "QUERY", "geT"]),
    path=st.builds("/__leaks__{}{}".format, addresses, anything),
    query=st.builds("{}{}".format, queries, anything),
    headers=st.dictionaries(names, anything),
    prefix=anything,
)


@given(request=requests)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_can_be_sent_breaks_it(
    admin: Service, admin_settings: Settings, request: AdminRequest
) -> None:
    """Any text anywhere gets a decent answer, and one that servers can send."""
    headers = {"authorization": f"Bearer {admin_settings.token}", **request.headers}

    response = admin.handle(replace(request, headers=headers))

    if response is not None:
        assert response.status in {200, 201, 204, 303, 400, 403, 404, 405, 413, 415, 429}
        for name, value in response.headers:
            assert f"{name}{value}".isascii()
            assert f"{name}{value}".isprintable()


@given(credential=anything, cookie=anything, query=anything)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_guess_opens_it(admin: Service, credential: str, cookie: str, query: str) -> None:
    """Whatever text is offered as a token, wherever, it stays shut and does not break."""
    headers = {"authorization": f"Bearer {credential}", "cookie": f"leakmw={cookie}"}
    request = AdminRequest("GET", "/__leaks__/", f"token={query}", headers)

    assert admin.handle(request) is None
