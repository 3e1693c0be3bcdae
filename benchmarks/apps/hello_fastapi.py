"""Hello from FastAPI."""

from __future__ import annotations

from fastapi import FastAPI
from variants import WATCHED

from leakmw.asgi import LeakMiddleware

app = FastAPI()
if WATCHED:
    app.add_middleware(LeakMiddleware)


@app.get("/")
async def hello() -> str:
    """Answer."""
    return "hello"
