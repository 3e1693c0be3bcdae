"""What is for sale."""

import secrets
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from starlette_shop.database import PRODUCTS, Database
from starlette_shop.mistakes import LEAKS

PAGE = 20
MAX_CURSORS = 20

templates = Jinja2Templates(Path(__file__).parent / "templates")


async def index(request: Request) -> Response:
    rows = await request.app.state.database.rows(
        "SELECT category, count(*) FROM products GROUP BY category"
    )
    categories = [{"category": category, "size": size} for category, size in rows]
    return templates.TemplateResponse(request, "index.html", {"categories": categories})


async def products(request: Request) -> JSONResponse:
    rows = await request.app.state.database.rows(
        "SELECT id, name, cents FROM products ORDER BY cents LIMIT ?", PAGE
    )
    return JSONResponse([{"id": id_, "name": name, "cents": cents} for id_, name, cents in rows])


async def product(request: Request) -> JSONResponse:
    rows = await request.app.state.database.rows(
        "SELECT name, cents FROM products WHERE id = ?", request.path_params["number"]
    )
    if not rows:
        raise HTTPException(404)
    name, cents = rows[0]
    return JSONResponse({"name": name, "cents": cents})


async def search(request: Request) -> JSONResponse:
    return JSONResponse({"found": find(request.query_params.get("q", "").strip().lower())})


@lru_cache(maxsize=20)
def find(term: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in PRODUCTS if term in name)


CURSORS: dict[str, AsyncIterator[list[str]]] = {}


async def pages(database: Database) -> AsyncIterator[list[str]]:
    rows = await database.rows("SELECT name FROM products ORDER BY name")
    names = [name.title() for (name,) in rows]  # leak: cursors
    for first in range(0, len(names), PAGE):
        yield names[first : first + PAGE]


async def page(request: Request) -> JSONResponse:
    cursor = request.query_params.get("cursor") or secrets.token_urlsafe(8)
    rows = CURSORS.setdefault(cursor, pages(request.app.state.database))
    if "cursors" not in LEAKS:
        for oldest in tuple(CURSORS)[:-MAX_CURSORS]:
            del CURSORS[oldest]
    return JSONResponse({"cursor": cursor, "names": await anext(rows, [])})


routes = [
    Route("/", index),
    Route("/products", products),
    Route("/products/{number:int}", product),
    Route("/search", search),
    Route("/pages", page),
]
