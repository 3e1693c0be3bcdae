"""A page as web apps make them: rows from SQLite, as JSON within a template."""

from __future__ import annotations

import json
import sqlite3
from threading import local

from jinja2 import Environment

PRODUCTS = 50

_TEMPLATE = Environment(autoescape=True).from_string(
    "<h1>Products</h1><ul>"
    "{% for one in products %}<li id={{ one.id }}>{{ one.name|title }}: {{ one.cents / 100 }}</li>"
    "{% endfor %}</ul><script type=application/json>{{ data }}</script>"
)
_connections = local()


def page() -> str:
    """Return the page, always the same."""
    rows = _database().execute("SELECT id, name, cents FROM products ORDER BY name").fetchall()
    products = [{"id": number, "name": name, "cents": cents} for number, name, cents in rows]
    return _TEMPLATE.render(products=products, data=json.dumps(products))


def _database() -> sqlite3.Connection:
    known: sqlite3.Connection | None = getattr(_connections, "database", None)
    if known is not None:
        return known
    made = _connections.database = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE products (id INTEGER, name TEXT, cents INTEGER)")
    products = [(number, f"product {number}", 100 * number) for number in range(PRODUCTS)]
    made.executemany("INSERT INTO products VALUES (?, ?, ?)", products)
    return made
