"""Apps that look as if they leaked: warm-ups, caches with a bound, cycles, levels that swing."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import re
import threading
import weakref
from collections import OrderedDict, deque
from logging import LogRecord
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Any

from zoo.truth import innocent

if TYPE_CHECKING:
    from zoo.shops import Shop


@innocent("healthy", "flask", "/plain")
def nothing_stays(shop: Shop) -> None:
    """A page that keeps nothing."""

    def plain() -> Any:
        return shop.text(" ".join(str(number) for number in range(200)))

    shop.add("/plain", plain)


@innocent("healthy", "starlette", "/plain")
def nothing_stays_on_a_loop(shop: Shop) -> None:
    """A page that keeps nothing, with requests that overlap."""

    async def plain(_request: Any = None) -> Any:
        rows = [f"row {number}" for number in range(100)]
        await asyncio.sleep(0)
        return shop.text(" ".join(rows))

    shop.add("/plain", plain)


@innocent("healthy", "fastapi", "/sync")
def nothing_stays_in_threads(shop: Shop) -> None:
    """A page that keeps nothing, in the framework's threads."""

    def sync(_request: Any = None) -> Any:
        return shop.text(" ".join(f"row {number}" for number in range(100)))

    shop.add("/sync", sync)


@innocent("F01", "flask", "/export", bound=1)
def one_heavy_request(shop: Shop) -> None:
    """The first request loads what all others use."""
    loaded: list[bytes] = []

    def export() -> Any:
        if not loaded:
            loaded.extend(bytes(1000) for _ in range(5000))  # born
        return shop.text(str(len(loaded)))

    shop.add("/export", export)


@innocent("F02", "wsgi", "/peaks")
def peaks_of_random_height(shop: Shop) -> None:
    """A buffer is as large as the latest request wants it."""
    chance = random.Random(3)  # noqa: S311  # no secret
    latest: list[bytes] = []

    def peaks() -> Any:
        latest[:] = [bytes(chance.randrange(200_000))]  # born
        return shop.text("peak")

    shop.add("/peaks", peaks)


@innocent("F03", "starlette", "/buffered", bound=200)
def buffer_for_each_thread(shop: Shop) -> None:
    """The framework's threads have a buffer each."""
    local = threading.local()

    def buffered(_request: Any = None) -> Any:
        if not hasattr(local, "buffer"):
            local.buffer = bytearray(500_000)  # born
        return shop.text("buffered")

    shop.add("/buffered", buffered)


@innocent("F07", "flask", "/engine", bound=150)
def cache_of_150(shop: Shop) -> None:
    """A cache is pruned at 150 entries."""
    cache: OrderedDict[int, bytes] = OrderedDict()

    def engine() -> Any:
        cache[shop.number()] = bytes(50_000)  # born
        while len(cache) > 150:
            cache.popitem(last=False)
        return shop.text("engine")

    shop.add("/engine", engine)


@innocent("F09", "fastapi", "/types")
def classes_that_are_dropped(shop: Shop) -> None:
    """Classes are cycles, and wait for the collector."""

    async def types(_request: Any = None) -> Any:
        made = type("Model", (), {"number": shop.number()})  # born
        return shop.text(made.__name__)

    shop.add("/types", types)


@innocent("F11", "django", "/cycles")
def cycles_that_wait(shop: Shop) -> None:
    """Small cycles wait for the collector."""

    def cycles(_request: Any = None) -> Any:
        node: dict[str, Any] = {"rows": ["x" * 10 + str(n) for n in range(20)]}  # born
        node["self"] = node
        return shop.text("cycle")

    shop.add("/cycles", cycles)


@innocent("F12", "asgi", "/large-cycle")
def large_cycles_that_wait(shop: Shop) -> None:
    """A protocol and its scope hold each other, and 100 KB."""

    async def large(_request: Any = None) -> Any:
        if shop.number() % 10 == 0:
            scope: dict[str, Any] = {"body": bytes(100_000)}  # born
            scope["protocol"] = [scope]
        return shop.text("large")

    shop.add("/large-cycle", large)


