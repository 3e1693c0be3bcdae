"""What a growth is called, and why one may say so."""

from __future__ import annotations

import math
import random
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.analysis.attribution import ALL, Share, Windows
from leakmw.analysis.series import Place
from leakmw.analysis.survival import Survival, Turnover
from leakmw.analysis.verdicts import LEAST_BYTES, judge, looked_at
from leakmw.records import BACKGROUND, MAX_SNAPSHOTS, Frame, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakmw.analysis.verdicts import Judgement

ENDPOINT = "GET /a"
PLACE = Place(Frame("shop.py", 5), frozenset({ENDPOINT}), in_visit=True)


def verdict(
    levels: Sequence[float],
    visits: Sequence[float] | None = None,
    *,
    collections: list[float] | None = None,
    **known: Any,
) -> Judgement:
    """Judge a place with these levels, after 1,000 visits in each window unless given."""
    count = len(levels) - 1
    growths = [after - before for before, after in pairwise(levels)]
    during = Windows(
        visits={ENDPOINT: list(visits or [1000.0] * count)},
        seconds=[10.0] * count,
        in_flight=4,
        collections=collections,
    )
    share = Share(ENDPOINT, PLACE, (), growths, growths)._replace(**known)
    return judge(share, during, partial(looked_at, share, during))


def test_steady_growth_is_suspect_from_the_fifth_window() -> None:
    """Not before: four windows may be chance."""
    levels = [10_000.0 * window for window in range(6)]
    assert verdict(levels[:5]).verdict is None
    assert verdict(levels).verdict is Verdict.SUSPECT


def test_the_evidence_says_how_much_by_what_and_what_was_not_looked_at() -> None:
    """In plain sentences."""
    evidence = verdict(
        [0, 50_000, 110_000, 150_000, 200_000, 260_000], collections=[0, 1, 1, 0, 1]
    ).evidence
    assert evidence == (
        "grew in each of the last 5 windows: 50, 60, 40, 50, 60 bytes per request",
        "every traceback runs through the view of this endpoint",
        "3 full collections have run meanwhile and left it: it is no garbage",
        "too early to call it a leak: about 3,000 more requests of this endpoint",
    )


@pytest.mark.parametrize(
    ("collections", "sentence"),
    [
        (None, "the garbage collector is off"),
        ([9.0, 0, 0, 0, 0], "no full garbage collection has run meanwhile"),
        ([0.0, 0, 0, 0, 1], "a full garbage collection has run meanwhile and left it"),
        ([0.0, 0, 1, 0, 0], "most of it came after the last full garbage collection"),
    ],
)
def test_the_evidence_says_whether_it_may_be_garbage(
    collections: list[float] | None, sentence: str
) -> None:
    """What the collector has not looked at yet may only wait for it."""
    evidence = verdict(
        [10_000.0 * window for window in range(6)], collections=collections
    ).evidence
    assert evidence[-2].startswith(sentence)


@pytest.mark.parametrize(
    ("endpoint", "candidates", "sentence"),
    [
        (ENDPOINT, (), "over the windows the growth follows its visits"),
        (BACKGROUND, ("GET /b", "GET /c"), "from the windows: it may be GET /b, GET /c"),
        (BACKGROUND, (ALL, BACKGROUND), "it may be every request alike, no endpoint at all"),
        (BACKGROUND, (), "it follows the clock or no endpoint's visits"),
    ],
)
def test_the_evidence_says_how_the_endpoint_was_told(
    endpoint: str, candidates: tuple[str, ...], sentence: str
) -> None:
    """Also that it could not be told."""
    levels = [10_000.0 * window for window in range(6)]
    evidence = verdict(levels, endpoint=endpoint, solved=True, candidates=candidates).evidence
    assert sentence in evidence[1]
    unit = "bytes per second" if endpoint == BACKGROUND else "bytes per request"
    assert evidence[0].endswith(unit)


