"""Profiles hold just what the records hold, and readers of three formats understand them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.records import Frame, Live, Profile, SnapshotError, Worker
from leakmw.report.flames import collapsed, listing, speedscope
from leakmw.report.pprof import pprof
from leakmw.report.routes import attributes
from leakmw.report.stacks import MAX_STACKS, Stacks, alive, name
from leakmw.report.terminal import printable
from leakmw.report.wire import integer, integers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import ShopMonitor

    from leakmw.admin.messages import AdminResponse

    Ask = Callable[..., AdminResponse]

MOMENT = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADDRESSES = ("/debug/pprof/heap", "/debug/pprof/allocs")

# a reader of its own: what wrote it must not read it


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field: an integer or bytes."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        value: Any
        value, at = varint(message, at)
        if tag & 7 == 2:
            value, at = message[at : at + value], at + value
        else:
            assert tag & 7 == 0
        yield tag >> 3, value


def varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    number = shift = 0
    while message[at] & 0x80:
        number |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | message[at] << shift, at + 1


def numbers(packed: bytes) -> list[int]:
    """Return packed integers."""
    found, at = [], 0
    while at < len(packed):
        number, at = varint(packed, at)
        found.append(number)
    return found


class Read(NamedTuple):
    """A profile as a reader has it.

    Attributes:
        types: Kinds and units of the values of a sample.
        period: Its kind, unit and number.
        default: The kind shown first.
        samples: Frames, innermost first, each with function, file and line; values; labels.
        comments: Its comments.
        nanos: When it was taken, and the time that it is of.
    """

    types: list[tuple[str, str]]
    period: tuple[str, str, int]
    default: str
    samples: list[tuple[tuple[tuple[str, str, int], ...], list[int], dict[str, str]]]
    comments: list[str]
    nanos: tuple[int, int]


def read(profile: bytes) -> Read:
    """Read a profile."""
    parts: dict[int, list[Any]] = {}
    for field, value in fields(gzip.decompress(profile)):
        parts.setdefault(field, []).append(value)
    texts = [text.decode() for text in parts[6]]
    assert texts[0] == ""
    assert len(set(texts)) == len(texts)
    functions = {one[1]: one for one in map(dict, map(fields, parts.get(5, [])))}
    locations = {one[1]: one for one in map(dict, map(fields, parts.get(4, [])))}
    mappings = {dict(fields(one))[1] for one in parts[3]}
    assert 0 not in functions
    assert 0 not in locations

    def place(number: int) -> tuple[str, str, int]:
        assert locations[number][2] in mappings
        line = dict(fields(locations[number][4]))
        function = functions[line[1]]
        return texts[function[2]], texts[function.get(4, 0)], line.get(2, 0)

    def kind(message: bytes) -> tuple[str, str]:
        known = dict(fields(message))
        return texts[known[1]], texts[known[2]]

    samples = []
    for sample in parts.get(2, []):
        of: dict[int, list[Any]] = {}
        for field, value in fields(sample):
            of.setdefault(field, []).append(value)
        labels = [dict(fields(label)) for label in of.get(3, [])]
        samples.append(
            (
                tuple(map(place, numbers(of[1][0]))),
                numbers(of[2][0]),
                {texts[label[1]]: texts[label.get(2, 0)] for label in labels},
            )
        )
    return Read(
        types=list(map(kind, parts[1])),
        period=(*kind(parts[11][0]), parts[12][0]),
        default=texts[parts[14][0]],
        samples=samples,
        comments=[texts[at] for at in numbers(parts[13][0])],
        nanos=(parts[9][0], parts.get(10, [0])[0]),
    )


_FRAMES = st.builds(
    Frame,
    st.text(),
    st.integers(0, 2**31),
    st.none() | st.text(min_size=1),
)
_ENDPOINTS = st.none() | st.text() | st.sampled_from(["GET /a", "WS /a", "(background)"])
_ROWS = st.builds(
    Live,
    _ENDPOINTS,
    st.lists(_FRAMES, min_size=1, max_size=5).map(tuple),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
)


def _stacks(rows: Any, **given: Any) -> Stacks:
    known = {"taken_at": MOMENT, "seconds": None, "sample_bytes": None, "workers": 1}
    return Stacks(**{**known, "rows": tuple(rows), "left_out": 0, **given})


@given(st.lists(_ROWS, max_size=8))
def test_a_profile_holds_what_was_written(rows: list[Live]) -> None:
    """Whatever functions, files and endpoints are called: each sample, frame and label."""
    profile = read(pprof(_stacks(rows)))

    assert profile.types == [("inuse_objects", "count"), ("inuse_space", "bytes")]
    assert profile.default == "inuse_space"
    assert profile.samples == [
        (
            tuple(
                (name(frame), printable(frame.file), frame.line) for frame in row.traceback[::-1]
            ),
            [row.blocks, row.bytes],
            {
                key: printable(value)
                for key, value in (
                    attributes(row.endpoint) if row.endpoint is not None else {}
                ).items()
            },
        )
        for row in rows
    ]


@given(st.integers(-(2**63), 2**64 - 1), st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_integers_are_read_as_they_were_written(number: int, packed: list[int]) -> None:
    """Negative ones as their complement in 64 bits; 0 is what is not there."""
    written = dict(fields(integer(3, number)))
    several = dict(fields(integers(4, packed)))

    assert written.get(3, 0) == number % 2**64
    assert numbers(several[4]) == packed


def test_the_period_is_the_samplers(shop_monitor: ShopMonitor) -> None:
    """Of several workers the mean; 1 where every block was counted."""
    (profile,) = shop_monitor.live
    sampled = [replace(profile, sample_bytes=size) for size in (65_536, 131_072)]

    assert read(pprof(alive(sampled))).period == ("space", "bytes", 98_304)
    assert read(pprof(alive([profile]))).period == ("space", "bytes", 1)


def test_workers_are_added_up(ask: Ask, shop_monitor: ShopMonitor) -> None:
    """The same traceback under the same endpoint is one sample; another endpoint's is not."""
    (profile,) = shop_monitor.live
    (row,) = profile.rows
    other = Live("WS /live", row.traceback, 10, 1)
    second = Worker(host="web-1", pid=72, started_at=MOMENT)
    shop_monitor.live = (profile, replace(profile, worker=second, rows=(row, other)))
    found = read(ask("GET", "/debug/pprof/heap").body)

    assert [(values, labels) for _, values, labels in found.samples] == [
        ([16_000, 8_000_000], {"http.route": "/login", "http.request.method": "POST"}),
        (
            [1, 10],
            {
                "http.route": "/live",
                "http.request.method": "GET",
                "network.protocol.name": "websocket",
            },
        ),
    ]
    assert found.samples[0][0][0] == ("uuid4", "uuid.py", 726)
    assert found.comments == ["leakmw", "live memory of 2 worker(s)"]


