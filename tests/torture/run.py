"""CPython's own tests with every allocation under the hook: they must end as they do without.

python tests/torture/run.py [--interval 256] [--modules test_list ...] [--under "valgrind -q"]

Runs the test modules of the Python that runs this script with the hook, and those that do not pass
without it, too. Exit status 1 if a module ends worse with it. What a module needs beyond Python is
the same in both runs. ``PYTHONMALLOC=debug`` and the like are passed on.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODULES = """
test_abc test_array test_ast test_asyncio.test_events test_asyncio.test_futures
test_asyncio.test_locks test_asyncio.test_queues test_asyncio.test_streams
test_asyncio.test_tasks test_asyncgen test_bigmem test_binascii test_bool test_buffer
test_builtin test_bytes test_call test_class test_codecs test_collections test_compile
test_complex test_context test_contextlib test_copy test_coroutines test_csv test_ctypes
test_dataclasses test_decimal test_deque test_descr test_dict test_dictviews test_dis
test_dynamic test_enum test_enumerate test_exceptions test_exception_group test_extcall
test_fork1 test_format test_frame test_frozenset test_fstring test_functools test_gc
test_generators test_genexps test_grammar test_hash test_heapq test_index test_io test_iter
test_itertools test_json test_list test_listcomps test_long test_lltrace test_math
test_memoryview test_operator test_ordered_dict test_patma test_pickle test_pickletools
test_queue test_range test_re test_richcmp test_scope test_set test_slice test_sort
test_sqlite3 test_str test_struct test_struct_fields test_subclassinit test_super test_sys
test_syntax test_thread test_threading test_traceback test_tracemalloc test_tuple
test_type_annotations test_types test_typing test_unicodedata test_userdict test_userlist
test_weakref test_weakset test_with test_xml_etree_c test_yield_from test_zlib
""".split()  # noqa: SIM905  # a hundred names read better so
"""Modules of the standard library's tests that allocate in every way there is."""

ENDLESS = ("test_print_exception_gh_102056",)
"""Tests that may never end on a busy machine, without the hook as well."""

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"
SET_CHILD_SUBREAPER = 36
"""Of prctl(2)."""

ENDED = re.compile(r"\[ *\d+/\d+(?:/\d+)?\] (\S+) (.+?)(?: \(.*| -- .*)?$", re.MULTILINE)


def say(text: str) -> None:
    """Print at once: this takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def adopt() -> None:
    """Become the parent of what tests leave running, as far as the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all() -> None:
    """End what tests have left running: it would slow down whatever comes after."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left)


def ends(
    modules: Sequence[str], environment: Mapping[str, str], under: Sequence[str]
) -> Mapping[str, str]:
    """Return how each module ends, as regrtest says it."""
    ignored = [part for test in ENDLESS for part in ("--ignore", test)]
    options = ["-j2", "--timeout", "1800", *ignored, *modules]
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile("w+", errors="replace") as output,
    ):
        # no pipe: what a test leaves running would hold its other end
        subprocess.run(
            [*under, sys.executable, "-m", "test", *options],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        end_all()
        output.seek(0)
        found = dict(ENDED.findall(output.read()))
    for module, end in found.items():
        if end != "passed" and "skipped" not in end:
            say(f"  {module} {end}")
    return found


def available(modules: Sequence[str]) -> list[str]:
    """Return those of *modules* that this Python has."""
    tests = Path(sysconfig.get_path("stdlib"), "test")

    def there(module: str) -> bool:
        path = tests.joinpath(*module.split("."))
        return path.is_dir() or path.with_suffix(".py").exists()

    return [module for module in modules if there(module)]


def main() -> int:
    """Run them and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interval", type=float, default=256)
    parser.add_argument("--modules", nargs="*", default=MODULES)
    parser.add_argument(
        "--under", type=shlex.split, default=[], help="a command to run them under"
    )
    options = parser.parse_args()
    modules = available(options.modules)
    adopt()
    installed = find_spec("leakmw")
    source = Path(str(installed.origin)).parent.parent if installed else SOURCE
    path = os.pathsep.join([str(HERE), str(source)])
    say(f"{sys.version.split()[0]}, {len(modules)} modules, with the hook")
    hooked = {"PYTHONPATH": path, "LEAKMW_TORTURE": str(options.interval)}
    with_it = ends(modules, hooked, options.under)
    doubtful = [module for module in modules if with_it.get(module) != "passed"]
    without: Mapping[str, str] = {}
    if doubtful:
        say("and without it")
        without = ends(doubtful, {}, options.under)
    worse = [module for module in doubtful if without.get(module) == "passed"]
    passed = sum(end == "passed" for end in with_it.values())
    say(f"{passed} of {len(modules)} passed with it; ended worse: {', '.join(worse) or 'none'}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
