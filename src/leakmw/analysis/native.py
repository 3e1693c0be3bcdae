"""Growth outside of Python's allocators, and the endpoint whose visits it follows.

The C heap in use is known to the byte, and so is, or nearly, what of it is Python's. What is left
has neither traceback nor birth: it is solved from the windows alone. Where those are too few,
glances at the heap between the snapshots tell more.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import ALL, Share, Windows, steps, windows
from leakmw.analysis.fitting import explain
from leakmw.analysis.lasting import is_spread
from leakmw.analysis.series import Place
from leakmw.analysis.verdicts import SUSPECT_WINDOWS, Judgement, judge, looked_at
from leakmw.records import BACKGROUND, LEAST_GLANCES, Frame, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from leakmw.analysis.fitting import Weight
    from leakmw.records import Glance, Memory, Snapshot

LEAST_BYTES = 512 << 10
"""Growth below which nobody is called: leakmw's own tables, and what libraries warm up."""

PYTHONS_SHARE = 0.1
"""Part of what Python's own large blocks moved by, which what is left must be more than."""

DEVIATIONS = 3.0
"""Growth in standard deviations of what Python's own large blocks are estimated from."""

LEAST_PART = 0.1
"""Of the whole growth, below which what is left beside an endpoint is the error of its share."""

NOISE_BYTES = 4 << 10
"""What the C heap in use is up or down by at any moment."""

DECISIVE = 2 * math.log(1000)
"""How much better one endpoint must explain the growth than another, or than all alike, in units
of n * log(RSS). As it is looked at again and again until one does, the likelihood ratio must be so
large that it hardly ever gets there by chance (Ville, 1939): once in a thousand times."""

PLACE = Place(Frame("", 0), frozenset(), None, native=True)
"""Where it is born: nobody knows."""


class Native(NamedTuple):
    """What one endpoint may keep outside of Python's allocators."""

    share: Share
    judgement: Judgement
    during: Windows


class Outside(NamedTuple):
    """What grew outside of Python's allocators.

    Attributes:
        suspects: By endpoint.
        undecided: Whether glances between the snapshots may tell whose growth it is.
    """

    suspects: tuple[Native, ...] = ()
    undecided: bool = False


class _Meter(NamedTuple):
    """One way to see such growth.

    Attributes:
        levels: At each snapshot, in bytes.
        least: Growth below which nobody is called.
        variance: Of the last level.
        said: What was seen, in plain sentences.
        sure: Whether a leak may be called one by it.
    """

    levels: list[float]
    least: float
    variance: float
    said: tuple[str, ...]
    sure: bool


def outside(snapshots: Sequence[Snapshot], glances: Sequence[Glance] = ()) -> Outside:
    """Return what grew outside of Python's allocators, if anything did.

    Args:
        snapshots: Comparable ones, oldest first.

        glances: At the C heap, between them.
    """
    for read, meter in ((_knows_heap, _heap), (_knows_maps, _maps)):
        known = [one for one in snapshots if read(one)]
        if len(known) > SUSPECT_WINDOWS:
            found = _judged(known, meter(known), glances)
            if found.suspects or found.undecided:
                return found
    return Outside()


def _knows_heap(snapshot: Snapshot) -> bool:
    return snapshot.memory.native_bytes is not None and snapshot.trace.large is not None


def _knows_maps(snapshot: Snapshot) -> bool:
    memory = snapshot.memory
    told = (memory.native_bytes, memory.anonymous_bytes, memory.python_arena_bytes)
    return None not in told


def _heap(known: Sequence[Snapshot]) -> _Meter:
    """Return the C heap in use without what the tracer knows of it."""
    used = [one.memory.native_bytes or 0 for one in known]
    large = [one.trace.large.bytes if one.trace.large else 0.0 for one in known]
    first, last = known[0].trace.large, known[-1].trace.large
    variance = (first.variance if first else 0.0) + (last.variance if last else 0.0)
    pythons = large[-1] - large[0]
    grown = f"the C heap in use grew by {used[-1] - used[0]:,} bytes, of which Python's own blocks"
    said = (
        f"{grown} explain {round(pythons):,}{_resident(known)}",
        "no line of Python can be named: it was allocated outside of Python's allocators",
    )
    return _Meter(
        levels=[u - b for u, b in zip(used, large, strict=True)],
        least=max(LEAST_BYTES, PYTHONS_SHARE * abs(pythons), DEVIATIONS * math.sqrt(variance)),
        variance=variance,
        said=said,
        sure=True,
    )


def _maps(known: Sequence[Snapshot]) -> _Meter:
    """Return what is resident of neither Python's arenas, nor the C heap, nor a file.

    What is free in those may have been touched only later: so much may come without being new.
    """
    levels = [_unclaimed(one.memory) for one in known]
    first = known[0].memory
    untouched = (first.free_bytes or 0) + (first.python_free_bytes or 0)
    grown = f"maps that neither Python nor the C heap tells of grew by {levels[-1] - levels[0]:,}"
    said = (
        f"{grown} bytes{_resident(known)}",
        "no line of Python can be named: some library asks the system for memory by itself",
    )
    return _Meter([float(one) for one in levels], LEAST_BYTES + untouched, 0.0, said, sure=False)


def _unclaimed(memory: Memory) -> int:
    claimed = (memory.python_arena_bytes or 0) + (memory.native_bytes or 0)
    return (memory.anonymous_bytes or 0) - claimed - (memory.free_bytes or 0)


