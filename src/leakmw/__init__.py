"""Middleware that names the endpoint, the line and the bytes per request of a memory leak."""

from leakmw.faces import install
from leakmw.settings import Settings, SettingsError

__all__ = ["Settings", "SettingsError", "install"]
