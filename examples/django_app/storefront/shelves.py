"""Products side by side: objects that know each other, and must be closed to come apart."""

import gc
from typing import Self

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from storefront.catalog import find
from storefront.mistakes import LEAKS


class Shelf:
    """A category, or a product in it, which knows its category for the breadcrumbs."""

    def __init__(self, name: str, parent: Self | None = None) -> None:
        self.name = name
        self.parent = parent
        self.children: list[Shelf] = []
        if parent is not None:
            parent.children.append(self)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        for child in self.children:
            child.parent = None
        self.children.clear()

    def path(self) -> str:
        return f"{self.parent.path()} / {self.name}" if self.parent else self.name


@require_safe
def category(request: HttpRequest, name: str) -> JsonResponse:
    shelf = Shelf(name)
    for title in find(name)[:8]:
        Shelf(title, parent=shelf)  # leak: cycles
    paths = [child.path() for child in shelf.children]
    if "cycles" not in LEAKS:
        shelf.close()
    return JsonResponse({"paths": paths})


class Column:
    """A product in a comparison; left open it shows up where leaks are looked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.others: list[Column] = []

    def __del__(self) -> None:
        if self.others:
            gc.garbage.append(self)

    def close(self) -> None:
        self.others.clear()


@require_safe
def compare(request: HttpRequest) -> JsonResponse:
    columns = [Column(name) for name in find(request.GET["q"])[:4]]  # leak: garbage
    for column in columns:
        column.others += (other for other in columns if other is not column)  # leak: garbage
    table = {column.name: [other.name for other in column.others] for column in columns}
    if "garbage" not in LEAKS:
        for column in columns:
            column.close()
    return JsonResponse(table)
