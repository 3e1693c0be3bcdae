"""The C sources beside this file: built, and loaded.

``legacy.c`` is an extension whose type has a finalizer of before PEP 442; ``unlocked.c`` a library
that allocates without the GIL.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest


def built(name: str, folder: Path) -> Path:
    """Build the source of that name in a folder and return what it is now; else skip the test."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    include = sysconfig.get_path("include")
    source, library = Path(__file__).with_name(f"{name}.c"), folder / f"{name}.so"
    flags = ["-shared", "-fPIC", f"-I{include}", str(source), "-o", str(library)]
    try:
        done = subprocess.run([*compiler, *flags], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no C compiler: {error.strerror}")
    if done.returncode:
        pytest.skip(f"no headers or no compiler that works: {done.stderr[:200]}")
    return library


def loaded(library: str) -> Any:
    """Load an extension that was built."""
    spec = importlib.util.spec_from_file_location(Path(library).stem, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