def test_what_follows_no_endpoint_is_suspect_once_a_full_collection_left_it() -> None:
    """Servers leave cycles of each connection, which grow until then; those of endpoints count."""
    levels = [10_000.0 * window for window in range(8)]
    waiting, too_early, left = [0.0] * 7, [0.0, 0, 1, 0, 0, 0, 0], [0.0, 0, 0, 0, 1, 0, 0]
    assert verdict(levels, endpoint=BACKGROUND, collections=waiting).verdict is None
    assert verdict(levels, endpoint=BACKGROUND, collections=too_early).verdict is None
    assert verdict(levels, endpoint=BACKGROUND, collections=left).verdict is Verdict.SUSPECT
    assert verdict(levels, endpoint=BACKGROUND, collections=None).verdict is Verdict.SUSPECT
    assert verdict(levels, collections=waiting).verdict is Verdict.SUSPECT


def test_growth_that_may_be_another_endpoints_is_no_suspect() -> None:
    """Where the split among endpoints is less sure than the growth is large."""
    levels = [10_000.0 * window for window in range(6)]
    assert verdict(levels, margin=9).verdict is Verdict.SUSPECT
    assert verdict(levels, margin=11).verdict is None


def test_a_few_kilobytes_are_nobodys_evening() -> None:
    """Below a few kilobytes nobody is called."""
    step = LEAST_BYTES / 5
    assert verdict([step * window for window in range(6)]).verdict is Verdict.SUSPECT
    assert verdict([0.99 * step * window for window in range(6)]).verdict is None


def test_windows_without_a_visit_of_the_endpoint_say_nothing_of_it() -> None:
    """Neither for it nor against it."""
    levels = [0.0, 20_000, 20_000, 40_000, 60_000, 60_000, 80_000, 100_000]
    visits = [1000.0, 0, 1000, 1000, 0, 1000, 1000]
    assert verdict(levels, visits).verdict is Verdict.SUSPECT
    assert verdict(levels).verdict is None


def test_a_cache_that_filled_is_settled() -> None:
    """With the size it came to; while it fills it is suspect, as far as anybody can tell."""
    levels = [200_000 * (1 - math.exp(-window / 3)) for window in range(24)]
    assert verdict(levels[:8]).verdict is Verdict.SUSPECT
    settled = verdict(levels)
    assert settled.verdict is Verdict.SETTLED
    assert settled.evidence[0].startswith("grew by 199,")


@pytest.mark.parametrize("last", [(0, 0), (60, -60, 20)], ids=["two windows", "little"])
def test_growth_that_stopped_is_settled_after_three_windows(last: tuple[int, ...]) -> None:
    """A little up and down is no growth; two windows are too few."""
    levels = [0.0, 40_000, 40_000]
    for step in last[:-1] if last == (0, 0) else last:
        levels.append(levels[-1] + step)
    assert (verdict(levels).verdict is Verdict.SETTLED) is (len(last) == 3)


def test_what_shrank_or_hardly_grew_is_not_worth_a_word() -> None:
    """Nobody asks why a few kilobytes stopped growing."""
    assert verdict([50_000.0, 20_000, 20_000, 20_000, 20_000]).verdict is None
    assert verdict([0.0, 9_000, 9_000, 9_000, 9_000]).verdict is None


def test_a_sawtooth_is_called_at_most_on_its_first_rise() -> None:
    """A cache that is cleared at its limit comes back to where it was."""
    tooth = [10_000.0 * step for step in range(8)]
    verdicts = [verdict(tooth[: end + 1]).verdict for end in range(8)]
    later = [verdict([*tooth, *tooth, *tooth][: end + 1]).verdict for end in range(9, 24)]
    assert verdicts[-1] is Verdict.SUSPECT
    assert Verdict.SUSPECT not in later


def test_one_burst_does_not_hide_a_leak() -> None:
    """A snapshot may meet a moment in which much was in flight."""
    levels = [0.0, 500_000, *(10_000.0 * window for window in range(1, 8))]
    assert verdict(levels).verdict is Verdict.SUSPECT


