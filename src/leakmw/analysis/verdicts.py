"""Say of a growth what it is, and why one may say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from leakmw.analysis.attribution import ALL
from leakmw.analysis.confirming import CONFIRM_WINDOWS, wait_for_levels, wait_for_survivors
from leakmw.analysis.fitting import ratio
from leakmw.analysis.lasting import is_new, lasting, parts, stopped
from leakmw.analysis.replacing import replaced
from leakmw.analysis.survival import LASTING_BYTES, Survival
from leakmw.records import BACKGROUND, Verdict

if TYPE_CHECKING:
    from leakmw.analysis.attribution import Share, Windows
    from leakmw.analysis.replacing import Heap
    from leakmw.analysis.survival import Turnover

SUSPECT_WINDOWS = 5
"""Windows in a row in which a suspect has grown. A level that only fluctuates rises five times
in a row once in 720 times, and then mostly by too unequal steps for the other tests."""

SUSPECT_CONFIDENCE = 0.995
"""Of the growth per request being above zero."""

CONFIRM_CONFIDENCE = 0.9999
"""The same for a leak, where only levels are known."""

LEAST_DEVIATIONS = 2.6
"""Growth in standard deviations of what it is estimated from, where it is: a few samples more or
less of something that comes and goes are no growth. 99.5 % of a normal distribution lie below."""

QUIET_WINDOWS = 3
"""Windows in a row in which a settled growth has not grown."""

QUIET_SHARE = 0.02
"""Part of the whole growth that still counts as not growing."""

LEAST_BYTES = 4 << 10
"""Growth in all windows below which nobody is called, if it grew in each of them."""

SETTLED_BYTES = 16 << 10
"""Growth below which nobody asks why it stopped."""

SPANS = (1, 2, 3)
"""Windows that are added up where growth is estimated: single ones may hold too few samples."""

MOST_CANDIDATES = 4
"""Endpoints named where it may be one of several."""


_Windows = Sequence[tuple[float, float]]
"""Growth and amount of each window in which the endpoint was visited at all."""


class Judgement(NamedTuple):
    """A verdict with its evidence.

    Attributes:
        verdict: What the growth is; ``None`` where there is nothing to say.
        evidence: Plain sentences; the last one of a ripe suspect is about garbage.
        ripe: Whether a suspect is a leak unless it is garbage.
        unseen: Whether no full collection has left enough of it to be suspected.
        windows: Over how many windows it has grown.
        doubted: Whether it may only take the place of others.
    """

    verdict: Verdict | None
    evidence: tuple[str, ...] = ()
    ripe: bool = False
    unseen: bool = False
    windows: int = 0
    doubted: bool = False

    @property
    def grows(self) -> bool:
        """Whether it has not stopped."""
        return self.verdict in {Verdict.LEAK, Verdict.SUSPECT}


class _Grown(NamedTuple):
    """A growth to be suspected.

    Attributes:
        windows: Over how many of the last windows it has grown.
        seen: What shows it.
        wait: Visits or seconds more until it may be called a leak; 0 if it may be now.
    """

    windows: int
    seen: tuple[str, ...]
    wait: float


def judge(
    share: Share, during: Windows, looked_at: Callable[[], tuple[Share, Windows] | None]
) -> Judgement:
    """Judge the growth of one endpoint at one place.

    Args:
        share: Growth in each window.

        during: The windows.

        looked_at: Returns the same over those that the last full collection has seen; ``None`` if
            there are none. It is asked only of what grows.
    """
    grown = _grown(share, during)
    if grown is None:
        return _settled(share, during)
    seen = looked_at()
    left = seen is not None and bool(_grown(*seen))
    sure = share.place.own and share.endpoint != BACKGROUND and not share.place.recycled
    if not left and not sure:
        # what servers and frameworks leave: cycles that soon go. Those of the app itself count
        # before, too: what a leak keeps may be such that Python sees no reason to collect
        return Judgement(None)
    in_place = _in_place_of_others(share, during, grown.windows)
    wait = max(grown.wait, _until_told(share, during, grown.windows))
    evidence = (
        *grown.seen,
        _reason(share),
        *in_place,
        _collected(during, grown.windows, left=left),
        *_missing(wait, share, during),
    )
    if wait or in_place or share.endpoint == BACKGROUND or share.place.recycled:
        return Judgement(
            Verdict.SUSPECT,
            evidence,
            unseen=not left,
            windows=grown.windows,
            doubted=bool(in_place),
        )
    if left and during.collections is not None:
        return Judgement(Verdict.LEAK, evidence, windows=grown.windows)
    return Judgement(Verdict.SUSPECT, evidence, ripe=True, windows=grown.windows)


def looked_at(share: Share, during: Windows) -> tuple[Share, Windows] | None:
    """Return what the last full collection has seen of one worker's growth."""
    part = slice(during.looked_at())
    return (share.cut(part), during.cut(part)) if part.stop else None


