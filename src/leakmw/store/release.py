"""Which version of the app runs: only workers of the same one are looked at together."""

from __future__ import annotations

import os
from pathlib import Path

MOST_FILES = 20_000
"""Entries of folders that are looked at."""

PASSED_OVER = {"node_modules", "site-packages", "dist-packages", "venv", "__pycache__"}


def release(version: str | None) -> str:
    """Return what names the version of the app.

    Args:
        version: As the user gave it. Without one it is told by the newest file of Python code
            below the folder that the app runs in: a developer's next try is another version.
    """
    if version is not None:
        return f"version {version}"
    folder = Path.cwd()
    # a service that runs in the root folder has not its code there
    return f"code of {newest(folder) if folder != folder.parent else 0}"


def newest(folder: Path) -> int:
    """Return when the newest file of Python code below *folder* was changed, in nanoseconds."""
    left, latest, looked_at = [str(folder)], 0, 0
    while left and looked_at < MOST_FILES:
        try:
            entries = list(os.scandir(left.pop()))
        except OSError:  # not for us to see
            continue
        for entry in sorted(entries, key=lambda one: one.name):
            looked_at += 1
            if entry.name.startswith(".") or entry.name in PASSED_OVER:
                continue
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
            elif entry.name.endswith(".py"):
                latest = max(latest, entry.stat(follow_symlinks=False).st_mtime_ns)
    return latest
