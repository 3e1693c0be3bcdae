"""Who is shopping."""

import secrets
import time
from dataclasses import dataclass, field

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from flask_shop.mistakes import LEAKS

MAX_SESSIONS = 20

blueprint = Blueprint("accounts", __name__)


@dataclass
class Session:
    customer: str
    since: float = field(default_factory=time.time)
    cart: list[int] = field(default_factory=list)
    trail: list[str] = field(default_factory=list)


SESSIONS: dict[str, Session] = {}


@blueprint.post("/login")
def login() -> ResponseReturnValue:
    token = secrets.token_urlsafe(24)
    customer = request.get_json()["customer"]
    trail = [f"signed in with {request.headers.get('User-Agent')}"]
    SESSIONS[token] = Session(customer, trail=trail)  # leak: sessions
    if "sessions" not in LEAKS:
        forget_oldest()
    return {"token": token}, 201


def forget_oldest() -> None:
    while len(SESSIONS) > MAX_SESSIONS:
        SESSIONS.pop(next(iter(SESSIONS)), None)
