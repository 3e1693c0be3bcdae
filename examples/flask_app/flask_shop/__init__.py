"""A small shop: the application factory."""

import gc
import os

from flask import Flask

from flask_shop import accounts, catalog, checkout, database, recommender, shelves
from flask_shop.mistakes import LEAKS
from leakmw.flask import LeakMW


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(DATABASE=os.environ.get("SHOP_DATABASE", "flask_shop.sqlite3"))
    app.config.from_prefixed_env()
    app.extensions["recommender"] = recommender.Recommender()
    database.init_app(app)
    for module in (catalog, shelves, recommender, accounts, checkout):
        app.register_blueprint(module.blueprint)
    if "cycles" in LEAKS:
        gc.disable()  # its pauses showed in the latency of every endpoint
    LeakMW(app)
    return app
