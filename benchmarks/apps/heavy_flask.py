"""Flask with little but allocations: parse records, regroup them, write them again."""

from __future__ import annotations

import json
from collections import defaultdict

from flask import Flask
from peers import wrapped
from variants import VARIANT, WATCHED

from leakmw.flask import LeakMW

RECORDS = json.dumps(
    [
        {"id": number, "name": f"item {number}", "tags": [f"t{number % 7}", "x"], "price": 1.5}
        for number in range(500)
    ]
)

app = Flask(__name__)


@app.get("/")
def regrouped() -> str:
    """Answer."""
    groups = defaultdict(list)
    for record in json.loads(RECORDS):
        for tag in record["tags"]:
            groups[tag].append({**record, "label": f"{record['name']} ({tag})"})
    return json.dumps({tag: len(json.dumps(group)) for tag, group in groups.items()})


if WATCHED:
    LeakMW(app)
app.wsgi_app = wrapped(app.wsgi_app, VARIANT)  # type: ignore[method-assign]  # as Flask's docs say