def test_a_leak_on_one_request_in_a_hundred_is_found() -> None:
    """As soon as it shows in each window; one that most windows do not meet is not."""
    rng = random.Random(1)

    def levels(share: float) -> list[float]:
        level, every = 0.0, [0.0]
        for _ in range(15):
            level += 1000 * sum(rng.random() < share for _ in range(1000))
            every.append(level)
        return every

    often = [verdict(levels(0.01)).verdict for _ in range(50)]
    seldom = [verdict(levels(0.0002)).verdict for _ in range(50)]
    assert often.count(Verdict.SUSPECT) >= 48
    assert seldom.count(Verdict.SUSPECT) == 0


def independent(rng: random.Random, count: int) -> list[float]:
    """Return levels that have nothing to do with each other."""
    return [max(0.0, rng.gauss(100_000, 30_000)) for _ in range(count)]


def in_flight(rng: random.Random, count: int) -> list[float]:
    """Return the memory of a few requests under way, 4 kB each."""
    return [4000.0 * sum(rng.random() < 0.05 for _ in range(160)) for _ in range(count)]


def skewed(rng: random.Random, count: int) -> list[float]:
    """Return levels with rare high ones."""
    return [10_000 * math.exp(rng.gauss(0, 1)) for _ in range(count)]


def sluggish(rng: random.Random, count: int) -> list[float]:
    """Return levels that keep half of their distance from the mean."""
    levels = [rng.gauss(0, 1)]
    for _ in range(count - 1):
        levels.append(0.5 * levels[-1] + math.sqrt(0.75) * rng.gauss(0, 1))
    return [200_000 + 40_000 * level for level in levels]


@pytest.mark.parametrize("process", [independent, in_flight, skewed, sluggish])
def test_what_only_fluctuates_is_no_suspect(
    process: Callable[[random.Random, int], list[float]],
) -> None:
    """Of 1,000 places over 20 reports each at most two verdicts in 20,000 are wrong.

    Measured: none for any process.
    """
    rng, wrong = random.Random(1), 0
    for _ in range(1000):
        levels = process(rng, MAX_SNAPSHOTS + 20)
        for end in range(MAX_SNAPSHOTS, MAX_SNAPSHOTS + 20):
            kept = [levels[0], *levels[end - MAX_SNAPSHOTS + 2 : end + 1]]
            wrong += verdict(kept).verdict in {Verdict.SUSPECT, Verdict.LEAK}
    assert wrong <= 2


SAMPLE = 30_000.0
"""What one sample of small blocks stands for."""


def judged(samples: Sequence[float]) -> Judgement:
    """Judge a place whose level is known from so many samples at each snapshot."""
    levels = [SAMPLE * count for count in samples]
    return verdict(levels, variance=levels[-1] * SAMPLE)


def test_a_leak_that_leaves_a_sample_in_some_windows_only_is_suspect_all_the_same() -> None:
    """Windows are added up until each span holds enough."""
    suspicion = judged([0, 1, 1, 3, 3, 4, 6, 6, 7, 9, 9, 10, 12, 12, 13])
    assert suspicion.verdict is Verdict.SUSPECT
    assert "spans of" in suspicion.evidence[0]


def survived(born: Sequence[float], died: Sequence[float], **known: Any) -> Judgement:
    """Judge a place of which so many samples outlived each window, and went later."""
    count = len(born)
    variance = [b + d for b, d in zip(born, died, strict=True)]
    kept = [max(0.0, b - d) for b, d in zip(born, [*died[1:], 0.0], strict=True)]
    in_blocks = Turnover(list(born), list(died), kept, variance)
    in_bytes = Turnover(
        born=[SAMPLE * one for one in born],
        died=[SAMPLE * one for one in died],
        kept=[SAMPLE * one for one in kept],
        variance=[SAMPLE**2 * one for one in variance],
    )
    levels = [0.0, *accumulate(in_bytes.net()), 0.0]
    return verdict(levels, [1000.0] * (count + 1), survival=Survival(in_bytes, in_blocks), **known)


