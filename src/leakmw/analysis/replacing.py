"""What only takes the place of others that were there before anybody looked.

A cache that was filled at the start looks like a leak to every tracer: each new entry is seen to
come and to stay, and the old one that goes for it was never seen. But the heaps say what they have
in use, and so how much of that the tracer knows nothing of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Snapshot

LATEST_WINDOWS = 8
"""Windows that are looked at by themselves, too: the process itself warms up in those before."""

LEAST_REPLACED = 0.5
"""Part of a growth that must have gone elsewhere, unseen, and that the process must not have grown
by, in either half of its time: a leak may well come along with something that goes once."""


class Replaced(NamedTuple):
    """What was seen where a place may only have taken that of others, in bytes.

    Attributes:
        windows: Over how many of the last windows.
        went: What went unseen.
        grew: By how much more the process has in use.
    """

    windows: int
    went: float
    grew: float


class Heaps(NamedTuple):
    """How the C heap and Python's own have moved together, in bytes in each window.

    Attributes:
        in_use: By how much more is in use, the tracer's own left out.
        unseen: How much more of that the tracer knows nothing of: less where something goes that
            was there before it started.
    """

    in_use: list[float]
    unseen: list[float]

    def cut(self, part: slice) -> Heaps:
        """Return the windows of *part* alone."""
        return Heaps(self.in_use[part], self.unseen[part])


def heaps(snapshots: Sequence[Snapshot]) -> Heaps | None:
    """Return how the heaps have moved between *snapshots*; ``None`` where nobody tells.

    They may be too large to be read each time: the window up to the next reading has it all.
    """
    readings = [_reading(one) for one in snapshots]
    known = [one for one in readings if one is not None]
    if len(known) < 2:  # noqa: PLR2004
        return None
    latest, moves = known[0], []
    for reading in readings[1:]:
        now = reading or latest
        moves.append((now[0] - latest[0], now[1] - latest[1]))
        latest = now
    return Heaps([used for used, _ in moves], [left for _, left in moves])


def _reading(snapshot: Snapshot) -> tuple[float, float] | None:
    """Return what is in use, and what of it the tracer knows nothing of."""
    memory, large, small = snapshot.memory, snapshot.trace.large, snapshot.trace.small
    if memory.native_bytes is None or memory.python_bytes is None or not large or not small:
        return None
    in_use = float(memory.native_bytes + memory.python_bytes)
    return in_use - (snapshot.engine.own_bytes or 0), in_use - large.bytes - small.bytes


def replaced(growths: Sequence[float], moved: Heaps) -> Replaced | None:
    """Return what shows that a place may only take that of others; ``None`` if nothing does.

    Args:
        growths: Of the place, in each window in which it has grown.

        moved: The heaps in these windows.
    """
    for latest in (slice(None), slice(-LATEST_WINDOWS, None)):
        if _is_replaced(growths[latest], moved.cut(latest)):
            over = moved.cut(latest)
            return Replaced(len(over.in_use), -sum(over.unseen), sum(over.in_use))
    return None


def _is_replaced(growths: Sequence[float], moved: Heaps) -> bool:
    middle = len(growths) // 2
    halves = (slice(None, middle), slice(middle, None))
    return all(_is_made_up_for(sum(growths[half]), moved.cut(half)) for half in halves)


def _is_made_up_for(growth: float, moved: Heaps) -> bool:
    least = LEAST_REPLACED * growth
    return growth > 0 and -sum(moved.unseen) >= least and sum(moved.in_use) <= growth - least
