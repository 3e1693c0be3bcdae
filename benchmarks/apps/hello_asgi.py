"""Hello from plain ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from variants import WATCHED

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]


async def hello(
    scope: Any, _: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answer any request."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"hello"})


app = LeakMiddleware(hello) if WATCHED else hello
