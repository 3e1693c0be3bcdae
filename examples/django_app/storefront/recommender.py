"""What a visitor may like: one recommender serves the whole process."""

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from storefront.mistakes import LEAKS

MAX_KEPT = 20


@dataclass
class Visit:
    liked: str
    agent: str
    at: float = field(default_factory=time.time)


class Recommender:
    def __init__(self) -> None:
        self.popularity: Counter[str] = Counter()
        self.visits: list[Visit] = []

    def recommend(self, liked: str, agent: str) -> list[str]:
        self.popularity[liked] += 1
        self.visits.append(Visit(liked, agent.lower()))  # leak: recommender
        if "recommender" not in LEAKS:
            del self.visits[:-MAX_KEPT]
        return [category for category, _ in self.popularity.most_common(3)]


RECOMMENDER = Recommender()


@require_safe
def recommendations(request: HttpRequest) -> JsonResponse:
    liked = RECOMMENDER.recommend(
        request.GET.get("liked", "lamps"), request.headers.get("User-Agent", "")
    )
    return JsonResponse({"liked": liked})


FEATURES = np.random.default_rng(seed=7).random((600, 8))
SHOWN: list[np.ndarray] = []


@require_safe
def similar(request: HttpRequest, number: int) -> JsonResponse:
    distances = np.abs(FEATURES - FEATURES[number]).sum(axis=1)
    ranking = distances.argsort()  # leak: arrays
    best = ranking[1:6]
    SHOWN.append(best if "arrays" in LEAKS else best.copy())
    if "arrays" not in LEAKS:
        del SHOWN[:-MAX_KEPT]
    return JsonResponse({"similar": best.tolist()})