TAGGED = PLACE._replace(tagged=True)


def test_where_births_are_known_what_outlives_its_window_is_judged() -> None:
    """With how much of it still lives, whatever is in flight at the moment."""
    suspicion = survived([3, 0, 3, 2, 4, 3], [0] * 6, place=TAGGED, collections=[0.0] * 6 + [1.0])
    assert suspicion.verdict is Verdict.SUSPECT
    assert suspicion.evidence == (
        "grew all through the last 6 windows: 45, 75, 105 bytes per request",
        "100% of the blocks that outlived the window of their birth still live",
        "all of it was allocated in visits of this endpoint",
        "a full garbage collection has run meanwhile and left it: it is no garbage",
        "too early to call it a leak: about 2,000 more requests of this endpoint",
    )
    assert survived([3, 3, 3, 3, 3, 3], [0, 3, 3, 3, 3, 3]).verdict is None


def test_what_outlived_its_window_and_has_stopped_is_settled() -> None:
    """Once enough was to be expected."""
    settled = survived([9] * 6 + [0] * 6, [0] * 12)
    assert settled.verdict is Verdict.SETTLED
    assert settled.evidence[0].endswith("then stopped: nothing in the last 3 windows")


def test_what_libraries_leave_is_suspect_once_a_full_collection_left_it() -> None:
    """Frameworks leave cycles; those of the app itself may be such that none is due for long."""
    library, born = TAGGED._replace(own=False), [3.0] * 9
    waiting, too_early, left = [0.0] * 10, [0.0, 0, 1, *[0] * 7], [*[0.0] * 6, 1, 0, 0, 0]
    assert survived(born, [0] * 9, place=library, collections=waiting).verdict is None
    assert survived(born, [0] * 9, place=library, collections=too_early).verdict is None
    assert survived(born, [0] * 9, place=library, collections=left).verdict is Verdict.LEAK
    assert survived(born, [0] * 9, place=TAGGED, collections=waiting).verdict is Verdict.SUSPECT


def test_what_grows_at_one_pace_over_eight_windows_is_a_leak() -> None:
    """Once a full collection has left it; the evidence says what still lives of each window."""
    leak = survived([3.0] * 9, [0] * 9, place=TAGGED, collections=[*[0.0] * 8, 1, 0])
    assert leak.verdict is Verdict.LEAK
    assert leak.evidence == (
        "grew all through the last 9 windows: 90, 90, 90 bytes per request",
        "born in each of the last 9 windows and still alive: " + ", ".join(["100%"] * 8),
        "all of it was allocated in visits of this endpoint",
        "a full garbage collection has run meanwhile and left it: it is no garbage",
    )


@pytest.mark.parametrize("collections", [[0.0] * 10, None], ids=["none yet", "collector off"])
def test_a_leak_that_may_be_garbage_is_ripe(collections: list[float] | None) -> None:
    """Somebody has to look how much garbage there is."""
    ripe = survived([3.0] * 9, [0] * 9, place=TAGGED, collections=collections)
    assert (ripe.verdict, ripe.ripe) == (Verdict.SUSPECT, True)
    assert "too early" not in ripe.evidence[-1]


@pytest.mark.parametrize(
    ("born", "died", "sentence"),
    [
        ([3.0] * 7, [0.0] * 7, "too early to call it a leak: about 1,000 more requests"),
        ([1.0, 1, 1, 1, 1, 0, 1, 1, 1], [0.0] * 9, "too early to call it a leak"),
        ([9.0, 9, 9, 9, 3, 3, 3, 3, 3], [0.0] * 9, "too early to call it a leak"),
        ([9.0] * 9, [0.0, *[6.0] * 8], "much of it goes later: a leak would keep it"),
    ],
    ids=["few windows", "few samples", "slowing", "much goes"],
)
def test_what_is_not_clear_yet_says_what_is_missing(
    born: list[float], died: list[float], sentence: str
) -> None:
    """It may be a cache that fills."""
    suspicion = survived(born, died, place=TAGGED, collections=[*[0.0] * len(born), 1.0])
    assert (suspicion.verdict, suspicion.ripe) == (Verdict.SUSPECT, False)
    assert suspicion.evidence[-1].startswith(sentence)


