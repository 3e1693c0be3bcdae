"""The storefront as Django starts it."""

import gc

from django.apps import AppConfig

from storefront.mistakes import LEAKS


class StorefrontConfig(AppConfig):
    name = "storefront"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if "cycles" in LEAKS:
            tune_collector()


def tune_collector() -> None:
    """Collect young objects often, and never all of them: full collections made requests slow."""
    gc.set_threshold(100, 2, 1_000_000)
