"""A page of products from Flask."""

from __future__ import annotations

from catalog import page
from flask import Flask
from peers import wrapped
from variants import VARIANT, WATCHED

from leakmw.flask import LeakMW

app = Flask(__name__)


@app.get("/")
def products() -> str:
    """Answer."""
    return page()


if WATCHED:
    LeakMW(app)
app.wsgi_app = wrapped(app.wsgi_app, VARIANT)  # type: ignore[method-assign]  # as Flask's docs say
