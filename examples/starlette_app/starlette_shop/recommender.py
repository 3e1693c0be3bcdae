"""What a visitor may like: one recommender serves the whole process."""

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from starlette_shop.mistakes import LEAKS

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


async def recommendations(request: Request) -> JSONResponse:
    recommender = request.app.state.recommender
    liked = request.query_params.get("liked", "lamps")
    return JSONResponse(recommender.recommend(liked, request.headers.get("user-agent", "")))


FEATURES = np.random.default_rng(seed=7).random((600, 8))
SHOWN: list[np.ndarray] = []


def similar(request: Request) -> JSONResponse:
    """Work for a thread: Starlette runs a plain function in its pool."""
    number = request.path_params["number"]
    distances = np.abs(FEATURES - FEATURES[number]).sum(axis=1)
    ranking = distances.argsort()  # leak: arrays
    best = ranking[1:6]
    SHOWN.append(best if "arrays" in LEAKS else best.copy())
    if "arrays" not in LEAKS:
        del SHOWN[:-MAX_KEPT]
    return JSONResponse(best.tolist())


routes = [
    Route("/recommendations", recommendations),
    Route("/products/{number:int}/similar", similar),
]
