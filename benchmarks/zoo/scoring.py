"""One case under one detector: how long it took, and what was right."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zoo import caches, collections_that_grow, innocents, lifetimes, registrations, shapes
from zoo.detectors import DETECTORS, Claim, Detector
from zoo.shops import Shop
from zoo.traffic import Mix, stepper
from zoo.truth import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = (collections_that_grow, registrations, lifetimes, caches, shapes, innocents)
"""Where the cases stand: they enter themselves when these are imported."""

LEAKING_REQUESTS = 5000
"""Requests that go to an endpoint that leaks."""

INNOCENT_REQUESTS = 20_000
"""Requests in all to a shop that does not."""

LOOK_EVERY = 240
"""Requests between two looks at what the detector says; a multiple of those that overlap."""


class Outcome(NamedTuple):
    """What a detector said of a case.

    Attributes:
        case: Name of the case.
        detector: Name of the detector.
        called: Requests of the endpoint until it was called a leak; ``None`` if it never was.
        suspected: The same until it was at least suspected.
        endpoint: Whether the worst finding named the right endpoint, at the end.
        site: Whether it named the right line.
        cause: Whether it said the right kind of mistake.
        holder: Whether it named what holds it; ``None`` where nothing in Python does.
        said: What it said of both.
        factor: How far its bytes per request are from the truth; ``None`` where one is unknown.
        alarms: Wrong findings called a leak, at any look.
        suspicions: Wrong findings at the last look, also those only suspected.
        wrong: The wrong findings, as they were last seen.
        judged: Each verdict that was given to each finding over so many windows, and whether it
            was about a leak.
        cpu_seconds: What the run took, its start left out.
        share: Part of the requests that it was shown.
    """

    case: str
    detector: str
    called: int | None
    suspected: int | None
    endpoint: bool
    site: bool
    cause: bool
    holder: bool | None
    said: str
    factor: float | None
    alarms: int
    suspicions: int
    wrong: list[str]
    judged: list[tuple[str, int, bool]]
    cpu_seconds: float
    share: float


class _Look(NamedTuple):
    """What was claimed after so many requests of the endpoint."""

    requests: int
    claims: list[Claim]


def run(case: Case, detector: str) -> Outcome:
    """Run *case* under *detector*, in this process, which should do nothing else."""
    watching = DETECTORS[detector]()
    # as text, since some detectors count the objects that the collector knows: ours would grow
    begun = time.process_time()
    told = [json.dumps(look) for look in _looks(case, watching)]
    cpu_seconds = time.process_time() - begun
    return _scored(case, detector, [_read(one) for one in told], cpu_seconds, watching.share)


def _read(told: str) -> _Look:
    requests, claims = json.loads(told)
    return _Look(requests, [Claim(*claim) for claim in claims])


def _looks(case: Case, detector: Detector) -> Iterator[_Look]:
    shop = Shop(case.framework)
    case.build(shop)
    total = (
        round(LEAKING_REQUESTS / case.share(len(shop.views))) if case.leaks else INNOCENT_REQUESTS
    )
    total = round(total * detector.share)
    mix = Mix(list(shop.views), case.shares, total, shifting=case.shifting)
    app = detector.watch(shop.app(), speaks_asgi=shop.speaks_asgi)
    step = stepper(app, mix, LOOK_EVERY, speaks_asgi=shop.speaks_asgi)
    while mix.sent.total() < total:
        step()
        yield _Look(mix.sent[case.path], detector.claims(mix.sent.total()))


def _scored(
    case: Case, detector: str, looks: list[_Look], cpu_seconds: float, share: float
) -> Outcome:
    # before a cache is full nobody can tell it from a leak
    looks = [look for look in looks if look.requests > (case.bound or 0)] or [_Look(0, [])]
    last = looks[-1].claims
    right = [claim for claim in last if _is_right(case, claim)]
    wrong = [claim for claim in last if _is_wrong(case, claim)]
    top = last[0] if right else None
    return Outcome(
        case=case.name,
        detector=detector,
        called=_first(case, looks, ("leak",)),
        suspected=_first(case, looks, ("leak", "suspect")),
        endpoint=top is not None and top.endpoint == f"GET {case.path}",
        site=top is not None and _is_born(case, top),
        cause=top is not None and top.cause == case.cause,
        holder=_is_held(case, top),
        said=f"{top.cause}, {top.holder}" if top else "",
        factor=_factor(case, last),
        alarms=sum(
            claim.verdict == "leak" and _is_wrong(case, claim)
            for look in looks
            for claim in look.claims
        ),
        suspicions=len(wrong),
        wrong=[f"{one.verdict} {one.endpoint} {_place(one)}" for one in wrong],
        judged=_judged(case, looks),
        cpu_seconds=cpu_seconds,
        share=share,
    )


def _judged(case: Case, looks: list[_Look]) -> list[tuple[str, int, bool]]:
    every = {
        (one.endpoint, one.file, one.line, one.verdict, one.windows): not _is_wrong(case, one)
        for look in looks
        for one in look.claims
    }
    return [(verdict, windows, right) for (*_, verdict, windows), right in every.items()]


def _first(case: Case, looks: list[_Look], verdicts: tuple[str, ...]) -> int | None:
    """Return after how many requests there was a right claim that stood until the end."""
    since = None
    for look in looks:
        seen = any(one.verdict in verdicts and _is_right(case, one) for one in look.claims)
        since = (since or look.requests) if seen else None
    return since


def _is_right(case: Case, claim: Claim) -> bool:
    """Say whether *claim* is about the leak, as far as the detector can tell."""
    if not case.leaks:
        return False
    return claim.endpoint in {None, f"GET {case.path}"} and (
        claim.file is None or not case.born or _is_born(case, claim)
    )


def _is_wrong(case: Case, claim: Claim) -> bool:
    """Say whether *claim* accuses somebody else: another line of the leak itself is no mistake."""
    if not case.leaks:
        return True
    if case.everywhere and claim.endpoint is not None:
        return False
    if claim.endpoint is not None:
        return claim.endpoint != f"GET {case.path}"
    return claim.file is not None and not _is_same(case.file, claim.file)


def _is_born(case: Case, claim: Claim) -> bool:
    return claim.line in case.born and claim.file is not None and _is_same(case.file, claim.file)


def _is_held(case: Case, claim: Claim | None) -> bool | None:
    """Say whether the claim names the holder; ``None`` where there is none to be named."""
    if case.holder is None:
        return None
    return claim is not None and case.holder in (claim.holder or "")


def _is_same(file: str, claimed: str) -> bool:
    return Path(file).name == os.path.basename(claimed)  # noqa: PTH119  # reports shorten paths


def _factor(case: Case, claims: list[Claim]) -> float | None:
    """Return how far off the bytes per request are, at all lines of the endpoint that leaks."""
    own = [one for one in claims if one.endpoint == f"GET {case.path}"]
    said = sum(one.per_request for one in own if one.per_request)
    if said <= 0 or not case.per_request:
        return None
    return max(said / case.per_request, case.per_request / said)


def _place(claim: Claim) -> str:
    return f"{claim.file}:{claim.line}"


def named(pattern: str) -> list[Case]:
    """Return the cases whose name contains *pattern*."""
    return [case for name, case in CASES.items() if pattern in name]
