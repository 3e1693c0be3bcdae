"""What ``INSTALLED_APPS = [..., "leakmw.django"]`` brings: the checks."""

from django.apps import AppConfig
from django.core import checks

from leakmw.django.checks import check_settings


class LeakMWConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """leakmw as an app of Django."""

    name = "leakmw.django"
    label = "leakmw"
    verbose_name = "leakmw"

    def ready(self) -> None:
        """Register the checks."""
        checks.register(check_settings, "leakmw")
