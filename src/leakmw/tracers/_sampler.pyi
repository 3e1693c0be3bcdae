from contextvars import ContextVar
from typing import TypedDict

MOST_SAMPLES: int
PUBLIC_FRAMES: int

class Figures(TypedDict):
    reached: bool
    interval: float
    part: float
    live: int
    taken: int
    thinned: int
    skipped: int
    nodes: int
    seconds: float
    bytes: int

def start(
    variable: ContextVar[object],
    ignored: object,
    frames: int,
    overhead: float,
    interval: float,
    seed: int,
    /,
) -> None: ...
def stop() -> None: ...
def ease(part: float, /) -> None: ...
def read() -> tuple[bytes, tuple[object, ...]]: ...
def release(records: bytes, /) -> None: ...
def frame(node: int, /) -> tuple[int, str, int, str]: ...
def find(block: int, /) -> tuple[int, int, object] | None: ...
def birth(thing: object, /) -> list[tuple[str, int, str]] | None: ...
def figures() -> Figures: ...
def pools() -> bytes | None: ...
