"""What ``leakmw doctor`` looks at on this host: whether leakmw can do all it needs to do here."""

from __future__ import annotations

import platform
import sys
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any, NamedTuple

from leakmw import forked
from leakmw.settings import Settings, SettingsError
from leakmw.tracers import sampling

TRIAL_BYTES = 1 << 20
"""What is allocated to see whether samples are taken."""

_TRIAL_INTERVAL = 4096

_TRIAL_SAMPLES = TRIAL_BYTES // _TRIAL_INTERVAL


class Fault(NamedTuple):
    """Releases of CPython whose memory management has a known fault.

    Attributes:
        first: The first one.
        last: The last one.
        issue: Of CPython, which tells more.
        effect: What an app meets.
        leaks: Whether that looks like a leak of the app's.
    """

    first: tuple[int, int, int]
    last: tuple[int, int, int]
    issue: int
    effect: str
    leaks: bool = True


FAULTS = (
    Fault((3, 11, 0), (3, 11, 0), 99205, "the state of a thread that has ended is never freed"),
    Fault((3, 12, 0), (3, 12, 2), 116604, "the collector runs though it was switched off", False),
    Fault((3, 14, 0), (3, 14, 4), 142516, "garbage piles up, which looks like a leak"),
)
"""Those that are known; not all that there are."""


class Check(NamedTuple):
    """One thing looked at.

    Attributes:
        name: What.
        good: Whether it is as it should be.
        found: What was found.
        remedy: What to do about it, if anything.
    """

    name: str
    good: bool
    found: str
    remedy: str | None = None


def examine() -> list[Check]:
    """Look at everything on this host."""
    unavailable = sampling.unavailable()
    return [
        Check("leakmw", True, version("leakmw")),  # it runs
        _python(sys.version_info[:3]),
        _engine(unavailable),
        *([] if unavailable else [_tracer()]),
        _fork(),
        *_settings(),
    ]


def _python(release: tuple[int, ...]) -> Check:
    found = f"{platform.python_implementation()} {'.'.join(map(str, release))}"
    for fault in FAULTS:
        if fault.first <= release <= fault.last:
            *minor, patch = fault.last
            use = ".".join(map(str, [*minor, patch + 1]))
            remedy = f"{fault.effect} (CPython issue {fault.issue}): use {use} or later"
            return Check("python", not fault.leaks, found, remedy)
    return Check("python", True, found)


def _engine(reason: str | None) -> Check:
    if reason is None:
        return Check("engine", True, "sampling: its extension is built and loads")
    return Check(
        "engine",
        False,
        f"tracemalloc in short windows, which takes many more requests: {reason}",
        "install a C compiler and the headers of this Python, then run: "
        "pip install --force-reinstall --no-binary leakmw leakmw",
    )


def _tracer() -> Check:
    """Take samples of what is allocated here, for a moment."""
    nobody: ContextVar[Any] = ContextVar("leakmw.doctor", default=None)
    tracer = sampling.SamplingTracer(1, 1.0, _TRIAL_INTERVAL, nobody, object())
    try:
        tracer.start()
        try:
            kept = [bytearray(1024) for _ in range(TRIAL_BYTES // 1024)]
            seen = tracer.engine().live_samples or 0
            kept.clear()
        finally:
            tracer.stop()
    except (RuntimeError, MemoryError) as error:
        return Check("tracer", False, f"does not run: {error}", "report this, please")
    if seen < _TRIAL_SAMPLES // 2:  # not zero: what else allocates meanwhile may be sampled, too
        return Check(
            "tracer",
            False,
            f"runs and saw too little: {seen} samples, where about {_TRIAL_SAMPLES} were due",
            "is another allocator hooked in?",
        )
    return Check("tracer", True, "runs: it saw what was allocated for a trial")


def _fork() -> Check:
    if forked.AVAILABLE:
        return Check("fork", True, "available: long work is done on a copy of the process")
    return Check(
        "fork",
        False,
        "not available",
        "what would be done on a copy of the process is done in it, where it is small enough; "
        "Linux has fork",
    )


def _settings() -> list[Check]:
    """Look at the settings of this environment; those in code are not known here."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        return [Check("settings", False, str(error), "an app in this environment does not start")]
    found = f"a snapshot every {settings.every:,} requests, engine {settings.engine}"
    token = "set" if settings.token else "not set here: no admin endpoint unless code sets one"
    return [Check("settings", True, f"{found}, path {settings.path}"), Check("token", True, token)]