def _grown(share: Share, during: Windows) -> _Grown | None:
    if share.survival is not None:
        return _grown_by_survivors(share, share.survival, during)
    # where one worker of several leaks, each second window or so has no growth
    sizes = SPANS if share.variance else sorted({1, during.workers})
    return next(filter(None, (_grown_in_spans(share, size, during) for size in sizes)), None)


def _amounts(share: Share, during: Windows) -> Sequence[float]:
    """Return what the growth of each window is to be divided by."""
    return during.visits.get(share.endpoint, during.seconds)


def _active(share: Share, during: Windows) -> _Windows:
    """Return the windows that say something of the endpoint."""
    growths = zip(share.bytes, _amounts(share, during), strict=True)
    return [(growth, amount) for growth, amount in growths if amount > 0]


def _grown_by_survivors(share: Share, survival: Survival, during: Windows) -> _Grown | None:
    """Judge by what outlives its window and what of that goes later."""
    amounts = _amounts(share, during)[:-1]
    if survival.bytes.growth() < share.processes * LASTING_BYTES:
        return None
    runs = [(one, run) for one in survival if (run := lasting(one, amounts))]
    if not runs:
        return None
    run = max(run for _, run in runs)
    by_part = parts(survival.bytes.net()[-run:], amounts[-run:])
    rates = ", ".join(f"{growth / amount:,.0f}" for growth, amount in by_part)
    seen = (
        f"grew all through the last {run} windows: {rates} {_unit(share, during)}",
        _still_alive(survival.blocks.last(run)),
    )
    waits = [wait_for_survivors(turnover.last(size), amounts[-size:]) for turnover, size in runs]
    return _Grown(run, seen, min(waits))


def _still_alive(blocks: Turnover) -> str:
    parts_alive = blocks.alive()
    if min(blocks.born, default=0) > 0:
        shares = ", ".join(f"{part:.0%}" for part in parts_alive[-8:])
        return f"born in each of the last {len(parts_alive)} windows and still alive: {shares}"
    if not any(blocks.born):
        return "no block is new: those that were there have grown"
    alive = min(1.0, sum(blocks.kept) / max(1.0, sum(blocks.born)))
    return f"{alive:.0%} of the blocks that outlived the window of their birth still live"


def _spans(active: _Windows, size: int) -> _Windows:
    """Add up windows in spans of *size*, the last one full."""
    spans = [active[end - size : end] for end in range(len(active), size - 1, -size)]
    return [(sum(g for g, _ in span), sum(x for _, x in span)) for span in reversed(spans)]


def _grown_in_spans(share: Share, size: int, during: Windows) -> _Grown | None:
    """Judge by the levels, over as many spans as have grown without a break."""
    spans = _spans(_active(share, during), size)
    every = [growth for growth, _ in spans]
    run = _run(every)
    if run < SUSPECT_WINDOWS:
        return None
    growths, base = every[-run:], [amount for _, amount in spans[-run:]]
    if not _steady(growths, base, share.margin) or not is_new(growths, every[:-run]):
        return None
    if sum(growths) < share.processes * LEAST_BYTES:
        return None
    if sum(growths) < LEAST_DEVIATIONS * math.sqrt(share.variance):
        return None
    surely = _steady(growths, base, share.margin, CONFIRM_CONFIDENCE)
    counted = size if share.variance else 1  # windows of workers that do not grow show nothing
    left = wait_for_levels(growths, base, counted) if surely else sum(base) / run
    windows = f"{run} windows" if size == 1 else f"{run} spans of {size} windows"
    series = ", ".join(f"{g / x:,.0f}" for g, x in zip(growths[-8:], base[-8:], strict=True))
    seen = f"grew in each of the last {windows}: {series} {_unit(share, during)}"
    return _Grown(run * size, (seen,), left)


def _run(growths: Sequence[float]) -> int:
    """Return how many windows in a row, up to the last, have grown."""
    return len(list(takewhile(lambda growth: growth > 0, reversed(growths))))


def _steady(
    growths: Sequence[float],
    base: Sequence[float],
    margin: float,
    confidence: float = SUSPECT_CONFIDENCE,
) -> bool:
    """Say whether the growth per visit is surely above zero, and enough to speak of."""
    estimate, low, _ = ratio(growths, base, confidence)
    return low is not None and low > 0 and estimate > margin


