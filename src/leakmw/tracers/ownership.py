"""Which frames of a traceback are the app's own code."""

from __future__ import annotations

import os
import sysconfig
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Frame

PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
"""Where leakmw itself lies."""

DEMO = os.path.join(PACKAGE, "demo") + os.sep
"""The demonstration is an app like any other."""


def _files(*names: str) -> frozenset[str]:
    return frozenset(PACKAGE + name.replace("/", os.sep) for name in names)


FACES = _files("wsgi.py", "asgi.py", "flask.py", "django/middleware.py", "django/handlers.py")
"""On the stack of every visit: what is outside of them is the server's."""

PASSAGES = FACES | _files(
    "__main__.py", "cli.py", "shell/scan.py", "shell/visiting.py", "visits/ending.py"
)
"""Through which the app's own calls run: being on the stack makes nothing leakmw's."""

FRAMEWORKS = frozenset(
    {
        "asgiref", "django", "fastapi", "flask", "litestar", "quart", "rest_framework",
        "sanic", "starlette", "strawberry", "werkzeug",
    }
)  # fmt: skip
"""Packages whose own views do not make them the app's code."""

_INSTALLED = ("site-packages", "dist-packages")


class Ownership:
    """Tells the app's own files from the standard library, installed packages and leakmw.

    An app that is itself installed as a package is recognized by its views: the package of a view
    that stands in ``site-packages`` is the app's own.

    Args:
        views: Files in which the app's views stand.
    """

    def __init__(self, views: frozenset[str] = frozenset()) -> None:
        self._libraries = _libraries()
        self.packages = frozenset(filter(None, map(_package, views)))
        self._known: dict[str, bool] = {}

    def own(self, file: str) -> bool:
        """Say whether *file* is the app's own."""
        known = self._known.get(file)
        if known is None:
            known = self._known[file] = self._owns(file)
        return known

    def site(self, frames: Sequence[Frame]) -> Frame | None:
        """Return the innermost frame of the app's own, else the innermost of all.

        Args:
            frames: Innermost first.
        """
        own = (frame for frame in frames if self.own(frame.file))
        return next(own, frames[0] if frames else None)

    def _owns(self, file: str) -> bool:
        if file.startswith(PACKAGE):
            return not ours(file)
        if file.startswith("<"):
            return False
        if _package_root(file) is not None:
            return file.startswith(tuple(self.packages))
        return not os.path.abspath(file).startswith(self._libraries)


class Owner:
    """Makes the ownership for each trace and counts how often the answers have changed.

    Attributes:
        changes: Grows by one whenever rows from before cannot be compared with those after.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._packages: frozenset[str] = frozenset()

    def of(self, views: frozenset[str]) -> Ownership:
        """Return the ownership for the views seen by now.

        Args:
            views: Files in which the app's views stand.
        """
        ownership = Ownership(views)
        if ownership.packages != self._packages:
            self._packages = ownership.packages
            self.changes += 1
        return ownership


def ours(file: str) -> bool:
    """Say whether *file* is leakmw's, its faces included, its demonstration not."""
    return file.startswith(PACKAGE) and not file.startswith(DEMO)


@cache
def _libraries() -> tuple[str, ...]:
    """Return the folders of the standard library."""
    paths = sysconfig.get_paths()
    library = [paths[kind] for kind in ("stdlib", "platstdlib", "scripts")]
    # code objects may know their files by a link's name or by what it points to
    library += map(os.path.realpath, tuple(library))
    return tuple(path + os.sep for path in dict.fromkeys(library))


def _package_root(file: str) -> tuple[str, str] | None:
    """Return the installation folder and the top-level name of an installed file."""
    parts = file.split(os.sep)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] in _INSTALLED:
            return os.sep.join(parts[: index + 1]), parts[index + 1]
    return None


def _package(view_file: str) -> str | None:
    root = _package_root(view_file)
    if root is None or root[1].removesuffix(".py") in FRAMEWORKS:
        return None
    folder, name = root
    return os.path.join(folder, name) + ("" if name.endswith(".py") else os.sep)
