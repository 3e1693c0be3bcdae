"""What objects are called, by names that stand in somebody's source.

A name that was made at run time may be a value of the app: it is shown as ``…``.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from leakmw.heap.objects import attributes_of, full_name, is_a, module_of, short_name
from leakmw.heap.roots import namespace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Shorten = Callable[[str], str]

UNTOLD = "…"

SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)
CALLABLES = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)

_FRAME_OF = {
    GeneratorType: ("generator", GeneratorType.gi_code.__get__),
    CoroutineType: ("coroutine", CoroutineType.cr_code.__get__),
    AsyncGeneratorType: ("async generator", AsyncGeneratorType.ag_code.__get__),
}

MOST_AWAITED = 16
"""Coroutines within one another that are followed to what a task waits for."""

code_of = FunctionType.__code__.__get__  # type: ignore[attr-defined]  # of type, not of the app


class Names:
    """Tells names that stand in source code from those that were made at run time.

    Args:
        functions: Those of the process.

        shorten: Shortens the name of a file.
    """

    def __init__(self, functions: Iterable[FunctionType], shorten: Shorten) -> None:
        self._written: set[str] = set()
        self._shorten = shorten
        seen: set[int] = set()
        for function in functions:
            self._read(code_of(function), seen)

    def _read(self, code: CodeType, seen: set[int]) -> None:
        waiting = [code]
        while waiting:
            one = waiting.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            self._written.update(one.co_qualname.split("."))
            self._written.update(one.co_names, one.co_varnames, one.co_freevars, one.co_cellvars)
            for constant in one.co_consts:
                if type(constant) is CodeType:
                    waiting.append(constant)
                elif type(constant) is str:
                    self._written.add(constant)
                elif type(constant) is tuple:  # the names of keyword arguments
                    self._written.update(word for word in constant if type(word) is str)

    def shown(self, name: object) -> str:
        """Return a name if it is one of the source's."""
        if type(name) is not str or not name.isidentifier():
            return UNTOLD
        return name if name in self._written or name.startswith("__") else UNTOLD

    def of_type(self, kind: type) -> str:
        """Return the short name of a class."""
        name = short_name(kind)
        return name if _is_public(kind, name) else self.shown(name)

    def of_class(self, kind: type) -> str:
        """Return the name of a class with its module."""
        return full_name(kind) if self.of_type(kind) != UNTOLD else f"a class {UNTOLD}"

    def of_code(self, code: CodeType) -> str:
        """Return the name of a function and its place."""
        name = code.co_qualname.replace(".<locals>", "").replace("<lambda>", "lambda")
        called = name if name.endswith("lambda") else f"{name}()"
        return f"{called} at {self._shorten(code.co_filename)}:{code.co_firstlineno}"

    def of_function(self, function: Any) -> str:
        """Return the name of a function and its place."""
        return self.of_code(code_of(function))

    def of_cache(self, cached: Any) -> str:
        """Return what a cache by ``functools`` is a cache of."""
        function = (attributes_of(cached) or {}).get("__wrapped__")
        if is_a(function, FunctionType):
            return f"lru_cache of {self.of_function(function)}"
        return "lru_cache"

    def of_suspended(self, thing: Any) -> str:
        """Return which generator or coroutine it is."""
        word, code = _FRAME_OF[type(thing)]
        return f"{word} {self.of_code(code(thing))}"

    def of_task(self, task: Any) -> str:
        """Return which task it is and what it waits for."""
        coroutine = asyncio.Task.get_coro(task)
        if type(coroutine) is not CoroutineType:
            return "task"
        said = f"task {self.of_code(coroutine.cr_code)}"
        innermost = coroutine
        for _ in range(MOST_AWAITED):
            awaited = innermost.cr_await
            if type(awaited) is not CoroutineType:
                break
            innermost = awaited
        if innermost is coroutine:
            return said
        return f"{said}, awaiting {innermost.cr_code.co_qualname}"


def _is_public(kind: type, name: str) -> bool:
    """Say whether a class is what its module has under its name."""
    module = sys.modules.get(module_of(kind))
    return is_a(module, ModuleType) and namespace_of(module).get(name) is kind
