"""Workers that are killed while they write; ``tests/torture/kills.py`` kills more of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLS = Path(__file__).parent / "torture" / "kills.py"


def test_nothing_that_was_committed_is_lost_with_its_worker() -> None:
    """Whenever it is killed, and whoever else writes."""
    done = subprocess.run(
        [sys.executable, KILLS, "--kills", "20"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills, nothing lost" in done.stdout
