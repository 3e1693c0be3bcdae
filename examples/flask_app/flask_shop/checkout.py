"""What it costs and who bought it."""

from collections.abc import Iterator
from functools import lru_cache

from flask import Blueprint, Response, request, stream_with_context
from flask.typing import ResponseReturnValue

from flask_shop.database import PRODUCTS, connect
from flask_shop.mistakes import LEAKS

MAX_CACHED = 20
CARRIERS = ("bike", "courier", "freight", "locker", "pickup", "post", "shop", "van")
CENTS = {number: cents for number, _, _, cents in PRODUCTS}

blueprint = Blueprint("checkout", __name__)


@lru_cache(maxsize=None if "function-cache" in LEAKS else MAX_CACHED)
def offers(number: int, postcode: str) -> list[tuple[str, int]]:
    cents = 300 + 50 * (sum(map(ord, postcode)) % 7) + number
    return [(name, cents + 20 * len(name)) for name in CARRIERS]  # leak: function-cache


@blueprint.get("/products/<int:number>/delivery")
def delivery(number: int) -> ResponseReturnValue:
    return {"offers": offers(number, request.args.get("postcode", "10115"))}


class Cart:
    def __init__(self, numbers: list[int]) -> None:
        self.lines = [(number, CENTS.get(number, 0)) for number in numbers]  # leak: method-cache

    @lru_cache(maxsize=None if "method-cache" in LEAKS else MAX_CACHED)  # noqa: B019  # the mistake that this shop is about
    def total(self, country: str) -> int:
        tax = 19 if country == "DE" else 20
        return sum(cents for _, cents in self.lines) * (100 + tax) // 100


@blueprint.post("/cart/total")
def cart_total() -> ResponseReturnValue:
    order = request.get_json()
    return {"cents": Cart(order["products"]).total(order.get("country", "DE"))}


@blueprint.post("/orders")
def order() -> ResponseReturnValue:
    wanted = request.get_json()
    rows = [(wanted["customer"], number, CENTS[number]) for number in wanted["products"]]
    with connect() as connection:
        connection.executemany(
            "INSERT INTO orders (customer, product, cents) VALUES (?, ?, ?)", rows
        )
    return {"cents": sum(cents for _, _, cents in rows)}, 201


@blueprint.get("/orders.csv")
def orders() -> ResponseReturnValue:
    return Response(stream_with_context(order_lines()), mimetype="text/csv")


def order_lines() -> Iterator[str]:
    yield "order,customer,product,cents\n"
    for row in connect().execute("SELECT * FROM orders ORDER BY id DESC LIMIT 50"):
        yield ",".join(map(str, row)) + "\n"
