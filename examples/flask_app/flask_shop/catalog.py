"""What is for sale."""

import secrets
from collections.abc import Iterator
from functools import lru_cache

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from flask_shop.database import PRODUCTS, connect
from flask_shop.mistakes import LEAKS

PAGE = 20
MAX_CURSORS = 20

blueprint = Blueprint("catalog", __name__)


@blueprint.get("/")
def index() -> str:
    rows = connect().execute("SELECT category, count(*) AS size FROM products GROUP BY category")
    return render_template("index.html", categories=rows.fetchall())


@blueprint.get("/products")
def products() -> ResponseReturnValue:
    rows = connect().execute("SELECT * FROM products ORDER BY cents LIMIT ?", (PAGE,))
    return [dict(row) for row in rows]


@blueprint.get("/products/<int:number>")
def product(number: int) -> ResponseReturnValue:
    row = connect().execute("SELECT * FROM products WHERE id = ?", (number,)).fetchone()
    return dict(row) if row else abort(404)


@blueprint.get("/search")
def search() -> ResponseReturnValue:
    return {"found": find(request.args.get("q", "").strip().lower())}


@lru_cache(maxsize=20)
def find(term: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in PRODUCTS if term in name)


CURSORS: dict[str, Iterator[list[str]]] = {}


def pages() -> Iterator[list[str]]:
    names = [name.title() for _, name, _, _ in PRODUCTS]  # leak: cursors
    for first in range(0, len(names), PAGE):
        yield names[first : first + PAGE]


@blueprint.get("/pages")
def page() -> ResponseReturnValue:
    cursor = request.args.get("cursor") or secrets.token_urlsafe(8)
    rows = CURSORS.setdefault(cursor, pages())
    if "cursors" not in LEAKS:
        for oldest in tuple(CURSORS)[:-MAX_CURSORS]:
            CURSORS.pop(oldest, None)
    return {"cursor": cursor, "names": next(rows, [])}
