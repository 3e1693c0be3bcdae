"""The SQLite file behind the shop: one cursor, used by one worker thread at a time."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool

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

Row = tuple[Any, ...]


class Database:
    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(SCHEMA)
        with self.connection:
            self.connection.executemany(
                "INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?)", PRODUCTS
            )
        self.cursor = self.connection.cursor()
        self.turn = anyio.Lock()

    async def rows(self, statement: str, *values: object) -> list[Row]:
        async with self.turn:
            return await run_in_threadpool(self._rows, statement, values)

    def _rows(self, statement: str, values: Sequence[object]) -> list[Row]:
        return self.cursor.execute(statement, values).fetchall()

    async def write(self, statement: str, rows: list[Row]) -> None:
        async with self.turn:
            await run_in_threadpool(self._write, statement, rows)

    def _write(self, statement: str, rows: list[Row]) -> None:
        with self.connection:
            self.cursor.executemany(statement, rows)

    def close(self) -> None:
        self.connection.close()
