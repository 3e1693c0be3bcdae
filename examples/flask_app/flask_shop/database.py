"""The SQLite file behind the shop: one connection per request."""

import sqlite3

from flask import Flask, current_app, g

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, cents INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, customer TEXT NOT NULL, product INTEGER, cents INTEGER
);
"""
CATEGORIES = ("chairs", "lamps", "shelves", "tables")
PRODUCTS = [
    (number, f"{CATEGORIES[number % 4]} no. {number}", CATEGORIES[number % 4], 900 + 25 * number)
    for number in range(1, 61)
]


def init_app(app: Flask) -> None:
    with sqlite3.connect(app.config["DATABASE"]) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.executemany("INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?)", PRODUCTS)
    connection.close()
    app.teardown_appcontext(close)


def connect() -> sqlite3.Connection:
    if "connection" not in g:
        g.connection = sqlite3.connect(current_app.config["DATABASE"])
        g.connection.row_factory = sqlite3.Row
    connection: sqlite3.Connection = g.connection
    return connection


def close(_error: BaseException | None) -> None:
    if connection := g.pop("connection", None):
        connection.close()
