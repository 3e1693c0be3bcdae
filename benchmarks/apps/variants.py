"""What the compared variants of an app are."""

from __future__ import annotations

import os
import threading
import tracemalloc
from typing import Any

from leakmw import monitor

VARIANT = os.environ.get("BENCHMARK_VARIANT", "bare")
"""``bare``; ``thread``, without leakmw but with a thread that only waits; ``disabled``;
``counting``, without thread, tracing and snapshots; ``tracing`` with tracemalloc but without
leakmw; ``unsampled``, with the hook and snapshots but no sample; ``leakmw`` with all that its
settings ask for."""

WATCHED = VARIANT in {"counting", "leakmw", "unsampled", "disabled"}
FRAMES = int(os.environ.get("LEAKMW_FRAMES", "32"))


class _NoThread:
    """Stands for the background thread, so that nothing but the counting is left."""

    def __init__(self, *_: Any) -> None:
        pass

    def wake(self) -> None:
        """Do nothing."""

    stop = wake


if VARIANT == "thread":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
if VARIANT == "counting":
    vars(monitor)["Background"] = _NoThread
    os.environ["LEAKMW_ENGINE"] = "tracemalloc"  # nothing asks whose visit it is
if VARIANT == "unsampled":
    os.environ["LEAKMW_SAMPLE_BYTES"] = str(1 << 30)
if VARIANT == "disabled":
    os.environ["LEAKMW_ENABLED"] = "no"
ENGINE = os.environ.get("LEAKMW_ENGINE")
if VARIANT == "tracing" or (VARIANT == "leakmw" and ENGINE == "tracemalloc"):
    # from the same moment on in both, so that they trace the same blocks
    tracemalloc.start(FRAMES)
