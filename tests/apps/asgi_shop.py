"""A Starlette app with one leak, for the tests of ASGI servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

KEPT: list[bytearray] = []


async def home(_: Request) -> PlainTextResponse:
    """Leak nothing."""
    return PlainTextResponse("home")


async def keep(request: Request) -> PlainTextResponse:
    """Leak a kilobyte."""
    KEPT.append(bytearray(1000))  # leak
    return PlainTextResponse(f"cart {request.path_params['number']}")


async def stream(request: Request) -> StreamingResponse:
    """Send so many times 64 KiB."""
    return StreamingResponse(_zeros(request.path_params["chunks"]))


async def _zeros(chunks: int) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        yield bytes(1 << 16)


async def file(_: Request) -> FileResponse:
    """Send this file."""
    return FileResponse(__file__, media_type="text/x-python")


app = Starlette(
    routes=[
        Route("/", home),
        Route("/carts/{number:int}", keep, methods=["POST"]),
        Route("/stream/{chunks:int}", stream),
        Route("/file", file),
    ],
    middleware=[Middleware(LeakMiddleware)],
)