def _resident(known: Sequence[Snapshot]) -> str:
    first, last = known[0].memory.rss_bytes, known[-1].memory.rss_bytes
    if first is None or last is None:
        return ""
    return f"; resident memory moved by {last - first:+,}"


def _judged(known: Sequence[Snapshot], meter: _Meter, glances: Sequence[Glance]) -> Outside:
    growths = steps(meter.levels)
    if sum(growths) < meter.least:
        return Outside()
    during = windows(known)
    # what has warmed up in one window is nobody's growth, however little comes after it
    if not is_spread(growths, during.every_visit() or during.seconds):
        return Outside()
    weights = _weights(growths, during, during.visits, meter.variance)
    if meter.sure and not _decides(weights):
        closer = _looked_closer(known, glances, weights)
        if closer:
            weights = closer
            told = f"the endpoint is looked for in {len(glances):,} glances between the snapshots"
            meter = meter._replace(said=(*meter.said, told))
    latest = growths[-SUSPECT_WINDOWS:]
    return Outside(
        tuple(_suspects(meter, weights, during)),
        undecided=meter.sure and not _decides(weights) and min(latest) > 0,
    )


def _decides(weights: Mapping[str, Weight]) -> bool:
    return bool(weights) and not any(weight.rivals for weight in weights.values())


def _suspects(meter: _Meter, weights: Mapping[str, Weight], during: Windows) -> Iterator[Native]:
    least = max(meter.least, LEAST_PART * (meter.levels[-1] - meter.levels[0]))
    for share in _shares(meter, weights, during):
        if sum(share.bytes) < least:
            continue
        judgement = judge(share, during, partial(looked_at, share, during))
        if judgement.verdict is Verdict.LEAK and not meter.sure:
            judgement = judgement._replace(verdict=Verdict.SUSPECT)
        if judgement.grows:
            evidence = (*meter.said, *judgement.evidence)
            ripe = judgement.ripe and meter.sure
            yield Native(share, judgement._replace(evidence=evidence, ripe=ripe), during)


def _weights(
    growths: Sequence[float], during: Windows, among: Collection[str], variance: float = 0.0
) -> Mapping[str, Weight]:
    if sum(growths) <= 0 or not during.visits:
        return {}
    regressors: dict[str, Sequence[float]] = {
        name: counts for name, counts in during.visits.items() if name in among
    }
    regressors[ALL] = during.every_visit()
    regressors[BACKGROUND] = during.seconds
    noise = 2 * NOISE_BYTES**2 + 2 * variance / len(growths)
    return explain(growths, regressors, preferred=ALL, noise=noise, decisive=DECISIVE)


def _looked_closer(
    known: Sequence[Snapshot], glances: Sequence[Glance], weights: Mapping[str, Weight]
) -> Mapping[str, Weight] | None:
    """Solve the glances, where Python's own blocks hardly moved while they were taken.

    Only who may be meant by the windows is looked at.
    """
    since = [one for one in glances if one.clock >= known[0].clock]
    if len(since) < LEAST_GLANCES:
        return None
    meanwhile = [one for one in known if one.clock >= since[0].clock] or known[-1:]
    large = [one.trace.large.bytes for one in meanwhile if one.trace.large]
    growth = since[-1].native_bytes - since[0].native_bytes
    if large[-1] - large[0] > PYTHONS_SHARE * growth:
        return None
    names = {name for one in since[1:] for name in one.visits}
    during = Windows(
        visits={name: [float(one.visits.get(name, 0)) for one in since[1:]] for name in names},
        seconds=steps([one.clock for one in since]),
        in_flight=0,
    )
    return _weights(steps([one.native_bytes for one in since]), during, _candidates(weights))


def _shares(meter: _Meter, weights: Mapping[str, Weight], during: Windows) -> Iterator[Share]:
    """Give each endpoint that is told its part of every window, and the rest to nobody."""
    growths = steps(meter.levels)
    told = {
        name: weight
        for name, weight in weights.items()
        if name in during.visits and not weight.rivals
    }
    expected = {
        name: [weight.estimate * count for count in during.visits[name]]
        for name, weight in told.items()
    }
    others = {name: weight for name, weight in weights.items() if name not in told}
    if others or not told:
        expected[BACKGROUND] = _nobodys(others, during)
    totals = [sum(column) for column in zip(*expected.values(), strict=True)]
    for name, amounts in expected.items():
        portions = [
            a / t if t else 1 / len(expected) for a, t in zip(amounts, totals, strict=True)
        ]
        yield Share(
            endpoint=name,
            place=PLACE,
            traceback=(),
            bytes=[p * g for p, g in zip(portions, growths, strict=True)],
            blocks=[0.0] * len(growths),
            variance=meter.variance,
            solved=True,
            margin=told[name].margin if name in told else 0.0,
            candidates=_candidates(others) if name == BACKGROUND else (),
        )


def _nobodys(others: Mapping[str, Weight], during: Windows) -> list[float]:
    amounts = [0.0] * len(during.seconds)
    for name, weight in others.items():
        every = during.seconds if name == BACKGROUND else during.visits.get(name)
        counts = during.every_visit() if every is None else every
        amounts = [a + weight.estimate * c for a, c in zip(amounts, counts, strict=True)]
    return amounts if any(amounts) else list(during.seconds)


def _candidates(others: Mapping[str, Weight]) -> tuple[str, ...]:
    if set(others) == {BACKGROUND} and not others[BACKGROUND].rivals:
        return ()
    named = [name for first, weight in others.items() for name in (first, *weight.rivals)]
    return tuple(dict.fromkeys(named))
