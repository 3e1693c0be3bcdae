"""What engines outside collect: metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw.admin.messages import AdminError, AdminRequest, AdminResponse
from leakmw.report.readings import Seen

if TYPE_CHECKING:
    from leakmw.records import Monitored
    from leakmw.settings import Settings


class Exports:
    """Answers of the addresses that a scraper knows.

    Args:
        settings: What the figures are compared with.

        monitored: What is shown.
    """

    def __init__(self, settings: Settings, monitored: Monitored) -> None:
        self._settings = settings
        self._monitored = monitored

    def metrics(self, request: AdminRequest) -> AdminResponse:
        """Answer Prometheus.

        Raises:
            AdminError: If its client library is not there.
        """
        from leakmw.report.metrics import exposition

        shown = self._monitored
        seen = Seen(shown.workers(), shown.profiles(), shown.report(), self._settings.overhead)
        try:
            answer = exposition(seen, request.headers.get("accept", ""))
        except ModuleNotFoundError as error:
            message = "prometheus_client is missing here: pip install 'leakmw[prometheus]'"
            raise AdminError(501, "not_installed", message) from error
        return AdminResponse(200, (("Content-Type", answer.content_type),), answer.body)
