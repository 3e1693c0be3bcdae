"""A function without columns keeps the line of each instruction."""

from __future__ import annotations

import asyncio
import json
import traceback
from types import CodeType, FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmw.asgi import LeakMiddleware as AsgiFace
from leakmw.visits.columns import without_columns
from leakmw.wsgi import LeakMiddleware as WsgiFace


def lines_of(code: CodeType) -> list[int | None]:
    """Return the line of each code unit."""
    return [line for line, *_ in code.co_positions()]


def columns_of(code: CodeType) -> set[int | None]:
    """Return all columns that code units say, and ``None`` for those that say none."""
    return {column for _, _, *columns in code.co_positions() for column in columns}


@pytest.mark.parametrize(
    "function", [json.JSONDecoder.decode, traceback.format_exc, asyncio.gather]
)
def test_a_function_keeps_the_line_of_each_instruction_and_no_column(
    function: FunctionType,
) -> None:
    """Lines are what reports are about."""
    code = function.__code__

    short = without_columns(FunctionType(code, {})).__code__

    assert lines_of(short) == lines_of(code)
    assert columns_of(short) == {None}
    assert len(short.co_linetable) < len(code.co_linetable)


@given(gaps=st.lists(st.integers(0, 5000), min_size=1, max_size=8))
def test_lines_however_far_apart_are_kept(gaps: list[int]) -> None:
    """How far a line is from the last one takes one byte or several."""
    source = "".join("\n" * gap + f"    a{number} = 1\n" for number, gap in enumerate(gaps))
    names: dict[str, FunctionType] = {}
    exec("def function(flag):\n  if flag:\n" + source, names)  # noqa: S102
    before = lines_of(names["function"].__code__)

    assert lines_of(without_columns(names["function"]).__code__) == before


def test_a_function_does_what_it_did() -> None:
    """Also where it raises, and its traceback still shows the line."""

    @without_columns
    def half(number: Any) -> Any:
        try:
            return number / 2
        finally:
            number = 0

    assert half(4) == 2
    with pytest.raises(TypeError) as raised:
        half("four")
    assert "return number / 2" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("face", [WsgiFace, AsgiFace])
def test_the_frame_below_the_app_has_none(face: type) -> None:
    """It is looked up for each of the app's allocations."""
    assert columns_of(vars(face)["__call__"].__code__) == {None}
