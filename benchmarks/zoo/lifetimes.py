"""Leaks: tasks, timers, threads, generators, exceptions and cycles that do not end."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

from zoo.shops import AppError, Shop
from zoo.truth import leak

if TYPE_CHECKING:
    from collections.abc import Iterator

FOR_EVER = 7200


@leak(
    "R29",
    "starlette",
    "/alive",
    cause="pending-task",
    holder="timers of the event loop",
    per_request=1_230,
)
def timer_not_cancelled(shop: Shop) -> None:
    """A timer for two hours from now holds what belongs to the request."""

    class Protocol:
        def __init__(self, number: int) -> None:
            self.scope = {
                "number": number,
                "headers": [f"header {n} {number}" for n in range(8)],  # born
            }  # born

        def timed_out(self) -> None:
            self.scope.clear()

    async def alive(_request: Any = None) -> Any:
        protocol = Protocol(shop.number())
        asyncio.get_running_loop().call_later(FOR_EVER, protocol.timed_out)
        return shop.text("alive")

    shop.add("/alive", alive)


@leak("R32", "fastapi", "/subscribe", cause="pending-task", holder="cell tasks", per_request=866)
def task_that_waits_for_ever(shop: Shop) -> None:
    """A task waits on a queue that nobody fills."""
    tasks: set[asyncio.Task[None]] = set()

    async def subscriber(queue: asyncio.Queue[int], buffer: bytearray) -> None:
        buffer[0] = await queue.get()

    async def subscribe(_request: Any = None) -> Any:
        if shop.number() % 10 == 0:
            buffer = bytearray(4000)  # born
            tasks.add(asyncio.create_task(subscriber(asyncio.Queue(), buffer)))
        return shop.text("subscribed")

    shop.add("/subscribe", subscribe)


@leak(
    "R06",
    "starlette",
    "/stateless",
    cause="pending-task",
    holder="Server.tasks",
    per_request=1_097,
)
def task_group_that_stays_open(shop: Shop) -> None:
    """A server keeps one task for each request without a state."""

    class Server:
        def __init__(self) -> None:
            self.tasks: list[asyncio.Future[bytes]] = []

    server = Server()

    async def stateless(_request: Any = None) -> Any:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        payload = bytes(500)  # born
        future.add_done_callback(lambda _: payload)
        server.tasks.append(future)
        return shop.text("done")

    shop.add("/stateless", stateless)


@leak("R31", "flask", "/fails", cause="held-traceback", holder="errors", per_request=6_800)
def exception_kept_with_its_frames(shop: Shop) -> None:
    """An error that is kept holds the locals of its frames."""
    errors: list[Exception] = []

    def work(number: int) -> None:
        rows = [f"row {number}.{n}" for n in range(20)]  # born
        raise ValueError(f"{len(rows)} rows")

    def fails() -> Any:
        try:
            work(shop.number())
        except ValueError as error:
            errors.append(error)
        return shop.text("failed")

    shop.add("/fails", fails)


@leak("R34", "flask", "/login", cause="unbounded-collection", holder="stack", per_request=92)
def context_not_popped_on_errors(shop: Shop) -> None:
    """One request in a hundred fails, and what it pushed stays."""
    stack: list[dict[str, Any]] = []

    def login() -> Any:
        number = shop.number()
        stack.append({"user": number, "form": ["x" * 40 + str(n) for n in range(100)]})  # born
        if number % 100 == 0:
            raise AppError
        stack.pop()
        return shop.text("in")

    shop.add("/login", login)


@leak("R25", "django", "/pool", cause="thread", holder="threading._active", per_request=470)
def thread_for_some_requests(shop: Shop) -> None:
    """A pool that is made in a request and never shut down: one thread in fifty requests."""

    def wait(buffer: bytearray, event: threading.Event) -> None:
        event.wait()
        buffer.clear()

    def pool(_request: Any = None) -> Any:
        if shop.number() % 50 == 0:
            buffer = bytearray(20_000)  # born
            threading.Thread(target=wait, args=(buffer, threading.Event()), daemon=True).start()
        return shop.text("pooled")

    shop.add("/pool", pool)


@leak(
    "six mistakes",
    "wsgi",
    "/export",
    cause="suspended-generator",
    holder="unfinished",
    per_request=2_037,
)
def generators_left_half_way(shop: Shop) -> None:
    """A generator that nobody finishes keeps its frame."""
    unfinished: list[Iterator[str]] = []

    def lines(number: int) -> Iterator[str]:
        rows = [f"{number};{n}" for n in range(30)]  # born
        yield from rows

    def export() -> Any:
        generator = lines(shop.number())
        unfinished.append(generator)
        return shop.text(next(generator))

    shop.add("/export", export)


@leak(
    "six mistakes",
    "flask",
    "/tree",
    cause="reference-cycle",
    everywhere=True,
)
def cycles_without_a_collector(shop: Shop) -> None:
    """Cycles pile up, as the collector was switched off."""

    class Node:
        def __init__(self, number: int) -> None:
            self.children = [f"child {number}.{n}" for n in range(12)]  # born
            self.parent = self

    def tree() -> Any:
        gc.disable()
        return shop.text(Node(shop.number()).children[0])

    shop.add("/tree", tree)


@leak("R05", "asgi", "/thread", cause="unbounded-collection", holder="results", per_request=2_087)
def growth_in_a_worker_thread(shop: Shop) -> None:
    """What a thread pool makes for a request stays in a dict."""
    results: dict[int, bytes] = {}

    def compute(number: int) -> None:
        results[number] = bytes(2000)  # born

    async def thread(_request: Any = None) -> Any:
        await asyncio.to_thread(compute, shop.number())
        return shop.text("computed")

    shop.add("/thread", thread)


@leak("R10", "fastapi", "/mail", cause="long-lived-holder", holder="Outbox.sent", per_request=958)
def growth_in_a_background_task(shop: Shop) -> None:
    """A task after the answer keeps what it sent."""

    class Outbox:
        def __init__(self) -> None:
            self.sent: list[str] = []

    outbox = Outbox()

    async def mail(_request: Any = None) -> Any:
        number = shop.number()

        async def deliver() -> None:
            await asyncio.sleep(0)
            outbox.sent.append(f"mail {number} " + "x" * 900)  # born

        return shop.text("queued", after=deliver)

    shop.add("/mail", mail)
