"""Figures as people say them: sizes in binary units, times, counts, shares."""

from __future__ import annotations

import math
from datetime import UTC, datetime

UNKNOWN = "unknown"
"""What is said of a figure that is not known."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_TIMES = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def size(figure: float | None) -> str:
    """Return *figure* bytes with three digits and a unit: ``1.1 KiB``, ``980 B``."""
    if figure is None or not math.isfinite(figure):
        return UNKNOWN
    unit = 0
    while abs(figure) >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004  # keeps three digits
        figure /= 1024
        unit += 1
    return f"{_digits(figure)} {_UNITS[unit]}"


def count(number: int, noun: str = "") -> str:
    """Return *number* with its thousands parted, and *noun* in the plural where it needs one."""
    ending = "s" if noun and number != 1 else ""
    return f"{number:,} {noun}{ending}".rstrip()


def share(ratio: float | None) -> str:
    """Return *ratio* in percent: ``0.6 %``."""
    return f"{_digits(ratio * 100)} %" if ratio is not None and math.isfinite(ratio) else UNKNOWN


def duration(seconds: float | None) -> str:
    """Return *seconds* in the two greatest units that say something: ``5 min 40 s``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 10:  # noqa: PLR2004  # where tenths of a second still matter
        return f"{_digits(seconds)} s"
    rest = round(seconds)
    parts: list[str] = []
    for unit, length in _TIMES:
        whole, rest = divmod(rest, length)
        if whole:
            parts.append(f"{whole:,} {unit}")
        if len(parts) == 2 or (parts and not whole):  # noqa: PLR2004
            break
    return " ".join(parts)


def moment(when: datetime) -> str:
    """Return *when* to the second, in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _digits(figure: float) -> str:
    """Return three significant digits, none of them past the thousandth."""
    return f"{round(figure, 3) or 0:.3g}"
