"""Starlette over a large heap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heaped import PEERS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request


async def hello(_: Request) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("hello")


def look(request: Request) -> PlainTextResponse:
    """Have a peer look at the heap, on a thread of the pool."""
    PEERS[request.path_params["peer"]]()
    return PlainTextResponse("looked")


app = Starlette(
    routes=[Route("/", hello), Route("/look/{peer}", look)],
    middleware=[Middleware(LeakMiddleware)],
)
