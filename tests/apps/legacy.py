"""An extension whose type has a finalizer of before PEP 442: built, and loaded."""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def built(folder: Path, source: Path = SOURCE) -> Path:
    """Build it, or another source, in a folder and return that; skip the test where that fails."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    include = sysconfig.get_path("include")
    flags = ["-shared", "-fPIC", f"-I{include}", str(source), "-o", f"{source.stem}.so"]
    try:
        done = subprocess.run(
            [*compiler, *flags], cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError as error:
        pytest.skip(f"no C compiler: {error.strerror}")
    if done.returncode:
        pytest.skip(f"no headers or no compiler that works: {done.stderr[:200]}")
    return folder


def loaded(folder: str) -> Any:
    """Load it from its folder."""
    spec = importlib.util.spec_from_file_location("legacy", f"{folder}/legacy.so")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
