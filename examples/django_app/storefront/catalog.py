"""What is for sale."""

import secrets
from collections.abc import Iterator
from functools import lru_cache

from django.db.models import Count
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from storefront.mistakes import LEAKS
from storefront.models import Product

PAGE = 20
MAX_CURSORS = 20


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    categories = Product.objects.values("category").annotate(size=Count("id"))
    return render(request, "storefront/index.html", {"categories": categories})


@require_safe
def products(request: HttpRequest) -> JsonResponse:
    cheapest = Product.objects.order_by("cents").values("id", "name", "cents")[:PAGE]
    return JsonResponse(list(cheapest), safe=False)


@require_safe
def product(request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse(model_to_dict(get_object_or_404(Product, pk=number)))


@require_safe
def search(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"found": find(request.GET.get("q", "").strip().lower())})


@lru_cache(maxsize=20)
def find(term: str) -> tuple[str, ...]:
    return tuple(Product.objects.filter(name__icontains=term).values_list("name", flat=True))


CURSORS: dict[str, Iterator[list[str]]] = {}


def pages() -> Iterator[list[str]]:
    names = [name.title() for name in find("")]  # leak: cursors
    for first in range(0, len(names), PAGE):
        yield names[first : first + PAGE]


@require_safe
def page(request: HttpRequest) -> JsonResponse:
    cursor = request.GET.get("cursor") or secrets.token_urlsafe(8)
    rows = CURSORS.setdefault(cursor, pages())
    if "cursors" not in LEAKS:
        for oldest in tuple(CURSORS)[:-MAX_CURSORS]:
            CURSORS.pop(oldest, None)
    return JsonResponse({"cursor": cursor, "names": next(rows, [])})
