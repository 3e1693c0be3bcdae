"""What ``leakmw doctor`` looks at in a running app: the way to it, its workers, their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from leakmw.doctor import Check
from leakmw.report import humane, reading
from leakmw.report.terminal import printable
from leakmw.shell import asking, sources
from leakmw.shell.ending import EndingError
from leakmw.shell.remote import HttpSource

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from leakmw.records import WorkerStatus
    from leakmw.shell.asking import Source

ROUNDS = 8
"""How often the workers are asked for: where each knows itself alone, another one may answer."""


def asks(options: Namespace) -> bool:
    """Return whether *options* name somebody to ask."""
    return any(value is not None for value in (options.url, options.store, options.service))


def examine(options: Namespace) -> Iterator[Check]:
    """Look at the app that *options* name.

    Raises:
        EndingError: If they name nobody, or wrongly.
    """
    source = sources.chosen(options)
    try:
        if isinstance(source, HttpSource):
            yield _way(source)
        known = _workers(source)
    except EndingError as error:
        yield Check("endpoint", False, error.message, "try it with curl from the same place")
        return
    yield _seen(known)
    alive = [one for one in known if one.alive]
    if alive:
        yield _versions(alive)
        yield _errors(alive)


def _way(source: HttpSource) -> Check:
    """Compare the path that was asked for with the one that the app sees."""
    described = asking.asked(source, "GET", "api/openapi.json")
    inside = asking.read(described, lambda document: str(document["servers"][0]["url"]))
    outside = urlsplit(source.url).path
    if inside == outside:
        return Check("endpoint", True, f"answers at {source.url}, and the token is right")
    return Check(
        "endpoint",
        False,
        f"answers at {outside}, and the app believes to be at {printable(inside)}",
        "a browser will not send the cookie back: have the proxy pass the prefix on, as "
        "SCRIPT_NAME (WSGI) or root_path (ASGI)",
    )


def _workers(source: Source) -> Sequence[WorkerStatus]:
    """Return all workers that were seen in some answers, the last answer of each."""
    known: dict[Any, WorkerStatus] = {}
    for _ in range(ROUNDS if isinstance(source, HttpSource) else 1):
        document = asking.asked(source, "GET", "api/workers")
        for one in asking.read(document, reading.workers):
            known[one.worker] = one
    return list(known.values())


def _seen(known: Sequence[WorkerStatus]) -> Check:
    alive = [one for one in known if one.alive]
    if not alive:
        return Check(
            "workers",
            False,
            "none has taken a snapshot yet",
            "send the app some requests, or run: leakmw snapshot",
        )
    names = ", ".join(f"{one.worker.host}:{one.worker.pid}" for one in alive[:5])
    more = f" and {len(alive) - 5} more" if len(alive) > 5 else ""  # noqa: PLR2004  # as above
    return Check("workers", True, f"{len(alive)} alive: {printable(names)}{more}")


def _versions(alive: Sequence[WorkerStatus]) -> Check:
    versions = sorted({one.version or "none given" for one in alive})
    said = printable(", ".join(versions))
    if len(versions) == 1:
        return Check("versions", True, f"of the app: {said}")
    return Check(
        "versions",
        False,
        f"of the app differ between workers: {said}",
        "during a deploy this passes; else restart the old workers",
    )


def _errors(alive: Sequence[WorkerStatus]) -> Check:
    errors = sum(one.errors for one in alive)
    if not errors:
        return Check("errors", True, "none of leakmw's own")
    said = f"{humane.count(errors, 'error')} of leakmw's own"
    return Check("errors", False, said, "the app's log has them as leakmw.self_error")
