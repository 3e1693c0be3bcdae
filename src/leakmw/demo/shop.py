"""A small shop in which only signing in leaks, and only with ``SHOP_LEAKS=1``."""

from __future__ import annotations

import os
import secrets
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from leakmw.asgi import LeakMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

KINDS = ("chair", "lamp", "shelf", "table")
CENTS = {f"{kind}-{number}": 900 + 25 * number for kind in KINDS for number in range(1, 16)}

LEAKY = os.environ.get("SHOP_LEAKS") == "1"
MAX_SESSIONS = 50

SESSIONS: dict[str, dict[str, str]] = {}
LATEST_ORDERS: deque[dict[str, int]] = deque(maxlen=50)


async def login(request: Request) -> JSONResponse:
    """Begin a session."""
    customer = (await request.json())["customer"]
    token = secrets.token_urlsafe(24)
    SESSIONS[token] = {"signed in as": customer, **request.headers}  # leak: sessions
    if not LEAKY:
        while len(SESSIONS) > MAX_SESSIONS:
            del SESSIONS[next(iter(SESSIONS))]
    return JSONResponse({"token": token}, status_code=201)


async def products(_request: Request) -> StreamingResponse:
    """List what is for sale, one kind after the other."""
    return StreamingResponse(_lines(), media_type="text/csv")


async def _lines() -> AsyncIterator[str]:
    for kind in KINDS:
        yield "".join(f"{name},{cents}\n" for name, cents in CENTS.items() if kind in name)


async def product(request: Request) -> JSONResponse:
    """Show one product."""
    name = request.path_params["name"]
    if name not in CENTS:
        raise HTTPException(404)
    return JSONResponse({"name": name, "cents": CENTS[name]})


async def search(request: Request) -> JSONResponse:
    """Find products by a part of their name."""
    return JSONResponse(_found(request.query_params.get("q", "")))


@lru_cache(maxsize=32)
def _found(term: str) -> list[str]:
    return [name for name in CENTS if term in name]


async def order(request: Request) -> JSONResponse:
    """Buy products; only the latest orders are remembered."""
    names = (await request.json())["products"]
    LATEST_ORDERS.append({name: CENTS[name] for name in names})
    return JSONResponse({"cents": sum(CENTS[name] for name in names)}, status_code=201)


app = Starlette(
    routes=[
        Route("/login", login, methods=["POST"]),
        Route("/products", products),
        Route("/products/{name}", product),
        Route("/search", search),
        Route("/orders", order, methods=["POST"]),
    ],
    middleware=[Middleware(LeakMiddleware, service="demo shop")],
)
