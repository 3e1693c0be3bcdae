"""The page of products from Flask, in a process in which a million other objects are alive."""

from heaped import KEPT
from page_flask import app

__all__ = ["KEPT", "app"]
