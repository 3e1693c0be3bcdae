"""What it costs and who bought it."""

from collections.abc import AsyncIterator
from functools import lru_cache

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from starlette_shop.database import PRODUCTS, Database
from starlette_shop.mistakes import LEAKS

MAX_CACHED = 20
CARRIERS = ("bike", "courier", "freight", "locker", "pickup", "post", "shop", "van")
CENTS = {number: cents for number, _, _, cents in PRODUCTS}


@lru_cache(maxsize=None if "function-cache" in LEAKS else MAX_CACHED)
def offers(number: int, postcode: str) -> list[tuple[str, int]]:
    cents = 300 + 50 * (sum(map(ord, postcode)) % 7) + number
    return [(name, cents + 20 * len(name)) for name in CARRIERS]  # leak: function-cache


async def delivery(request: Request) -> JSONResponse:
    postcode = request.query_params.get("postcode", "10115")
    return JSONResponse(offers(request.path_params["number"], postcode))


class Cart:
    def __init__(self, numbers: list[int]) -> None:
        self.lines = [(number, CENTS[number]) for number in numbers]  # leak: method-cache

    @lru_cache(maxsize=None if "method-cache" in LEAKS else MAX_CACHED)  # noqa: B019  # shown here
    def total(self, country: str) -> int:
        tax = 19 if country == "DE" else 20
        return sum(cents for _, cents in self.lines) * (100 + tax) // 100


async def cart_total(request: Request) -> JSONResponse:
    wanted = await request.json()
    cents = Cart(wanted["products"]).total(wanted.get("country", "DE"))
    return JSONResponse({"cents": cents})


async def order(request: Request) -> JSONResponse:
    wanted = await request.json()
    await pay()
    rows = [(wanted["customer"], number, CENTS[number]) for number in wanted["products"]]
    await request.app.state.database.write(
        "INSERT INTO orders (customer, product, cents) VALUES (?, ?, ?)", rows
    )
    return JSONResponse({"cents": sum(cents for _, _, cents in rows)}, status_code=201)


async def pay() -> None:
    await anyio.sleep(0.02)  # as long as a payment service takes to answer


async def orders(request: Request) -> StreamingResponse:
    return StreamingResponse(order_lines(request.app.state.database), media_type="text/csv")


async def order_lines(database: Database) -> AsyncIterator[str]:
    yield "order,customer,product,cents\n"
    for row in await database.rows("SELECT * FROM orders ORDER BY id DESC LIMIT 50"):
        yield ",".join(map(str, row)) + "\n"


routes = [
    Route("/products/{number:int}/delivery", delivery),
    Route("/cart/total", cart_total, methods=["POST"]),
    Route("/orders", order, methods=["POST"]),
    Route("/orders.csv", orders),
]
