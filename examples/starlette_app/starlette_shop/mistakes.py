"""Which mistakes this shop makes: all, some or none of them, by the one setting SHOP_LEAKS."""

import os

AT_ONE_ENDPOINT = frozenset(
    {
        "sessions",
        "garbage",
        "recommender",
        "cursors",
        "arrays",
        "function-cache",
        "method-cache",
    }
)
EVERYWHERE = frozenset({"cycles"})
"""A collector that is off keeps the cycles of the frameworks too, whatever endpoint made them."""


def chosen(setting: str) -> frozenset[str]:
    if setting in {"", "0"}:
        return frozenset()
    if setting == "1":
        return AT_ONE_ENDPOINT
    names = frozenset(setting.split(","))
    if unknown := names - AT_ONE_ENDPOINT - EVERYWHERE:
        raise ValueError(f"SHOP_LEAKS: no such mistake: {sorted(unknown)}")
    return names


LEAKS = chosen(os.environ.get("SHOP_LEAKS", ""))
