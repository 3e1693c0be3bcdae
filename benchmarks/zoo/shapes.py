"""Leaks of every size and rate, in all sorts of traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.truth import leak

if TYPE_CHECKING:
    from zoo.shops import Shop


@leak("size", "flask", "/tiny", cause="unbounded-collection", holder="kept", per_request=64)
def tiny(shop: Shop) -> None:
    """64 bytes of each request stay."""
    kept: list[bytes] = []

    def tiny_view() -> Any:
        kept.append(bytes(64 - 33))  # born
        return shop.text("tiny")

    shop.add("/tiny", tiny_view)


@leak("size", "asgi", "/huge", cause="unbounded-collection", holder="kept", per_request=100_000)
def huge(shop: Shop) -> None:
    """100 KB of each request stay."""
    kept: list[bytes] = []

    async def huge_view(_request: Any = None) -> Any:
        kept.append(bytes(100_000 - 33))  # born
        return shop.text("huge")

    shop.add("/huge", huge_view)


@leak("rate", "django", "/rare", cause="unbounded-collection", holder="kept", per_request=100)
def one_object_in_a_hundred_requests(shop: Shop) -> None:
    """10 KB stay of one request in a hundred."""
    kept: list[bytes] = []

    def rare(_request: Any = None) -> Any:
        if shop.number() % 100 == 0:
            kept.append(bytes(10_000))  # born
        return shop.text("rare")

    shop.add("/rare", rare)


@leak("churn", "flask", "/churn", cause="unbounded-collection", holder="kept", per_request=1024)
def inside_much_churn(shop: Shop) -> None:
    """1 KiB stays, while half a megabyte comes and goes."""
    kept: list[bytes] = []

    def churn() -> Any:
        rows = [bytes(1000) for _ in range(500)]
        kept.append(bytes(1024 - 33))  # born
        return shop.text(str(len(rows)))

    shop.add("/churn", churn)


@leak("helper", "starlette", "/a", cause="unbounded-collection", holder="audit", per_request=1024)
def helper_shared_with_healthy_endpoints(shop: Shop) -> None:
    """One helper makes records for three endpoints; one of them keeps its own."""
    audit: list[bytes] = []

    def record() -> bytes:
        return bytes(1024 - 33)  # born

    async def keeps(_request: Any = None) -> Any:
        audit.append(record())
        return shop.text("a")

    async def uses(_request: Any = None) -> Any:
        return shop.text(str(len(record())))

    async def uses_too(_request: Any = None) -> Any:
        return shop.text(str(sum(record())))

    shop.add("/a", keeps)
    shop.add("/b", uses)
    shop.add("/c", uses_too)


@leak(
    "mix",
    "flask",
    "/shifting",
    cause="unbounded-collection",
    holder="kept",
    per_request=1024,
    shifting=True,
)
def traffic_whose_mix_shifts(shop: Shop) -> None:
    """The endpoint is asked for more at times, and less at others."""
    kept: list[bytes] = []

    def shifting() -> Any:
        kept.append(bytes(1024 - 33))  # born
        return shop.text("shifting")

    shop.add("/shifting", shifting)


@leak("pool", "starlette", "/sync", cause="unbounded-collection", holder="kept", per_request=2048)
def endpoint_in_a_thread_pool(shop: Shop) -> None:
    """The framework runs the view in a thread."""
    kept: list[bytes] = []

    def sync(_request: Any = None) -> Any:
        kept.append(bytes(2048 - 33))  # born
        return shop.text("sync")

    shop.add("/sync", sync)


@leak(
    "share",
    "fastapi",
    "/seldom",
    cause="unbounded-collection",
    holder="kept",
    per_request=4096,
    shares={"/seldom": 0.05},
)
def endpoint_that_is_seldom_asked_for(shop: Shop) -> None:
    """One request in twenty goes to the endpoint that leaks."""
    kept: list[bytes] = []

    async def seldom(_request: Any = None) -> Any:
        kept.append(bytes(4096 - 33))  # born
        return shop.text("seldom")

    shop.add("/seldom", seldom)


@leak("growth", "wsgi", "/grows", cause="unbounded-collection", holder="log", per_request=559)
def one_buffer_that_is_extended(shop: Shop) -> None:
    """One buffer grows in place: no new object at all."""
    log = bytearray()

    def grows() -> Any:
        log.extend(b"x" * 500)  # born
        return shop.text("grown")

    shop.add("/grows", grows)
