"""Grouping of raw traces by the app's own frames, and whose a file is."""

from __future__ import annotations

import marshal
import os
import sysconfig
from pathlib import Path

import pytest
import starlette.routing
from hypothesis import given
from hypothesis import strategies as st

import leakmw.demo.shop
import leakmw.wsgi
from leakmw import monitor
from leakmw.records import Frame, Row
from leakmw.tracers.grouping import group
from leakmw.tracers.ownership import Ownership
from leakmw.tracers.transfer import keyed, pack, rows_of, unpack

SITE_PACKAGES = sysconfig.get_paths()["purelib"]


def installed(*names: str) -> str:
    """Return the path of a file of an installed package."""
    return str(Path(SITE_PACKAGES, *names))


FACE = (str(leakmw.wsgi.__file__), 90)
VIEW = ("/srv/shop/views.py", 10)
HELPER = ("/srv/shop/prices.py", 20)
LIBRARY = (installed("lib", "core.py"), 5)
SERVER = (installed("gunicorn", "sync.py"), 7)
MAIN = ("/srv/shop/main.py", 3)


def trace(
    size: int, *innermost_first: tuple[str, int], depth: int | None = None
) -> tuple[int, int, tuple[tuple[str, int], ...], int]:
    """Return a raw trace as tracemalloc gives it."""
    return 0, size, innermost_first, depth or len(innermost_first)


def test_library_frames_below_the_apps_own_line_are_one_origin() -> None:
    """The site is the app's innermost line, whatever the library did below it."""
    other = (LIBRARY[0], 99)
    grouped = group(
        [
            trace(10, LIBRARY, HELPER, VIEW, FACE, SERVER),
            trace(30, other, HELPER, VIEW, FACE, SERVER),
        ],
        Ownership(),
    )
    (found,) = grouped.groups
    assert found.path == (VIEW, HELPER)
    assert (found.bytes, found.blocks, found.in_visit) == (40, 2, True)
    assert found.traceback == (SERVER, FACE, VIEW, HELPER, other)


def test_frames_outside_the_face_are_the_servers() -> None:
    """The script that started the server is no site of what a visit allocates."""
    grouped = group([trace(10, LIBRARY, FACE, SERVER, MAIN)], Ownership())
    assert [found.path for found in grouped.groups] == [(LIBRARY,)]


def test_it_says_whether_a_visit_was_on_the_stack() -> None:
    """A traceback that was cut off says neither."""
    grouped = group(
        [trace(3, VIEW, FACE), trace(2, HELPER, MAIN), trace(1, MAIN, LIBRARY, depth=40)],
        Ownership(),
    )
    assert [found.in_visit for found in grouped.groups] == [True, False, None]


def test_what_leakmw_holds_is_left_out_and_added_up() -> None:
    """The demonstration is an app like any other, and a face is only passed through."""
    own = (str(monitor.__file__), 5)
    demo = (str(leakmw.demo.shop.__file__), 38)
    grouped = group(
        [trace(5, own, FACE), trace(7, LIBRARY, own), trace(9, demo, FACE)], Ownership()
    )
    assert grouped.own_bytes == 12
    assert [found.path for found in grouped.groups] == [(demo,)]


def test_what_may_be_the_keys_of_a_dict_is_told_apart() -> None:
    """They may have been handed on to others since."""
    grouped = group(
        [trace(64, VIEW, FACE), trace(120, VIEW, FACE), trace(120, VIEW, FACE)], Ownership()
    )
    assert [(found.bytes, found.blocks, found.recyclable) for found in grouped.groups] == [
        (240, 2, True),
        (64, 1, False),
    ]


def test_only_the_largest_origins_are_kept_and_that_is_said() -> None:
    """The table is bounded whatever code is made at run time."""
    traces = [trace(size, (f"/srv/shop/m{size}.py", 1)) for size in range(1, 11)]
    some, every = group(traces, Ownership(), cap=3), group(traces, Ownership(), cap=10)
    assert [found.bytes for found in some.groups] == [10, 9, 8]
    assert (some.complete, every.complete) == (False, True)


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/srv/shop/views.py", True),
        (installed("lib", "core.py"), False),
        ("/usr/lib/python3/dist-packages/lib/core.py", False),
        (os.__file__, False),
        ("<string>", False),
        ("<frozen importlib._bootstrap>", False),
        (str(monitor.__file__), False),
        (str(leakmw.demo.shop.__file__), True),
        (str(Path(sysconfig.get_paths()["scripts"], "gunicorn")), False),
    ],
)
def test_the_apps_own_files_are_known_by_where_they_lie(file: str, *, own: bool) -> None:
    """Not the standard library, not what is installed, not leakmw."""
    assert Ownership().own(file) is own


def test_an_app_that_is_installed_is_known_by_its_views() -> None:
    """Its whole package is its own; a framework's views make no app of the framework."""
    shop = Ownership(frozenset({installed("shop", "views.py")}))
    framework = Ownership(frozenset({str(starlette.routing.__file__)}))
    assert shop.own(installed("shop", "prices.py"))
    assert not shop.own(installed("shopping", "prices.py"))
    assert not framework.own(str(Path(str(starlette.routing.__file__)).parent / "staticfiles.py"))


FRAMES = st.tuples(st.sampled_from(["/a.py", "/b.py"]), st.integers(1, 3)).map(
    lambda raw: Frame(*raw)
)
TRACEBACKS = st.lists(FRAMES, min_size=1, max_size=3).map(tuple)
ROWS = st.lists(
    st.builds(
        Row,
        TRACEBACKS,
        st.integers(0, 1 << 40),
        st.integers(0, 1 << 30),
        TRACEBACKS,
        in_visit=st.sampled_from([None, False, True]),
        recyclable=st.booleans(),
    ),
    max_size=200,
    unique_by=lambda row: (row.path, row.in_visit, row.recyclable),
)


@given(ROWS, ROWS)
def test_rows_cross_the_pipe_whole(rows: list[Row], before: list[Row]) -> None:
    """Also those that were there before, changed or not; these are then the very same."""
    known = keyed(before)
    received = list(unpack(pack(rows, known), known))
    assert [(row.bytes, row.blocks) for row in received] == [(r.bytes, r.blocks) for r in rows]
    assert list(keyed(received)) == list(keyed(rows))
    assert all(row is keyed(before)[key] for key, row in keyed(received).items() if row in before)


def test_what_did_not_change_crosses_in_a_few_bytes() -> None:
    """A steady heap costs next to nothing to look at again."""
    groups = group([trace(8, (f"/srv/shop/m{n}.py", 1)) for n in range(500)], Ownership()).groups
    rows = rows_of(groups, {})
    whole, same = pack(rows, {}), pack(rows_of(groups, keyed(rows)), keyed(rows))
    assert sum(map(len, same)) < sum(map(len, whole)) / 5
    assert len(marshal.loads(same[0])) == len(marshal.loads(whole[0]))  # noqa: S302  # made here
