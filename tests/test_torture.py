"""A part of CPython's own tests under the hook; ``tests/torture/run.py`` runs all of them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from leakmw.tracers import sampling

TORTURE = Path(__file__).parent / "torture" / "run.py"
TESTS = Path(sysconfig.get_path("stdlib"), "test", "test_list.py")
PART = ("test_context", "test_dict", "test_gc", "test_generators", "test_list", "test_weakref")

if sampling.unavailable() or not TESTS.exists():
    pytest.skip("the extension or Python's own tests are not there", allow_module_level=True)


def test_the_interpreters_own_tests_pass_under_the_hook() -> None:
    """With a sample for every 256 bytes, each module ends as it does without."""
    done = subprocess.run(
        [sys.executable, TORTURE, "--modules", *PART], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PART)} of {len(PART)} passed" in done.stdout