def _missing(wait: float, share: Share, during: Windows) -> tuple[str, ...]:
    """Say what it takes to call it a leak."""
    if not wait:
        return ()
    if math.isinf(wait):
        return ("much of it goes later: a leak would keep it",)
    if share.endpoint not in during.visits:
        return (f"too early to call it a leak: about {wait:,.0f} s more",)
    more = max(100, round(wait, -2))
    return (f"too early to call it a leak: about {more:,.0f} more requests of this endpoint",)


def _until_told(share: Share, during: Windows, run: int) -> float:
    """Return how many more visits or seconds tell what takes the place of others.

    Where nothing but levels is known, the first windows alone cannot: leakmw itself grows in them.
    """
    heap = _heap(share, during, run)
    if heap is None or share.survival is not None:
        return 0
    missing = CONFIRM_WINDOWS - heap.told()
    return max(0, missing) * sum(_amounts(share, during)[-run:]) / run


def _heap(share: Share, during: Windows, run: int) -> Heap | None:
    """Return how the heap in which most of the place lies has moved; ``None`` if nobody tells."""
    if during.heaps is None or share.place.native:
        return None
    return during.heaps.of(sum(share.bytes) / max(1.0, sum(share.blocks))).cut(slice(-run, None))


def _in_place_of_others(share: Share, during: Windows, run: int) -> tuple[str, ...]:
    """Say so if what grew over the last *run* windows may only take the place of others."""
    heap = _heap(share, during, run)
    seen = heap and replaced(share.bytes[-run:], heap)
    if seen is None:
        return ()
    said = (
        f"over the last {seen.windows} windows {seen.went:,.0f} bytes went that had been there "
        f"before leakmw was, and the heap grew by {seen.grew:,.0f} in all: these may only take "
        "their place, as in a cache that was filled at the start"
    )
    return (said,)


def _unit(share: Share, during: Windows) -> str:
    return "bytes per request" if share.endpoint in during.visits else "bytes per second"


def _collected(during: Windows, run: int, *, left: bool) -> str:
    """Say whether what grew over the last *run* windows may be garbage that only waits."""
    if during.collections is None:
        return "the garbage collector is off: this may be cycles that it would free"
    times = round(sum(during.collections[-run + 1 :]))
    if times == 0:
        return "no full garbage collection has run meanwhile: this may be cycles that wait for one"
    if not left:
        return (
            "most of it came after the last full garbage collection: this may be cycles that wait "
            "for the next"
        )
    counted = "a full garbage collection has" if times == 1 else f"{times:,} full collections have"
    return f"{counted} run meanwhile and left it: it is no garbage"


def _reason(share: Share) -> str:
    if share.place.tagged:
        return "all of it was allocated in visits of this endpoint"
    if share.place.recycled:
        return (
            "Python hands such objects on from its own store: the line that made them is not the "
            "one that keeps them"
        )
    if not share.solved:
        return "every traceback runs through the view of this endpoint"
    if share.candidates:
        names = ", ".join(_spoken(name) for name in share.candidates[:MOST_CANDIDATES])
        return (
            "no traceback tells the endpoint, and the traffic's mix varied too little to tell it "
            f"from the windows: it may be {names}"
        )
    if share.endpoint == BACKGROUND:
        return "it follows the clock or no endpoint's visits"
    return "no traceback tells the endpoint; over the windows the growth follows its visits"


def _spoken(candidate: str) -> str:
    return {ALL: "every request alike", BACKGROUND: "no endpoint at all"}.get(candidate, candidate)


def _settled(share: Share, during: Windows) -> Judgement:
    """Say whether it grew, and has stopped."""
    if share.survival is not None:
        turnover = share.survival.bytes
        growth, amounts = turnover.growth(), _amounts(share, during)[:-1]
        enough = growth >= share.processes * LASTING_BYTES
        quiet = stopped(turnover, amounts) if enough else 0
        return _stopped(share, growth, quiet) if quiet else Judgement(None)
    growths = [growth for growth, _ in _active(share, during)]
    total, last = sum(growths), growths[-QUIET_WINDOWS:]
    if len(growths) <= QUIET_WINDOWS or total < SETTLED_BYTES:
        return Judgement(None)
    if abs(sum(last)) > QUIET_SHARE * total or max(last) > QUIET_SHARE * total:
        return Judgement(None)
    return _stopped(share, total, len(last))


def _stopped(share: Share, growth: float, quiet: int) -> Judgement:
    return Judgement(
        Verdict.SETTLED,
        (
            f"grew by {growth:,.0f} bytes, then stopped: nothing in the last {quiet} windows",
            _reason(share),
        ),
    )
