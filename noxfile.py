"""What a change must pass: ``scripts/test`` runs it all, ``nox --list`` names the parts."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
DIST = Path(__file__).parent / "dist"

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = [
    "lint",
    "imports",
    "typing",
    "build",
    "wheel",
    "examples",
    "once",
    "tests",
]

# Minutes of real traffic to real servers, of tools, terminals and forks, and what is the same on
# each Python, as text and the C heap are: once is enough.
EXAMPLES = "tests/test_examples.py"
ONCE = [
    f"tests/test_{name}.py"
    for name in (
        *("admin_openapi", "admin_page", "declined", "demo", "disks", "events", "far", "fleet"),
        *("inherited", "native_leak", "pprof", "queries", "report_properties", "secrets"),
        *("servers", "shell", "shell_logs", "shell_remote", "shell_scan", "shell_terminal"),
        *("tools", "verdicts"),
    )
]
TORTURE = "tests/torture/run.py"
PART = [
    *("test_list", "test_dict", "test_generators", "test_weakref", "test_context"),
    *("test_gc", "test_set", "test_coroutines", "test_asyncio.test_tasks", "test_thread"),
    *("test_json", "test_pickle", "test_sqlite3", "test_re", "test_bytes"),
]
# servers that are started a hundred times over do not each compile what they import
COMPILED = "--compile-bytecode"
# with one more worker after a crash, pytest-xdist waits for ever
IN_PARALLEL = ["--numprocesses", "auto", "--max-worker-restart", "0"]
PARALLEL = [*IN_PARALLEL, "--dist", "loadfile"]
# test by test, so that no worker is left alone with a long file at the end
MOST = [*IN_PARALLEL, "--dist", "worksteal", *(f"--ignore={file}" for file in (EXAMPLES, *ONCE))]


def install(session: nox.Session, group: str, *others: str) -> None:
    """Install a dependency group of ``pyproject.toml``, and *others*: requirements or options."""
    session.install(*nox.project.dependency_groups(PYPROJECT, group), *others)


def built_wheel() -> str:
    """Return the path of the wheel that the session ``build`` left, for the Python it ran on."""
    (wheel,) = DIST.glob("*.whl")
    return str(wheel)


def built_sdist() -> str:
    """Return the path of the source distribution, which each Python builds for itself."""
    (sdist,) = DIST.glob("*.tar.gz")
    return str(sdist)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def imports(session: nox.Session) -> None:
    """Check who imports whom."""
    install(session, "lint")
    session.run("lint-imports", env={"PYTHONPATH": "src"})


@nox.session
def typing(session: nox.Session) -> None:
    """Check all types, those of tests and examples too."""
    install(session, "typing", "-e.[demo]", "nox")
    session.run("mypy")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist, and the wheel from the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--quiet", "--outdir", str(DIST))
    if not Path(".git").exists():
        return
    # a checkout in a container may belong to someone else
    git = ["git", "-c", "safe.directory=*", "ls-files"]
    tracked = str(session.run(*git, external=True, silent=True)).splitlines()
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    if left_out := set(tracked) - packed:
        session.error(f"MANIFEST.in leaves out {', '.join(sorted(left_out))}")


@nox.session(requires=["build"])
def wheel(session: nox.Session) -> None:
    """Use the wheel as a user would: away from the source, with its own dependencies only."""
    session.install(f"{built_wheel()}[demo]")
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        session.run("python", "-c", "import leakmw, leakmw.wsgi, leakmw.asgi")
        session.run("leakmw", "doctor")  # says so if the extension was not built
        session.run("leakmw", "demo", "--json")  # until the leak is called one


@nox.session(requires=["build"])
def examples(session: nox.Session) -> None:
    """Check that the leaks of the example apps are found, and nothing else."""
    install(session, "tests", COMPILED, built_wheel())
    session.run("pytest", *IN_PARALLEL, EXAMPLES, *session.posargs)


@nox.session(requires=["build"])
def once(session: nox.Session) -> None:
    """Test what takes its time and is the same on each Python: servers, terminals, forks."""
    install(session, "tests", COMPILED, built_wheel())
    session.run("pytest", *PARALLEL, *ONCE, *session.posargs)


@nox.session(python=PYTHONS[0], requires=["build"])
def oldest(session: nox.Session) -> None:
    """Test with the oldest frameworks, servers and libraries that the package admits."""
    oldest_of_each = ["--resolution=lowest-direct", *PYPROJECT["project"]["dependencies"]]
    # newer ones end with a traceback under gevents of that time
    install(session, "frameworks", *oldest_of_each, "greenlet<3.2")
    install(session, "tests", built_sdist())
    # what was new then has long been deprecated
    session.run("pytest", *MOST, "-W", "default", *session.posargs)


@nox.session(python=PYTHONS, requires=["build"])
def tests(session: nox.Session) -> None:
    """Test what is built, not the source tree; arguments after ``--`` go to pytest."""
    install(session, "tests", COMPILED, built_sdist())
    session.run("leakmw", "doctor")
    session.run("pytest", *MOST, *session.posargs)


@nox.session(python=PYTHONS, requires=["build"])
def torture(session: nox.Session) -> None:
    """Run a hundred modules of CPython's own tests under the hook, and races for five minutes."""
    session.install(built_sdist())
    session.run("leakmw", "doctor")
    session.run("python", TORTURE, *session.posargs)
    session.run("python", TORTURE, *session.posargs, env={"PYTHONMALLOC": "debug"})
    session.run("python", "tests/torture/loop.py")


@nox.session(python=PYTHONS, requires=["build"])
def sanitize(session: nox.Session) -> None:
    """Do a part of that with the hook under gcc's sanitizers, and a smaller one under valgrind."""
    flags = "-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
    session.install("--no-cache", built_sdist(), env={"CFLAGS": flags, "LDFLAGS": flags})
    libraries = [
        session.run("gcc", f"-print-file-name={name}", external=True, silent=True)
        for name in ("libasan.so", "libubsan.so")
    ]
    sanitized = {
        "LD_PRELOAD": " ".join(str(library).strip() for library in libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python leaves much to the end of the process
        "PYTHONMALLOC": "malloc",
    }
    session.run("python", TORTURE, "--modules", *PART, env=sanitized)
    session.run("python", "tests/torture/loop.py", "--seconds", "60", env=sanitized)
    session.install("--no-cache", "--force-reinstall", "--no-deps", built_sdist())
    under = ("--under", "valgrind -q --trace-children=yes --error-exitcode=9")
    plain = {"PYTHONMALLOC": "malloc"}
    session.run("python", TORTURE, *under, "--modules", *PART[:5], env=plain)


@nox.session
def upstream(session: nox.Session) -> None:
    """Run the published tests of Werkzeug and Starlette, bare and with every app watched."""
    session.install("pip", *PYPROJECT["project"]["dependencies"])
    session.run("python", "tests/upstream/run.py", *session.posargs)


@nox.session(requires=["build"])
def bench(session: nox.Session) -> None:
    """Run one benchmark; after ``--`` its name and arguments, such as ``overhead counting``."""
    install(session, "tests", built_wheel())
    name, *arguments = session.posargs or ["overhead"]
    session.run("python", f"benchmarks/{name}.py", *arguments)
