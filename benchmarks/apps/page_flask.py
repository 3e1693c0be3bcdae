"""A page of products from Flask."""

from __future__ import annotations

from catalog import page
from flask import Flask
from variants import WATCHED

from leakmw.flask import LeakMW

app = Flask(__name__)


@app.get("/")
def products() -> str:
    """Answer."""
    return page()


if WATCHED:
    LeakMW(app)
