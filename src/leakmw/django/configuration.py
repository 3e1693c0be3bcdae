"""Settings out of Django's: one dict called ``LEAKMW``."""

from __future__ import annotations

from django.conf import settings as django_settings

from leakmw.settings import Settings, SettingsError

NAME = "LEAKMW"


def configured() -> Settings:
    """Return the settings of this Django project.

    Raises:
        SettingsError: If a setting is unknown or wrong.
    """
    given = getattr(django_settings, NAME, None)
    if not isinstance(given, Settings | dict | None):
        raise SettingsError(f"leakmw: {NAME} has the value {given!r}: use a dict of settings")
    return Settings.load(given)
