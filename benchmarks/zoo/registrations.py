"""Leaks: something that is registered anew with each request."""

from __future__ import annotations

import atexit
import linecache
import logging
from typing import TYPE_CHECKING, Any

from zoo.truth import leak

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.shops import Shop


@leak("R14", "flask", "/sdk", cause="callback-registry", holder="Logger.handlers", per_request=272)
def handler_for_each_client(shop: Shop) -> None:
    """A client adds a handler to the same logger again."""

    def sdk() -> Any:
        logging.getLogger("sdk").addHandler(logging.NullHandler())  # born
        return shop.text("client")

    shop.add("/sdk", sdk)


@leak("R15", "django", "/logged", cause="callback-registry", holder=".loggerDict", per_request=416)
def logger_for_each_request(shop: Shop) -> None:
    """A logger lives for ever."""

    def logged(_request: Any = None) -> Any:
        logging.getLogger(f"request.{shop.number()}")  # born
        return shop.text("logged")

    shop.add("/logged", logged)


@leak("R16", "starlette", "/agent", cause="callback-registry", holder="atexit", per_request=895)
def exit_hook_for_each_instance(shop: Shop) -> None:
    """An object wants to be closed at exit."""

    class Agent:
        def __init__(self, number: int) -> None:
            self.history = [f"message {number}.{n}" for n in range(10)]  # born
            atexit.register(self.close)

        def close(self) -> None:
            self.history.clear()

    async def agent(_request: Any = None) -> Any:
        return shop.text(Agent(shop.number()).history[0])

    shop.add("/agent", agent)


@leak("R17", "flask", "/upload", cause="callback-registry", holder="Bus.handlers", per_request=428)
def bound_method_on_a_bus(shop: Shop) -> None:
    """A session registers its method with an event bus that outlives it."""

    class Bus:
        def __init__(self) -> None:
            self.handlers: list[Callable[[], Any]] = []

    bus = Bus()

    class Session:
        def __init__(self, number: int) -> None:
            self.credentials = {"key": f"key {number}", "region": f"region {number}"}  # born
            bus.handlers.append(self.refresh)

        def refresh(self) -> Any:
            return self.credentials

    def upload() -> Any:
        return shop.text(str(Session(shop.number()).credentials))

    shop.add("/upload", upload)


@leak("R18", "fastapi", "/event", cause="callback-registry", holder="processors", per_request=236)
def processor_for_each_request(shop: Shop) -> None:
    """A singleton is set up again and again."""
    processors: list[Callable[[Any], Any]] = []

    async def event(_request: Any = None) -> Any:
        number = shop.number()
        processors.append(lambda event: (event, number))  # born
        return shop.text("event")

    shop.add("/event", event)


@leak(
    "R19",
    "starlette",
    "/connect",
    cause="callback-registry",
    holder="Provider.meters",
    per_request=796,
)
def meter_for_each_connection(shop: Shop) -> None:
    """Instrumentation makes a meter for each connection."""

    class Meter:
        def __init__(self, number: int) -> None:
            self.instruments = {f"instrument {n}": number for n in range(8)}  # born

    class Provider:
        def __init__(self) -> None:
            self.meters: set[Meter] = set()

    provider = Provider()

    async def connect(_request: Any = None) -> Any:
        provider.meters.add(Meter(shop.number()))
        return shop.text("connected")

    shop.add("/connect", connect)


@leak(
    "R21", "wsgi", "/generated", cause="unbounded-cache", holder="linecache.cache", per_request=609
)
def source_of_generated_code(shop: Shop) -> None:
    """Code made at run time leaves its source in the line cache."""

    def generated() -> Any:
        name = f"<generated {shop.number()}>"
        source = f"def made(x):\n    return x + {shop.number()}  # {'x' * 300}\n"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # born
        return shop.text("made")

    shop.add("/generated", generated)


@leak("R22", "flask", "/model", cause="callback-registry", holder="listeners", per_request=692)
def listener_for_each_call(shop: Shop) -> None:
    """The same event is listened to once more with each call."""
    listeners: dict[str, list[Callable[[], Any]]] = {"before_flush": []}

    def listen(function: Callable[[], Any]) -> None:
        listeners["before_flush"].append(function)

    def model() -> Any:
        rows = [shop.number()] * 50  # born
        listen(lambda: rows)
        return shop.text("saved")

    shop.add("/model", model)


@leak(
    "R10",
    "starlette",
    "/stream",
    cause="callback-registry",
    holder="event_listeners",
    per_request=477,
)
def listener_after_the_answer(shop: Shop) -> None:
    """A background task enters a listener for a request that is over."""
    event_listeners: dict[int, list[str]] = {}

    async def stream(_request: Any = None) -> Any:
        number = shop.number()

        def enter() -> None:
            event_listeners[number] = [f"tag {number}.{n}" for n in range(6)]  # born

        return shop.text("streamed", after=enter)

    shop.add("/stream", stream)
