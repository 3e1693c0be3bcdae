"""Who is shopping."""

import secrets
import time
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from starlette_shop.mistakes import LEAKS

MAX_SESSIONS = 20


@dataclass
class Session:
    customer: str
    since: float = field(default_factory=time.time)
    cart: list[int] = field(default_factory=list)
    trail: list[str] = field(default_factory=list)


SESSIONS: dict[str, Session] = {}


async def login(request: Request) -> JSONResponse:
    token = secrets.token_urlsafe(24)
    customer = (await request.json())["customer"]
    trail = [f"signed in with {request.headers.get('user-agent')}"]
    SESSIONS[token] = Session(customer, trail=trail)  # leak: sessions
    if "sessions" not in LEAKS:
        forget_oldest()
    return JSONResponse({"token": token}, status_code=201)


def forget_oldest() -> None:
    while len(SESSIONS) > MAX_SESSIONS:
        SESSIONS.pop(next(iter(SESSIONS)))


routes = [Route("/login", login, methods=["POST"])]
