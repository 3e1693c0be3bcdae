"""A Flask app with one leak that runs while a file is there, for alerts that end."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

from leakmw.flask import LeakMW

KEPT: list[bytearray] = []
TAP = Path(os.environ["TAP"])
"""The file: every worker sees it go."""

app = Flask(__name__)


@app.get("/")
def home() -> str:
    """Leak nothing."""
    return "home"


@app.post("/carts/<int:number>")
def keep(number: int) -> str:
    """Leak while the tap is open."""
    if TAP.exists():
        KEPT.append(bytearray(20_000))  # leak
    return f"cart {number}"


LeakMW(app)
