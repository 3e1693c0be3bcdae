"""What is shipped is whole and typed, and importing it costs the user's app next to nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import leakmw

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"django", "fastapi", "flask", "starlette", "werkzeug"}
HEAVY = FRAMEWORKS | {
    "anyio",
    "asyncio",
    "ctypes",
    "httpx",
    "prometheus_client",
    "psutil",
    "rich",
    "sqlite3",
    "structlog",
    "uvicorn",
}


def _imported_with(module: str) -> set[str]:
    """Return the top-level modules that importing *module* brings into a fresh interpreter."""
    script = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}; print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_leakmw_imports_nothing_heavy() -> None:
    """An app that imports the package pays for no framework and no library it may never use."""
    assert _imported_with("leakmw") & HEAVY == set()


@pytest.mark.parametrize(
    ("face", "own"),
    [
        ("leakmw.wsgi", set()),
        ("leakmw.asgi", set()),
        ("leakmw.flask", {"flask", "werkzeug"}),
        ("leakmw.django", {"django"}),
    ],
)
def test_each_face_imports_only_its_own_framework(face: str, own: set[str]) -> None:
    """A Flask app loads no Django, a Starlette app no Werkzeug, a plain app neither."""
    assert _imported_with(face) & FRAMEWORKS <= own


def test_the_public_names_are_there() -> None:
    """Every name that the package says it has can be had, and the list is sorted."""
    assert sorted(leakmw.__all__) == leakmw.__all__
    assert [name for name in leakmw.__all__ if not hasattr(leakmw, name)] == []


def test_all_files_of_the_package_are_shipped() -> None:
    """The schema, the style sheet and the marker of typing are installed with the code."""
    source = ROOT / "src" / "leakmw"
    tracked = [
        path.relative_to(source)
        for path in source.rglob("*")
        # what an editable installation has built lies there, too
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    ]

    installed = resources.files("leakmw")

    assert Path("py.typed") in tracked
    assert [path for path in tracked if not installed.joinpath(*path.parts).is_file()] == []


def test_the_version_is_the_same_everywhere() -> None:
    """The installed version is that of pyproject.toml, and the changelog has a heading for it."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert metadata.version("leakmw") == stated
    assert f"\n## [{stated}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_is_there() -> None:
    """The package installs one command, which can be loaded."""
    (command,) = metadata.entry_points(group="console_scripts", name="leakmw")

    assert callable(command.load())
