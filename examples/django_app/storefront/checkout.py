"""What it costs and who bought it."""

import csv
import json
from functools import lru_cache

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View
from django.views.decorators.http import require_POST, require_safe

from storefront.mistakes import LEAKS
from storefront.models import Order, Product

MAX_CACHED = 20
CARRIERS = ("bike", "courier", "freight", "locker", "pickup", "post", "shop", "van")


@lru_cache(maxsize=None if "function-cache" in LEAKS else MAX_CACHED)
def offers(number: int, postcode: str) -> list[tuple[str, int]]:
    cents = 300 + 50 * (sum(map(ord, postcode)) % 7) + number
    return [(name, cents + 20 * len(name)) for name in CARRIERS]  # leak: function-cache


@require_safe
def delivery(request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse({"offers": offers(number, request.GET.get("postcode", "10115"))})


class Cart:
    def __init__(self, numbers: list[int]) -> None:
        found = list(Product.objects.filter(pk__in=numbers).values_list("id", "cents"))
        self.lines = [(number, cents) for number, cents in found]  # leak: method-cache

    @lru_cache(maxsize=None if "method-cache" in LEAKS else MAX_CACHED)  # noqa: B019  # the mistake shown here
    def total(self, country: str) -> int:
        tax = 19 if country == "DE" else 20
        cents: int = sum(cents for _, cents in self.lines)
        return cents * (100 + tax) // 100


@require_POST
def cart_total(request: HttpRequest) -> JsonResponse:
    wanted = json.loads(request.body)
    return JsonResponse({"cents": Cart(wanted["products"]).total(wanted.get("country", "DE"))})


class Orders(View):
    def post(self, request: HttpRequest) -> JsonResponse:
        wanted = json.loads(request.body)
        lines = [
            Order(customer=wanted["customer"], product=product, cents=product.cents)
            for product in Product.objects.filter(pk__in=wanted["products"])
        ]
        Order.objects.bulk_create(lines)
        return JsonResponse({"cents": sum(line.cents for line in lines)}, status=201)


@require_safe
def orders(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(content_type="text/csv")
    lines = csv.writer(response)
    lines.writerow(["order", "customer", "product", "cents"])
    latest = Order.objects.order_by("-id").values_list("id", "customer", "product", "cents")
    lines.writerows(latest[:50])
    return response
