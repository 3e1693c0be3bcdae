"""Where the history of an app lies: one private file for each user and app."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from leakmw.store.failure import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

SUFFIX = ".leakmw.db"
PRIVATE_FOLDER = 0o700


def located(store: str | None, service: str | None, environ: Mapping[str, str]) -> Path:
    """Return the file of an app.

    Args:
        store: As the setting says; ``None`` for the private file of this user and app.

        service: Name of the app; without one it is told by the folder that it runs in.

        environ: The environment.
    """
    if store is not None:
        return Path(store).absolute()
    return folder(environ) / f"{app_name(service)}{SUFFIX}"


def app_name(service: str | None) -> str:
    """Return the name of an app's file, without its suffix."""
    if service is not None:
        told = service
    else:
        told = str(Path.cwd())
        service = Path(told).name or "root"
    readable = re.sub(r"[^\w.-]+", "-", service, flags=re.ASCII).strip("-.")[:60]
    return f"{readable}-{hashlib.sha256(told.encode(errors='replace')).hexdigest()[:8]}"


def folder(environ: Mapping[str, str]) -> Path:
    """Return this user's folder for such files; it may not be there yet."""
    state = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # noqa: PTH117  # an empty path is none
        return Path(state, "leakmw")
    home = Path(environ.get("HOME") or "/")
    if home != Path("/") and os.access(home, os.W_OK | os.X_OK):
        return home / ".local" / "state" / "leakmw"
    # as a container's user without a home has it
    return Path(tempfile.gettempdir()) / f"leakmw-{os.getuid()}"


def made_private(file: Path) -> None:
    """Make the folder of *file*, and the file, such that nobody else reads or replaces them.

    A folder that is there already keeps its mode; one that another user could have laid out for
    us is refused.

    Raises:
        StoreError: If that cannot be.
    """
    try:
        file.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        facts = file.parent.stat()
        if facts.st_uid not in {os.getuid(), 0}:
            raise StoreError(
                f"the folder {file.parent} belongs to another user: give `store` a file elsewhere"
            )
        # not through a link, and with its mode from the first moment on
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(file, flags, 0o600))
    except OSError as error:
        raise StoreError(
            f"the store {file} cannot be opened ({os.strerror(error.errno or 0)}): give `store` a "
            'file that the app\'s user can write, or "memory"'
        ) from error