@innocent("F13", "flask", "/deferred")
def cycles_of_a_late_collector(shop: Shop) -> None:
    """The oldest generation is looked at seldom."""
    gc.set_threshold(700, 10, 50)

    def deferred() -> Any:
        node = [bytes(500)]  # born
        node.append(node)  # type: ignore[arg-type]  # a cycle
        return shop.text("deferred")

    shop.add("/deferred", deferred)


@innocent("F15", "django", "/warm", bound=300)
def warm_up(shop: Shop) -> None:
    """Templates and patterns are compiled as they are first used."""
    compiled: dict[int, Any] = {}

    def warm(_request: Any = None) -> Any:
        key = shop.number() % 300
        if key not in compiled:
            compiled[key] = (re.compile(f"a{key}+b"), "template " * 100 + str(key))  # born
        return shop.text("warm")

    shop.add("/warm", warm)


@innocent("F24", "flask", "/cached", bound=1000)
def cache_with_a_size(shop: Shop) -> None:
    """A cache of a thousand entries fills once."""

    @functools.lru_cache(maxsize=1000)
    def quote(number: int) -> list[int]:
        return [number + n for n in range(30)]  # born

    def cached() -> Any:
        return shop.text(str(quote(shop.number())[0]))

    shop.add("/cached", cached)


@innocent("F24", "starlette", "/recent", bound=500)
def queue_with_a_length(shop: Shop) -> None:
    """The latest five hundred are kept."""
    recent: deque[str] = deque(maxlen=500)

    async def recent_view(_request: Any = None) -> Any:
        recent.append(f"{shop.number()} " + "x" * 2000)  # born
        return shop.text("recent")

    shop.add("/recent", recent_view)


@innocent("F24", "django", "/locmem")
def cache_that_culls(shop: Shop) -> None:
    """At three hundred entries a third goes."""
    cache: dict[int, bytes] = {}

    def locmem(_request: Any = None) -> Any:
        if len(cache) >= 300:
            for key in list(cache)[::3]:
                del cache[key]
        cache[shop.number()] = bytes(3000)  # born
        return shop.text("locmem")

    shop.add("/locmem", locmem)


@innocent("sawtooth", "wsgi", "/batch", bound=2000)
def batch_that_is_flushed(shop: Shop) -> None:
    """Records are sent two thousand at a time."""
    batch: list[str] = []

    def batched() -> Any:
        batch.append(f"record {shop.number()} " + "x" * 400)  # born
        if len(batch) >= 2000:
            batch.clear()
        return shop.text("batched")

    shop.add("/batch", batched)


@innocent("sawtooth", "fastapi", "/memory-log", bound=1000)
def log_that_is_flushed(shop: Shop) -> None:
    """A handler keeps a thousand records until it writes them."""

    class Handler(MemoryHandler):
        def flush(self) -> None:
            self.buffer.clear()

    handler = Handler(1000)

    async def memory_log(_request: Any = None) -> Any:
        number = shop.number()
        record = LogRecord(
            "shop", 20, __file__, 1, f"request {number} " + "x" * 300, (), None
        )  # born
        handler.emit(record)
        return shop.text("logged")

    shop.add("/memory-log", memory_log)


@innocent("population", "flask", "/profile", bound=4000)
def cache_of_all_users(shop: Shop) -> None:
    """There are five hundred users, and some come seldom."""
    chance = random.Random(5)  # noqa: S311  # no secret
    profiles: dict[int, bytes] = {}

    def profile() -> Any:
        user = min(499, int(chance.expovariate(1 / 100)))
        if user not in profiles:
            profiles[user] = bytes(4000)  # born
        return shop.text("profile")

    shop.add("/profile", profile)


@innocent("pool", "starlette", "/pooled", bound=100)
def pool_of_connections(shop: Shop) -> None:
    """A pool grows to as many as are needed at once."""
    free: list[bytearray] = []

    async def pooled(_request: Any = None) -> Any:
        connection = free.pop() if free else bytearray(30_000)  # born
        await asyncio.sleep(0)
        free.append(connection)
        return shop.text("pooled")

    shop.add("/pooled", pooled)


