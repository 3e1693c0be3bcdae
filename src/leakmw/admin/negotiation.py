"""Which of the forms on offer a client would rather have (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakmw.admin.messages import HTML, JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.admin.messages import AdminRequest

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def preferred(accept: str, offers: Sequence[str]) -> str:
    """Return the media type of *offers* that *accept* weighs most.

    Args:
        accept: Value of the ``Accept`` header; empty when there was none.

        offers: Media types, the server's own favourite first. It wins ties, and it is what a
            client gets that accepts none of them: a readable answer is worth more than a 406.
    """
    weights = _weights(accept) or {"*/*": 1.0}
    return max(offers, key=lambda offer: _weight(offer, weights))


def wants_page(request: AdminRequest) -> bool:
    """Return whether *request* is the page's own form, whose answer a person reads."""
    accept = request.headers.get("accept", "")
    return request.method == "POST" and preferred(accept, (JSON, HTML)) == HTML


def _weight(offer: str, weights: dict[str, float]) -> float:
    """Return what the most specific range that covers *offer* says."""
    kind, _, _ = offer.partition("/")
    ranges = (offer, f"{kind}/*", "*/*")
    return next((weights[name] for name in ranges if name in weights), 0.0)


def _weights(accept: str) -> dict[str, float]:
    """Return the weight of each range; one whose weight is malformed does not count."""
    weights: dict[str, float] = {}
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name and _WEIGHT.fullmatch(weight):
            weights[name] = float(weight)
    return weights