def test_there_is_a_cap_on_tracebacks() -> None:
    """Those with fewest bytes are left out, and how many is said."""
    worker = Worker(host="web-1", pid=72, started_at=MOMENT)
    rows = tuple(Live(None, (Frame("a.py", at),), at, 1) for at in range(MAX_STACKS + 3))
    profile = Profile(worker=worker, snapshot="1", taken_at=MOMENT, sample_bytes=None, rows=rows)
    stacks = alive([profile])

    assert (len(stacks.rows), stacks.left_out) == (MAX_STACKS, 3)
    assert stacks.rows[-1].bytes == 3
    assert "3 tracebacks with fewest bytes are left out" in read(pprof(stacks)).comments


@pytest.mark.parametrize("address", ADDRESSES)
def test_both_addresses_of_go_answer(ask: Ask, address: str) -> None:
    """With the same: nobody knows what was freed again, so nothing is said of it."""
    response = ask("GET", address)
    headers = dict(response.headers)

    assert response.status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].endswith('.pb.gz"')
    assert read(response.body).nanos == (int(MOMENT.timestamp() * 1e9), 0)
    assert response.body == ask("GET", address, query="gc=1&debug=0").body


def test_growth_is_against_the_snapshot_of_so_long_ago(
    ask: Ask, shop_monitor: ShopMonitor
) -> None:
    """Of the latest one that is old enough, or else of the oldest; the span is told."""
    for seconds, nanos in ((1, 10**9), (2, 2 * 10**9), (600, 2 * 10**9)):
        found = read(ask("GET", "/debug/pprof/heap", query=f"seconds={seconds}").body)
        assert found.nanos == (int(MOMENT.timestamp() * 1e9) + 3 * 10**9, nanos)
        ((frames, values, labels),) = found.samples
        assert frames[1] == ("login", "shop/views.py", 42)
        assert values == [12_036, 4_508_876]
        assert labels["http.route"] == "/login"


def test_what_shrinks_is_no_growth(ask: Ask, shop_monitor: ShopMonitor) -> None:
    """A profile of growth has no negative values, and one of nothing is still one."""
    growing = shop_monitor.diff("000000000001", "000000000003")
    shrinking = replace(growing.sites[0], bytes=-5)
    diff = replace(growing, sites=(shrinking, replace(shrinking, bytes=5, blocks=None)))
    shop_monitor.diff = lambda *_: diff  # type: ignore[method-assign]  # a made-up answer

    found = read(ask("GET", "/debug/pprof/heap", query="seconds=1").body)
    assert [values for _, values, _ in found.samples] == [[0, 5]]


def test_before_there_is_anything_it_says_so(ask: Ask, shop_monitor: ShopMonitor) -> None:
    """No empty profile passes for a process without memory."""
    shop_monitor.live, shop_monitor.kept = (), shop_monitor.kept[:1]

    for path, query in (
        ("/debug/pprof/heap", ""),
        ("/debug/pprof/heap", "seconds=5"),
        ("/api/profile", ""),
    ):
        response = ask("GET", path, query=query)
        assert (response.status, json.loads(response.body)["error"]["code"]) == (404, "no_profile")


def test_what_cannot_be_compared_is_said(ask: Ask, shop_monitor: ShopMonitor) -> None:
    """As where two snapshots are asked for by their ids."""
    shop_monitor.refusal = SnapshotError("another engine")

    assert ask("GET", "/debug/pprof/heap", query="seconds=1").status == 409


