"""Mixed traffic for any of the example shops: concurrent, bounded, the same for the same seed.

python traffic.py http://127.0.0.1:8000 --requests 3000 --concurrency 8
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

Call = tuple[str, str, dict[str, Any] | None]


def calls(count: int, seed: int) -> Iterator[Call]:
    dice = random.Random(seed)
    for _ in range(count):
        number = dice.randint(1, 60)
        postcode = f"{dice.randrange(100_000):05}"
        category = dice.choice(["chairs", "lamps", "shelves", "tables"])
        cart = {"customer": f"customer {postcode}", "products": [number, dice.randint(1, 60)]}
        yield dice.choice(
            [
                ("GET", "/", None),
                ("GET", "/products", None),
                ("GET", f"/products/{number}", None),
                ("GET", f"/search?q={category}", None),
                ("POST", "/orders", cart),
                ("GET", "/orders.csv", None),
                ("GET", f"/nothing/here/{postcode}", None),
                ("POST", "/login", {"customer": cart["customer"]}),
                ("GET", f"/categories/{category}", None),
                ("GET", f"/compare?q={category[:-1]}", None),
                ("GET", f"/recommendations?liked={category}", None),
                ("GET", "/pages", None),
                ("GET", f"/products/{number}/similar", None),
                ("GET", f"/products/{number}/delivery?postcode={postcode}", None),
                ("POST", "/cart/total", cart),
            ]
        )


async def visit(client: httpx.AsyncClient, todo: Iterator[Call], statuses: Counter[int]) -> None:
    for method, path, body in todo:
        response = await client.request(method, path, json=body)
        statuses[response.status_code] += 1


async def send(url: str, *, requests: int, concurrency: int, seed: int) -> Counter[int]:
    """Send *requests* to the shop at *url* and count the statuses that come back."""
    statuses: Counter[int] = Counter()
    todo = calls(requests, seed)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(visit(client, todo, statuses) for _ in range(concurrency)))
    return statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="such as http://127.0.0.1:8000")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sending = send(
        options.url,
        requests=options.requests,
        concurrency=options.concurrency,
        seed=options.seed,
    )
    try:
        statuses = asyncio.run(sending)
    except httpx.HTTPError as error:
        sys.exit(f"{options.url} does not answer: {error!r}")
    for status, count in sorted(statuses.items()):
        print(f"{count:6} answered {status}")


if __name__ == "__main__":
    main()