def test_nothing_that_follows_no_endpoint_is_called_a_leak() -> None:
    """Nobody could say what to look at."""
    levels = [10_000.0 * window for window in range(12)]
    found = verdict(levels, endpoint=BACKGROUND, collections=[0.0] * 10 + [1.0])
    assert found.verdict is Verdict.SUSPECT


def test_recycled_objects_are_nobodys_leak() -> None:
    """Who made them first need not be who keeps them; they count once a collection left them."""
    place = TAGGED._replace(endpoints=frozenset(), tagged=False, recycled=True)
    born, collected = [3.0] * 9, [*[0.0] * 8, 1.0, 0]
    found = survived(born, [0] * 9, place=place, collections=collected)
    assert (found.verdict, found.ripe) == (Verdict.SUSPECT, False)
    assert found.evidence[-2].startswith("Python hands such objects on from its own store")
    assert survived(born, [0] * 9, place=place, collections=[0.0] * 10).verdict is None


def test_levels_that_grew_alike_eight_times_are_a_leak() -> None:
    """Where nothing but levels is known they must have grown by much the same."""
    levels = [10_000.0 * window for window in range(9)]
    assert verdict(levels, collections=[*[0.0] * 7, 1]).verdict is Verdict.LEAK
    uneven = [0.0, *accumulate([1000, 40_000, 2000, 30_000, 3000, 50_000, 1500, 35_000])]
    assert verdict(uneven, collections=[*[0.0] * 7, 1]).verdict is not Verdict.LEAK


def test_windows_without_any_visit_say_nothing_of_survivors() -> None:
    """Nor can they be divided by, if all are such or the later half."""
    late = [0.0] * 4 + [9.0] * 4
    for early, growths in (0.0, [9.0] * 8), (1000.0, late):
        blocks = Turnover(growths, [0.0] * 8, growths, growths)
        in_bytes = Turnover(*([SAMPLE * one for one in column] for column in blocks))
        visits = [early] * 4 + [0.0] * 4 + [9.0]
        survival = Survival(in_bytes, blocks)
        assert verdict([0.0] * 10, visits, survival=survival).verdict is None


def test_exact_figures_are_not_added_up() -> None:
    """A level that stands still in every third window has stopped each time."""
    levels = [SAMPLE * count for count in [0, 1, 1, 3, 3, 4, 6, 6, 7, 9, 9, 10, 12, 12, 13]]
    assert verdict(levels).verdict is None


def test_a_few_samples_more_are_no_growth() -> None:
    """Of something that comes and goes anyway."""
    assert judged([5, 6, 7, 8, 9, 10]).verdict is None
    assert judged([0, 5, 10, 15, 20, 25]).verdict is Verdict.SUSPECT


@pytest.mark.parametrize("alive", [1, 3, 10])
def test_what_comes_and_goes_is_hardly_ever_suspect(alive: int) -> None:
    """At none of eleven looks in at least 98 of 100 histories of slow churn."""
    rng = random.Random(1)
    alarms = 0
    for _ in range(200):
        count, counts = alive, [alive]
        for _ in range(15):
            count = sum(rng.random() < 0.7 for _ in range(count))
            count += sum(rng.random() < 0.3 for _ in range(alive))
            counts.append(count)
        alarms += any(
            judged(counts[:end]).verdict is Verdict.SUSPECT for end in range(6, len(counts) + 1)
        )
    assert alarms <= 4