@innocent("weak", "django", "/weak")
def weak_references(shop: Shop) -> None:
    """A registry that keeps nothing alive."""

    class Session:
        def __init__(self, number: int) -> None:
            self.rows = [f"row {number}.{n}" for n in range(20)]  # born

    register: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()

    def weak(_request: Any = None) -> Any:
        session = Session(shop.number())
        register[shop.number()] = session
        return shop.text(session.rows[0])

    shop.add("/weak", weak)


@innocent("expiry", "asgi", "/session", bound=3000)
def sessions_that_expire(shop: Shop) -> None:
    """A session lives for three thousand requests."""
    sessions: dict[int, bytes] = {}

    async def session(_request: Any = None) -> Any:
        number = shop.number()
        sessions[number] = bytes(1500)  # born
        for old in [key for key in list(sessions)[:5] if key < number - 3000]:
            del sessions[old]
        return shop.text("session")

    shop.add("/session", session)


@innocent("walk", "flask", "/walk")
def level_that_wanders(shop: Shop) -> None:
    """As many come as go, by chance."""
    chance = random.Random(9)  # noqa: S311  # no secret
    kept: list[bytes] = [bytes(5000) for _ in range(300)]

    def walk() -> Any:
        if chance.random() < 0.5:
            kept.append(bytes(5000))  # born
        elif kept:
            kept.pop(chance.randrange(len(kept)))
        return shop.text("walk")

    shop.add("/walk", walk)


@innocent("mix", "starlette", "/big", shifting=True)
def traffic_that_shifts(shop: Shop) -> None:
    """Large answers are asked for more at times."""
    latest: deque[bytes] = deque(maxlen=20)

    async def big(_request: Any = None) -> Any:
        latest.append(bytes(100_000 + shop.number()))  # born
        return shop.text("big")

    shop.add("/big", big)


@innocent("series", "flask", "/histogram", bound=50)
def metrics_with_few_labels(shop: Shop) -> None:
    """A metric has as many children as there are routes."""
    children: dict[str, list[float]] = {}

    def histogram() -> Any:
        child = children.setdefault(f"route {shop.number() % 50}", [0.0] * 200)  # born
        child[shop.number() % 200] += 1.5 * shop.number()
        return shop.text("counted")

    shop.add("/histogram", histogram)


@innocent("frozen", "wsgi", "/frozen")
def heap_that_was_frozen(shop: Shop) -> None:
    """What was there at the start is no concern of the collector any more."""
    gc.freeze()

    def frozen() -> Any:
        node: list[Any] = [str(number) for number in range(30)]  # born
        node.append(node)
        return shop.text("frozen")

    shop.add("/frozen", frozen)


@innocent("steps", "django", "/stepped", bound=2000)
def table_that_doubles(shop: Shop) -> None:
    """An index over a bounded set of keys doubles now and then."""
    index: dict[int, str] = {}

    def stepped(_request: Any = None) -> Any:
        key = (shop.number() * 7919) % 2000
        index.setdefault(key, f"key {key} " + "x" * 50)  # born
        return shop.text("stepped")

    shop.add("/stepped", stepped)


@innocent("preloaded", "django", "/lookup")
def pool_that_is_renewed(shop: Shop) -> None:
    """What was made before the first request is replaced bit by bit, in no order."""
    chance = random.Random(5)  # noqa: S311  # no secret
    pool = [[f"part {number} of {item}" for number in range(20)] for item in range(2000)]

    def lookup(_request: Any = None) -> Any:
        number = shop.number()
        pool[chance.randrange(len(pool))] = [
            f"part {part} of {number}"  # born
            for part in range(20)
        ]
        return shop.text("renewed")

    shop.add("/lookup", lookup)


@innocent("preloaded", "flask", "/cached")
def cache_filled_at_the_start(shop: Shop) -> None:
    """A full cache of the latest entries: none of those that go first was ever seen to come."""
    latest = {key: f"entry {key}" * 400 for key in range(4000)}

    def cached() -> Any:
        number = shop.number()
        del latest[next(iter(latest))]
        latest[10_000 + number] = f"entry {number}" * 400  # born
        return shop.text("cached")

    shop.add("/cached", cached)
