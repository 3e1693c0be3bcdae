"""Hello from Flask."""

from __future__ import annotations

from flask import Flask
from variants import WATCHED

from leakmw.flask import LeakMW

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Answer."""
    return "hello"


if WATCHED:
    LeakMW(app)
