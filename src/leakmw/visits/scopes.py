"""What an ASGI scope says of where a request went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def path_of(scope: Mapping[str, Any]) -> str:
    """Return the path below the root path that the server or the app was given.

    Servers disagree on whether the path has the root path in it. What mounts add to the root path
    on the way is no part of it here.
    """
    root = scope["app_root_path"] if "app_root_path" in scope else scope.get("root_path")
    path: str = scope["path"]
    return _below(path, root) if root else path


def mounted_path_of(scope: Mapping[str, Any]) -> str:
    """Return the path below all that the app was mounted under on the way."""
    return _below(scope["path"], scope.get("root_path", ""))


def _below(path: str, root: str) -> str:
    return path[len(root) :] if path.startswith(f"{root}/") else path


def host_of(scope: Mapping[str, Any]) -> str:
    """Return the host that was asked for, in lower case and without its port; empty if none."""
    for name, value in scope["headers"]:
        if name == b"host":
            host: str = value.decode("latin-1").lower()
            return host if host.endswith("]") else host.rsplit(":", 1)[0]
    return ""
