"""Flask over a large heap."""

from __future__ import annotations

from flask import Flask
from heaped import PEERS

from leakmw.flask import LeakMW

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Answer."""
    return "hello"


@app.get("/look/<peer>")
def look(peer: str) -> str:
    """Have a peer look at the heap, on this thread."""
    PEERS[peer]()
    return "looked"


LeakMW(app)
