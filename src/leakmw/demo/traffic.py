"""What the visitors of the demonstration's shop do: mixed, overlapping, the same each time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

VISITORS = 16
"""Requests on their way at the same time."""

Call = tuple[str, str, dict[str, Any] | None]


def calls() -> Iterator[Call]:
    """Yield methods, paths and bodies without end."""
    dice = random.Random(1)  # noqa: S311  # no secret
    while True:
        kind = dice.choice(["chair", "lamp", "shelf", "table"])
        name = f"{kind}-{dice.randint(1, 15)}"
        yield dice.choice(
            [
                ("GET", "/products", None),
                ("GET", f"/products/{name}", None),
                ("GET", f"/search?q={kind}", None),
                ("POST", "/orders", {"products": [name]}),
                ("POST", "/login", {"customer": f"customer {dice.randrange(100_000)}"}),
            ]
        )


async def send(
    client: httpx.AsyncClient, todo: Iterator[Call], *, answered: Callable[[], None]
) -> None:
    """Send every call of *todo* and wait for all answers.

    Args:
        client: Knows the shop's URL.

        todo: What to send.

        answered: Called after each answer.

    Raises:
        httpx.HTTPError: If the shop answers with an error, or not at all.
    """
    await asyncio.gather(*(_visit(client, todo, answered) for _ in range(VISITORS)))


async def _visit(
    client: httpx.AsyncClient, todo: Iterator[Call], answered: Callable[[], None]
) -> None:
    for method, path, body in todo:
        (await client.request(method, path, json=body)).raise_for_status()
        answered()
