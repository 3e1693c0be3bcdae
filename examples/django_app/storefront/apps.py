"""The storefront as Django starts it."""

import gc

from django.apps import AppConfig

from storefront.mistakes import LEAKS


class StorefrontConfig(AppConfig):
    name = "storefront"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if "cycles" in LEAKS:
            gc.disable()  # its pauses showed in the latency of every endpoint
