"""Where the code of a view stands, so that a traceback can be told to run through it."""

from __future__ import annotations

import functools
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING

from leakmw.records import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_WRAPPERS = 20
"""Decorators followed inward from a view."""

MAX_SPANS = 32
"""Functions of a class-based view that are looked at."""


def spans(view: object) -> tuple[Span, ...]:
    """Return the lines of *view* and of what it wraps; empty where there is no Python code.

    Args:
        view: A function, method, partial, class-based view, or callable object.
    """
    found = dict.fromkeys(_span(code) for code in _codes(view))
    return tuple(found)[:MAX_SPANS]


def _codes(view: object) -> Iterator[CodeType]:
    for _ in range(MAX_WRAPPERS):
        if isinstance(view, functools.partial):
            view = view.func
            continue
        if isinstance(view, MethodType):
            view = view.__func__
        if isinstance(view, FunctionType):
            yield view.__code__
        else:
            yield from _class_codes(view if isinstance(view, type) else type(view))
        # Flask and Django keep the class of a class-based view on the function that stands for it
        attributes = getattr(view, "__dict__", {})
        view = attributes.get("view_class") or attributes.get("__wrapped__")
        if view is None:
            return


def _class_codes(cls: type) -> Iterator[CodeType]:
    for base in cls.__mro__[:-1]:
        for member in vars(base).values():
            function = getattr(member, "__func__", member)
            if isinstance(function, FunctionType):
                yield function.__code__


def _span(code: CodeType) -> Span:
    return Span(code.co_filename, code.co_firstlineno, _last_line(code))


def _last_line(code: CodeType) -> int:
    lines = [line for _, _, line in code.co_lines() if line is not None]
    nested = [_last_line(inner) for inner in code.co_consts if isinstance(inner, CodeType)]
    return max([code.co_firstlineno, *lines, *nested])
