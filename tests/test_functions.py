"""The function around a line, told from the source alone."""

from __future__ import annotations

import ast
import asyncio.base_events
import inspect
import json.decoder
import logging
import os
import pydoc
import reprlib
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leakmw.records import Frame
from leakmw.tracers.functions import described, function

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

MODULES = [ast, asyncio.base_events, inspect, json.decoder, logging, os, pydoc, reprlib, textwrap]


def statements(node: ast.AST, names: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """Yield each plain statement's line with the dotted name of what it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS):
            yield from statements(child, (*names, child.name))
            continue
        docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if isinstance(child, ast.stmt) and not docstring:
            yield child.lineno, ".".join(names) or "<module>"
        yield from statements(child, names)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_it_agrees_with_the_parser(module: ModuleType) -> None:
    """On every statement of large modules that nobody wrote for this test."""
    file = str(module.__file__)
    text = Path(file).read_text(encoding="utf-8")
    lines = text.splitlines()
    wanted = {
        line: name
        for line, name in statements(ast.parse(text))
        if not lines[line - 1].lstrip().startswith(("def ", "class ", "async def "))
    }
    found = {line: function(Frame(file, line)) for line in wanted}

    assert found == wanted


SHOP = '''\
import os


class Cart:
    total = sum([1])

    def add(
        self,
        item,
    ):
        query = """
select 1
    def not_a_function():
"""
        async def later():
            await item

        return query


for name in os.environ:
    Cart()

def short(): return []
'''


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (1, "<module>"),
        (5, "Cart"),
        (11, "Cart.add"),
        (16, "Cart.add.later"),
        (18, "Cart.add"),
        (21, "<module>"),
        (22, "<module>"),
        (24, "short"),
        (13, None),
        (10, None),
        (99, None),
        (0, None),
    ],
)
def test_a_line_belongs_to_the_innermost_function(
    tmp_path: Path, line: int, name: str | None
) -> None:
    """Signatures over many lines, text in strings and blocks of the module do not mislead it."""
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    assert function(Frame(str(file), line)) == name


@pytest.mark.parametrize("file", ["<string>", "<frozen importlib._bootstrap>", "/no/such/file.py"])
def test_where_there_is_no_source_there_is_no_name(file: str) -> None:
    """It is absent, not guessed."""
    assert function(Frame(file, 1)) is None


def test_a_file_that_is_no_source_has_no_names(tmp_path: Path) -> None:
    """Also one with a broken encoding."""
    file = tmp_path / "noise.py"
    file.write_bytes(b"# coding: utf-8\n\xff\xfe\x00")
    assert function(Frame(str(file), 2)) is None


def test_generated_code_has_no_name() -> None:
    """What it is called may be a value of the app; one is told from another all the same."""
    names = ("<page alice>", "<page bob>", "<string>", "<frozen runpy>")
    alice, bob, *pythons = described(tuple(Frame(name, 1, "given") for name in names))
    assert alice.file.startswith("<generated ")
    assert bob.file.startswith("<generated ")
    assert alice.file != bob.file
    assert "alice" not in alice.file
    assert (alice.function, bob.function) == (None, None)
    assert [(frame.file, frame.function) for frame in pythons] == [
        ("<string>", "given"),
        ("<frozen runpy>", "given"),
    ]


def test_files_are_called_as_imports_call_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the folder that they are imported from; what lies elsewhere keeps its path."""
    monkeypatch.setattr(sys, "path", ["/srv/shop", "/srv/shop/vendor"])
    traceback = (
        Frame("/srv/shop/shop/views.py", 4),
        Frame("/srv/shop/vendor/lib/core.py", 2),
        Frame("/elsewhere/x.py", 1, "given"),
    )
    files = [(frame.file, frame.function) for frame in described(traceback)]
    assert files == [
        ("shop/views.py", None),
        ("lib/core.py", None),
        ("/elsewhere/x.py", "given"),
    ]
