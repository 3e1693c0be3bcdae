"""Hello from Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from variants import WATCHED

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request


async def hello(_: Request) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("hello")


app = Starlette(
    routes=[Route("/", hello)],
    middleware=[Middleware(LeakMiddleware)] if WATCHED else [],
)
