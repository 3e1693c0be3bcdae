"""Threads that work beside what is tested."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def busy_with(step: Callable[[], object], number: int) -> Iterator[None]:
    """Keep so many threads at a step, again and again."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            step()

    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