def test_what_cannot_be_had_now_is_said(ask: Ask, shop_monitor: ShopMonitor) -> None:
    """With the reason."""
    shop_monitor.refusal = SnapshotError("the store is locked")
    response = ask("GET", "/debug/pprof/heap")

    assert response.status == 503
    assert b"the store is locked" in response.body


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/debug/pprof/heap", "debug=2", "debug"),
        ("/debug/pprof/heap", "debug=", "debug"),
        ("/debug/pprof/heap", "debug=0&debug=1", "debug"),
        ("/debug/pprof/allocs", "gc=yes", "gc"),
        ("/debug/pprof/heap", "seconds=0", "seconds"),
        ("/debug/pprof/heap", "seconds=-5", "seconds"),
        ("/debug/pprof/heap", "seconds=1.5", "seconds"),
        ("/debug/pprof/heap", "seconds=", "seconds"),
        ("/debug/pprof/heap", "seconds=%D9%A1", "seconds"),
        ("/debug/pprof/heap", f"seconds={'9' * 5000}", "seconds"),
        ("/debug/pprof/heap", "seconds=1&seconds=2", "seconds"),
        ("/api/profile", "format=svg", "format"),
        ("/api/profile", "format=collapsed&seconds=x", "seconds"),
    ],
)
def test_a_wrong_parameter_is_named(ask: Ask, path: str, query: str, parameter: str) -> None:
    """With what it may be; the value is not repeated."""
    response = ask("GET", path, query=query)

    assert response.status == 400
    assert f"'{parameter}' is" in json.loads(response.body)["error"]["message"]


def test_the_index_names_what_there_is(ask: Ask) -> None:
    """As Go's does, without a parameter that takes long."""
    index = ask("GET", "/debug/pprof/").body.decode()

    for address in ADDRESSES:
        assert f"\n{address.rpartition('/')[2]}\t" in index
    assert dict(ask("GET", "/debug/pprof").headers)["Location"] == "./pprof/"


def test_the_text_is_read_like_gos(ask: Ask) -> None:
    """Totals first, then each traceback, innermost frame first."""
    lines = ask("GET", "/debug/pprof/heap", query="debug=1").body.decode().split("\n")

    assert lines[0] == "heap profile: 8000: 4000000 @ heap/1"
    assert lines[3] == "8000: 4000000 POST /login"
    assert lines[4:6] == ["#\tuuid4\tuuid.py:726", "#\tlogin\tshop/views.py:42"]


def test_speedscope_gets_bytes_and_objects(ask: Ask) -> None:
    """The outermost frame is the endpoint, and the weights are what is alive."""
    shown = json.loads(ask("GET", "/api/profile").body)
    size, objects = shown["profiles"]
    called = [frame["name"] for frame in shown["shared"]["frames"]]

    assert shown["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert (size["unit"], size["weights"], size["endValue"]) == ("bytes", [4_000_000], 4_000_000)
    assert (objects["unit"], objects["weights"]) == ("none", [8_000])
    assert [called[at] for at in size["samples"][0]] == [
        "POST /login",
        "Flask.wsgi_app",
        "Flask.dispatch_request",
        "limited",
        "login",
        "uuid4",
    ]
    assert shown["shared"]["frames"][4] == {"name": "login", "file": "shop/views.py", "line": 42}


def test_collapsed_stacks_are_one_a_line(ask: Ask) -> None:
    """The endpoint first, bytes last."""
    response = ask("GET", "/api/profile", query="format=collapsed")

    assert response.body.decode() == (
        "POST /login;Flask.wsgi_app (flask/app.py:1511);Flask.dispatch_request (flask/app.py:902);"
        "limited (shop/limits.py:17);login (shop/views.py:42);uuid4 (uuid.py:726) 4000000\n"
    )


@given(st.lists(_ROWS, max_size=8))
def test_no_name_breaks_a_flame_graph(rows: list[Live]) -> None:
    """Whatever is called what: no frame or line more than there is, no byte lost."""
    stacks = _stacks(rows)
    lines = collapsed(stacks).splitlines()
    shown = speedscope(stacks)
    frames = len(shown["shared"]["frames"])

    assert [line.rpartition(" ")[2] for line in lines] == [str(row.bytes) for row in rows]
    assert [line.count(";") for line in lines] == [len(row.traceback) for row in rows]
    assert [len(sample) for sample in shown["profiles"][0]["samples"]] == [
        len(row.traceback) + 1 for row in rows
    ]
    assert all(at < frames for sample in shown["profiles"][0]["samples"] for at in sample)
    heads = Counter(line[:1] for line in listing(stacks).split("\n"))
    assert heads["#"] == 1 + sum(len(row.traceback) for row in rows)
    json.dumps(shown).encode()


def test_pprof_can_be_had_by_the_api_too(ask: Ask) -> None:
    """The three formats are of the same memory."""
    wanted = ask("GET", "/api/profile", query="format=pprof").body

    assert wanted == ask("GET", "/debug/pprof/heap").body
