"""What objects are called, by names that stand in somebody's source.

A name that was made at run time may be a value of the app: it is shown as ``…``.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from importlib.machinery import EXTENSION_SUFFIXES
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

from leakmw.heap.objects import (
    NAME_LIMIT,
    attributes_of,
    full_name,
    is_a,
    is_immutable,
    members_of,
    module_of,
    qualified_name,
)
from leakmw.heap.roots import namespace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Shorten = Callable[[str], str]

UNTOLD = "…"
UNTOLD_CLASS = f"a class {UNTOLD}"

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


LOCALS = "<locals>"
LAMBDA = "<lambda>"

_PYTHONS = {"__main__"}.union(*(dir(kind) for kind in (type, ModuleType, FunctionType)))
"""Names with underscores around them that are Python's own."""


class Names:
    """Tells names that stand in source code from those that were made at run time.

    Args:
        functions: Those of the process, or of the part that is spoken of.

        shorten: Shortens the name of a file.
    """

    def __init__(self, functions: Iterable[FunctionType], shorten: Shorten = str) -> None:
        self._written: set[str] = set(_PYTHONS)
        self._shorten = shorten
        self._classes: dict[int, tuple[type, str]] = {}  # a class that lives keeps its id
        seen: set[int] = set()
        for function in functions:
            self._read(code_of(function), seen)

    def _read(self, code: CodeType, seen: set[int]) -> None:
        waiting = [code]
        while waiting:
            one = waiting.pop()
            if id(one) in seen or is_generated(one):
                continue
            seen.add(id(one))
            self._written.update(one.co_qualname.split("."))
            self._written.update(one.co_names, one.co_varnames, one.co_freevars, one.co_cellvars)
            for constant in one.co_consts:
                if type(constant) is CodeType:
                    waiting.append(constant)
                elif type(constant) is str:
                    self._written.add(constant)
                elif type(constant) in {tuple, frozenset}:  # the names of keyword arguments, say
                    self._written.update(word for word in constant if type(word) is str)

    def shown(self, name: object) -> str:
        """Return a name if it is one of the source's."""
        return name if type(name) is str and name.isidentifier() and self._has(name) else UNTOLD

    def _has(self, name: str) -> bool:
        return name in self._written

    def of_type(self, kind: type) -> str:
        """Return the short name of a class."""
        name = self._of_class(kind)
        return UNTOLD if name == UNTOLD_CLASS else name.rpartition(".")[2]

    def of_class(self, kind: type) -> str:
        """Return the name of a class with its module, without that where it is a builtin."""
        return self._of_class(kind)[:NAME_LIMIT]

    def _of_class(self, kind: type) -> str:
        known = self._classes.get(id(kind))
        if known is None:
            known = self._classes[id(kind)] = kind, self._named(kind)
        return known[1]

    def _named(self, kind: type) -> str:
        if is_immutable(kind) or _is_libraries(kind):
            return full_name(kind)
        *outer, name = qualified_name(kind).split(".")
        if self.shown(name) == UNTOLD:
            return UNTOLD_CLASS
        parts = [one if one == LOCALS else self.shown(one) for one in outer]
        module = module_of(kind)
        where = [self.of_module(module)] if module not in {"", "builtins"} else []
        return ".".join([*where, *parts, name])

    def of_module(self, name: object) -> str:
        """Return the name of a module as far as its file or somebody's code has it."""
        if type(name) is not str:
            return UNTOLD
        if name.partition(".")[0] in sys.stdlib_module_names:
            return name
        files = _parts_of_file(sys.modules.get(name))
        return ".".join(
            part if part in files or self._has(part) else UNTOLD for part in name.split(".")
        )

    def of_code(self, code: CodeType) -> str:
        """Return the name of a function and its place."""
        name = self.of_qualified(code).replace(f".{LOCALS}", "").replace(LAMBDA, "lambda")
        called = name if name.endswith("lambda") else f"{name}()"
        return f"{called} at {self._shorten(code.co_filename)}:{code.co_firstlineno}"

    def of_qualified(self, code: CodeType) -> str:
        """Return the name of a function with what it is defined in."""
        if not is_generated(code):
            return code.co_qualname
        parts = code.co_qualname.split(".")
        return ".".join(one if one in {LOCALS, LAMBDA} else self.shown(one) for one in parts)

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
        return f"{said}, awaiting {self.of_qualified(innermost.cr_code)}"


def is_generated(code: CodeType) -> bool:
    """Say whether code was made at run time, so that its names may be values of the app."""
    file = code.co_filename
    return file.startswith("<") and not file.startswith("<frozen ")


def _is_libraries(kind: type) -> bool:
    """Say whether a class is what a module of Python's or one in C has under its name."""
    module = sys.modules.get(module_of(kind))
    if not is_a(module, ModuleType):
        return False
    namespace = namespace_of(module)
    if namespace.get(qualified_name(kind)) is not kind:
        return False
    if module_of(kind).partition(".")[0] in sys.stdlib_module_names:
        return True
    file = namespace.get("__file__")
    return type(file) is str and file.endswith(tuple(EXTENSION_SUFFIXES))


def _parts_of_file(module: object) -> frozenset[str]:
    """Return the names on the path of a module's file; nothing for one made at run time."""
    file = namespace_of(module).get("__file__") if is_a(module, ModuleType) else None
    return frozenset(re.split(r"[/\\.]", file)) if type(file) is str else frozenset()


def functions_near(kinds: Iterable[type]) -> Iterator[FunctionType]:
    """Yield the functions in the modules of some classes, methods too.

    For where all functions of the process would be too many to look at.
    """
    modules = {name: sys.modules.get(name) for name in {module_of(kind) for kind in kinds}}
    for module in modules.values():
        if is_a(module, ModuleType):
            for thing in tuple(namespace_of(module).values()):
                yield from _functions_in(thing)
    for kind in kinds:
        yield from _functions_in(kind)


def _functions_in(thing: object) -> Iterator[FunctionType]:
    members = members_of(thing).values() if is_a(thing, type) else (thing,)  # type: ignore[arg-type]
    for member in members:
        if type(member) is FunctionType:
            yield member
