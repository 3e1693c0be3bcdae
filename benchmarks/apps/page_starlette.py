"""A page of products from Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog import page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from variants import WATCHED

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request


async def products(_: Request) -> HTMLResponse:
    """Answer."""
    return HTMLResponse(page())


app = Starlette(
    routes=[Route("/", products)],
    middleware=[Middleware(LeakMiddleware)] if WATCHED else [],
)
