"""Leaks: caches without a size, types made at run time, and memory that Python does not see."""

from __future__ import annotations

import ctypes
import functools
import ssl
from typing import TYPE_CHECKING, Any

from zoo.truth import leak

if TYPE_CHECKING:
    from zoo.shops import Shop


@leak(
    "six mistakes",
    "django",
    "/quote",
    cause="unbounded-cache",
    holder="lru_cache of cache_without_a_size.quote",
    per_request=1_326,
)
def cache_without_a_size(shop: Shop) -> None:
    """Every number is asked for once."""

    @functools.cache
    def quote(number: int) -> list[int]:
        return [number + n for n in range(30)]  # born

    def prices(_request: Any = None) -> Any:
        return shop.text(str(quote(shop.number())[0]))

    shop.add("/quote", prices)


@leak(
    "R39",
    "starlette",
    "/method",
    cause="unbounded-cache",
    holder="Basket.total()",
    per_request=795,
)
def cache_on_a_method(shop: Shop) -> None:
    """A cached method keeps every object that it was called on."""

    class Basket:
        def __init__(self, number: int) -> None:
            self.items = [f"item {number}.{n}" for n in range(10)]  # born

        @functools.cache  # noqa: B019  # the mistake
        def total(self, rate: int) -> int:
            return len(self.items) * rate

    async def method(_request: Any = None) -> Any:
        return shop.text(str(Basket(shop.number()).total(2)))

    shop.add("/method", method)


@leak("R08", "flask", "/query", cause="growing-types", holder="processors", per_request=2_585)
def processor_for_each_type(shop: Shop) -> None:
    """A cache by types that are made for each query."""
    processors: dict[Any, int] = {}

    def query() -> Any:
        made = type("Row", (), {})()  # born
        processors[made] = shop.number()
        return shop.text("rows")

    shop.add("/query", query)


@leak("R42", "fastapi", "/schema", cause="growing-types", holder="kept", per_request=2_555)
def class_for_each_request(shop: Shop) -> None:
    """A class is made for each request, and kept."""
    kept: list[type] = []

    async def schema(_request: Any = None) -> Any:
        fields = {f"field_{n}": n for n in range(5)}
        kept.append(type("Model", (), fields))  # born
        return shop.text("schema")

    shop.add("/schema", schema)


@leak("six mistakes", "flask", "/image", cause="native-memory", holder="thumbnails")
def view_that_keeps_an_array(shop: Shop) -> None:
    """A small view of an array keeps all of it."""
    import numpy as np  # the other cases start sooner without

    thumbnails: list[Any] = []

    def image() -> Any:
        pixels = np.ones(4000, dtype=np.uint8)  # born
        thumbnails.append(pixels[:10])
        return shop.text("image")

    shop.add("/image", image)


@leak("R24", "wsgi", "/secure", cause="native-memory", holder="contexts")
def tls_context_for_each_request(shop: Shop) -> None:
    """A small object of Python with much native memory behind it."""
    contexts: list[ssl.SSLContext] = []

    def secure() -> Any:
        if shop.number() % 5 == 0:
            contexts.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # born
        return shop.text("secure")

    shop.add("/secure", secure)


@leak("R46", "flask", "/native", cause="native-memory")
def memory_of_a_c_library(shop: Shop) -> None:
    """A library written in C forgets to free."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def native() -> Any:
        libc.memset(libc.malloc(10_000), 1, 10_000)
        return shop.text("native")

    shop.add("/native", native)


@leak("R23", "django", "/chat", cause="unbounded-collection", holder="clients", per_request=1_456)
def client_for_each_request(shop: Shop) -> None:
    """A client of an API is made for each request, and its pool is kept."""

    class Client:
        def __init__(self, number: int) -> None:
            self.pool = [bytearray(256) for _ in range(4)]  # born
            self.number = number

    clients: list[Client] = []

    def chat(_request: Any = None) -> Any:
        clients.append(Client(shop.number()))
        return shop.text("chat")

    shop.add("/chat", chat)
