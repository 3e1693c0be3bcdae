"""Who is shopping."""

import json
import secrets
from typing import ClassVar, Self

from django.http import HttpRequest, JsonResponse
from django.views import View

from storefront.mistakes import LEAKS

MAX_SESSIONS = 20


class Session:
    active: ClassVar[dict[str, Self]] = {}

    def __init__(self, customer: str, agent: str) -> None:
        self.customer = customer
        self.agent = agent
        self.token = secrets.token_urlsafe(24)
        self.trail = [f"{customer} came with {agent}"]  # leak: sessions

    @classmethod
    def begin(cls, customer: str, agent: str) -> Self:
        session = cls(customer, agent)
        cls.active[session.token] = session
        return session

    @classmethod
    def forget_oldest(cls) -> None:
        for token in tuple(cls.active)[:-MAX_SESSIONS]:
            cls.active.pop(token, None)


class Login(View):
    def post(self, request: HttpRequest) -> JsonResponse:
        customer = json.loads(request.body)["customer"]
        session = Session.begin(customer, request.headers.get("User-Agent", ""))
        if "sessions" not in LEAKS:
            Session.forget_oldest()
        return JsonResponse({"token": session.token}, status=201)
