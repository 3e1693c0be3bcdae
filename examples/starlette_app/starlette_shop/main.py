"""The application: its routes, and what lives as long as it does."""

import contextlib
import gc
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware

from leakmw.asgi import LeakMiddleware
from starlette_shop import accounts, catalog, checkout, recommender, shelves
from starlette_shop.database import Database
from starlette_shop.mistakes import LEAKS


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    if "cycles" in LEAKS:
        gc.disable()  # its pauses showed in the latency of every endpoint
    app.state.recommender = recommender.Recommender()
    app.state.database = Database(os.environ.get("SHOP_DATABASE", "starlette_shop.sqlite3"))
    try:
        yield
    finally:
        app.state.database.close()


app = Starlette(
    routes=[
        *catalog.routes,
        *shelves.routes,
        *recommender.routes,
        *accounts.routes,
        *checkout.routes,
    ],
    middleware=[Middleware(LeakMiddleware, service="starlette-shop")],
    lifespan=lifespan,
)
