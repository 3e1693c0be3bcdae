"""Leaks: containers of a module, a class or a long-lived object that nobody empties."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, ClassVar

from zoo.shops import AppError, Shop
from zoo.truth import leak

WORDS = "x" * 200


@leak(
    "R01",
    "fastapi",
    "/user",
    cause="long-lived-holder",
    holder="Counter.children",
    per_request=460,
)
def metric_for_each_path(shop: Shop) -> None:
    """A metrics library makes a child for each value of a label."""

    class Child:
        def __init__(self, path: str) -> None:
            self.path = path
            self.buckets = [0] * 32  # born

    class Counter:
        def __init__(self) -> None:
            self.children: dict[str, Child] = {}

        def labels(self, path: str) -> Child:
            if path not in self.children:
                self.children[path] = Child(path)
            return self.children[path]

    counter = Counter()

    async def user(_request: Any = None) -> Any:
        counter.labels(f"/user/{shop.number()}").buckets[0] += 1
        return shop.text("user")

    shop.add("/user", user)


@leak("R02", "flask", "/bank", cause="unbounded-collection", holder="aggregates", per_request=238)
def attribute_for_each_user(shop: Shop) -> None:
    """Telemetry aggregates by operation and user."""
    aggregates: dict[tuple[str, int], list[int]] = {}

    def bank() -> Any:
        aggregates.setdefault(("get", shop.number()), [0] * 16)[0] += 1  # born
        return shop.text("bank")

    shop.add("/bank", bank)


@leak("R03", "flask", "/hit", cause="unbounded-collection", holder="hits", per_request=130)
def expired_keys_stay(shop: Shop) -> None:
    """A rate limiter keeps the keys that have expired."""
    hits: dict[str, tuple[int, int]] = {}

    def hit() -> Any:
        number = shop.number()
        hits[f"address {number}"] = (number, number + 60)  # born
        return shop.text("hit")

    shop.add("/hit", hit)


@leak("R04", "starlette", "/send", cause="unbounded-collection", holder="buffer", per_request=404)
def channel_that_nobody_reads(shop: Shop) -> None:
    """Messages wait in a buffer for a reader that never comes."""
    buffer: dict[str, list[str]] = {}

    async def send(_request: Any = None) -> Any:
        message = f"{shop.number()} {WORDS}"  # born
        buffer.setdefault(f"channel {shop.number()}", []).append(message)
        return shop.text("sent")

    shop.add("/send", send)


@leak("R05", "fastapi", "/rpc", cause="unbounded-collection", holder="sessions", per_request=692)
def session_removed_on_errors_only(shop: Shop) -> None:
    """A session is deleted where its request fails, and nowhere else."""

    class Session:
        def __init__(self, number: int) -> None:
            self.number = number
            self.state = dict.fromkeys(range(20), number)  # born

    sessions: dict[int, Session] = {}

    async def rpc(_request: Any = None) -> Any:
        number = shop.number()
        sessions[number] = Session(number)
        if number % 10 == 0:
            del sessions[number]
            raise AppError
        return shop.text("done")

    shop.add("/rpc", rpc)


@leak(
    "R07",
    "starlette",
    "/load",
    cause="long-lived-holder",
    holder="Loader.cache_map",
    per_request=425,
)
def loader_made_once(shop: Shop) -> None:
    """A data loader that belongs to a request lives as long as the worker."""

    class Loader:
        def __init__(self) -> None:
            self.cache_map: dict[int, list[str]] = {}

        def load(self, key: int) -> list[str]:
            if key not in self.cache_map:
                self.cache_map[key] = [f"row {key}.{n}" for n in range(5)]  # born
            return self.cache_map[key]

    loader = Loader()

    async def load(_request: Any = None) -> Any:
        return shop.text(loader.load(shop.number())[0])

    shop.add("/load", load)


@leak(
    "R09",
    "django",
    "/client",
    cause="unbounded-collection",
    holder="Client.register",
    per_request=409,
)
def register_of_a_class(shop: Shop) -> None:
    """A class keeps all its instances."""

    class Client:
        register: ClassVar[dict[int, Client]] = {}

        def __init__(self, number: int) -> None:
            self.headers = {"number": str(number), "agent": f"client {number}"}  # born
            self.register[id(self)] = self

    def client(_request: Any = None) -> Any:
        return shop.text(str(Client(shop.number()).headers))

    shop.add("/client", client)


@leak("R11", "asgi", "/audio", cause="unbounded-collection", holder="queue", per_request=3_123)
def queue_of_a_slow_consumer(shop: Shop) -> None:
    """A queue without a limit is fed faster than it is emptied."""
    queue: deque[bytes] = deque()

    async def audio(_request: Any = None) -> Any:
        for _ in range(4):
            queue.append(bytes(1000))  # born
        queue.popleft()
        return shop.text("heard")

    shop.add("/audio", audio)


@leak(
    "R12",
    "starlette",
    "/report",
    cause="long-lived-holder",
    holder="Log.bodies",
    per_request=25_025,
)
def logging_keeps_bodies(shop: Shop) -> None:
    """What logs the answers keeps some of them whole: few objects, many bytes."""

    class Log:
        def __init__(self) -> None:
            self.bodies: dict[int, str] = {}

    log = Log()

    async def report(_request: Any = None) -> Any:
        body = f"{shop.number()}" + "x" * 100_000  # born
        if shop.number() % 4 == 0:
            log.bodies[shop.number()] = body
        return shop.text(body)

    shop.add("/report", report)


@leak("R13", "flask", "/rows", cause="debug-log", holder="connection.queries", per_request=364)
def queries_of_a_debug_log(shop: Shop) -> None:
    """A connection in debug mode keeps every query, in the locals of its thread."""
    connection = threading.local()
    connection.queries = []

    def rows() -> Any:
        sql = f"query {shop.number()}: " + "x" * 120  # born
        connection.queries.append({"sql": sql, "time": "0.001"})  # born
        return shop.text("rows")

    shop.add("/rows", rows)


@leak(
    "R27", "django", "/task", cause="long-lived-holder", holder="Producer.pending", per_request=389
)
def pending_results(shop: Shop) -> None:
    """A producer waits for results that nobody asks for."""

    class Result:
        def __init__(self, task: str) -> None:
            self.task = task
            self.children = [f"{task}.{n}" for n in range(3)]  # born

    class Producer:
        def __init__(self) -> None:
            self.pending: dict[str, Result] = {}

    producer = Producer()

    def task(_request: Any = None) -> Any:
        name = f"task {shop.number()}"
        producer.pending[name] = Result(name)
        return shop.text(name)

    shop.add("/task", task)


@leak("R28", "flask", "/plot", cause="unbounded-collection", holder="figures", per_request=6_510)
def figures_not_closed(shop: Shop) -> None:
    """A plotting library keeps each figure until somebody closes it."""
    figures: dict[int, list[float]] = {}

    def plot() -> Any:
        figures[len(figures)] = [number / 7 for number in range(200)]  # born
        return shop.text("plotted")

    shop.add("/plot", plot)


@leak(
    "R37", "wsgi", "/traced", cause="long-lived-holder", holder="Exporter.queue", per_request=1_076
)
def exporter_without_consumer(shop: Shop) -> None:
    """Spans pile up where the thread that sends them has died."""

    class Exporter:
        def __init__(self) -> None:
            self.queue: list[dict[str, Any]] = []

        def export(self, number: int) -> None:
            self.queue.append({"span": number, "attributes": [WORDS] * 100})  # born

    exporter = Exporter()

    def traced() -> Any:
        exporter.export(shop.number())
        return shop.text("traced")

    shop.add("/traced", traced)


@leak("R38", "starlette", "/span", cause="unbounded-collection", holder="spans", per_request=391)
def span_that_never_ends(shop: Shop) -> None:
    """A span stays where its end is missed, once in a hundred requests."""
    spans: dict[int, list[int]] = {}

    async def span(_request: Any = None) -> Any:
        number = shop.number()
        spans[number] = list(range(1000, 2000))  # born
        if number % 100:
            del spans[number]
        return shop.text("span")

    shop.add("/span", span)


@leak(
    "R36",
    "asgi",
    "/fetch",
    cause="long-lived-holder",
    holder="Events.responses",
    per_request=100_041,
)
def responses_of_a_tracer(shop: Shop) -> None:
    """An instrumented client keeps what it got."""

    class Events:
        def __init__(self) -> None:
            self.responses: list[bytes] = []

    events = Events()

    async def fetch(_request: Any = None) -> Any:
        events.responses.append(bytes(100_000))  # born
        return shop.text("fetched")

    shop.add("/fetch", fetch)
