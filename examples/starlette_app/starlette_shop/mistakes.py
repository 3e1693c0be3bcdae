"""Which mistakes this shop makes: all, some or none of them, by the one setting SHOP_LEAKS."""

import os

KNOWN = frozenset(
    {
        "sessions",
        "cycles",
        "garbage",
        "recommender",
        "cursors",
        "arrays",
        "function-cache",
        "method-cache",
    }
)


def chosen(setting: str) -> frozenset[str]:
    if setting in {"", "0"}:
        return frozenset()
    if setting == "1":
        return KNOWN
    names = frozenset(setting.split(","))
    if unknown := names - KNOWN:
        raise ValueError(f"SHOP_LEAKS: {sorted(unknown)} not among {sorted(KNOWN)}")
    return names


LEAKS = chosen(os.environ.get("SHOP_LEAKS", ""))
