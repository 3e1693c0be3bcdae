"""Everything that keeps things, each by one line that says who: the heap is walked for them."""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import json
import logging
import os
import sys
import threading
import tracemalloc
import weakref
from collections import OrderedDict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from leakmw.heap.roots import frames
from leakmw.heap.walk import Ask, Found, look
from leakmw.tracers.births import traced
from leakmw.tracers.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.records import Births

SECRET = "hunter2"  # nothing that has it in it may ever be shown

SESSIONS: dict[str, Any] = {}
ORDERED: OrderedDict[str, Any] = OrderedDict()
NEWEST: deque[Any] = deque(maxlen=5000)
LOG: list[Any] = []
ROWS: list[Any] = []
GENERATORS: list[Any] = []
COROUTINES: list[Any] = []
ERRORS: list[Exception] = []
CLASSES: list[type] = []
INSTANCES: dict[object, int] = {}
ARRAYS: list[Any] = []
THREADS: list[threading.Thread] = []
TASKS: set[asyncio.Task[None]] = set()
LISTENERS: dict[str, list[Callable[[], Any]]] = {"saved": []}
FINALIZED: list[Any] = []
LOCAL = threading.local()
BUFFER = bytearray()


class Client:
    """A class that keeps its instances."""

    register: ClassVar[dict[int, Client]] = {}

    def __init__(self, number: int) -> None:
        self.headers = {"number": str(number)}  # kept: class
        self.register[number] = self


class Recommender:
    """A long-lived object."""

    def __init__(self) -> None:
        self.visits: list[Any] = []


RECOMMENDER = Recommender()


class Slotted:
    """One whose attributes stand in slots."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: list[Any] = []


SLOTTED = Slotted()


class Pool:
    """A queue that says how much it will take."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.waiting: list[Any] = []


POOL = Pool(9000)


class Agent:
    """Wants to be closed at exit."""

    def __init__(self, number: int) -> None:
        self.history = [f"{number} {n}" for n in range(9)]  # kept: atexit
        atexit.register(self.close)

    def close(self) -> None:
        """Do nothing."""


class Node:
    """Refers to itself."""

    def __init__(self, number: int) -> None:
        self.children = [f"{number} {n}" for n in range(9)]  # kept: cycle
        self.itself = self

    def __del__(self) -> None:
        raise AssertionError("a finalizer ran")


class Liar:
    """Answers no question about itself truthfully, and counts who asks."""

    asked = 0

    def __init__(self, number: int) -> None:
        self.body = [f"{number} {n}" for n in range(9)]  # kept: liar

    def _lie(self, *_: object) -> Any:
        type(self).asked += 1
        raise AssertionError("code of the app ran")

    __eq__ = __hash__ = __len__ = __repr__ = __str__ = __bool__ = __iter__ = _lie
    __getattr__ = __sizeof__ = __dir__ = __contains__ = _lie
    __class__ = property(_lie)


LIARS: list[Liar] = []


@functools.cache
def quote(number: int) -> list[int]:
    """Return what is kept for each number."""
    return [number + n for n in range(30)]  # kept: cache


@functools.lru_cache(maxsize=7000)
def price(number: int) -> list[int]:
    """Return what is kept for some numbers."""
    return [number + n for n in range(30)]  # kept: bounded cache


def lines(number: int) -> Iterator[str]:
    """Yield more than anybody asks for."""
    rows = [f"{number} {n}" for n in range(9)]  # kept: generator
    yield from rows


def fail(number: int) -> None:
    """Raise with much on the stack."""
    rows = [f"{number} {n}" for n in range(9)]  # kept: traceback
    raise ValueError(len(rows))


def counting() -> Callable[[int], None]:
    """Return a function that keeps things in a closure."""
    aggregates: dict[int, Any] = {}

    def view(number: int) -> None:
        aggregates[number] = [number] * 16  # kept: closure

    return view


VIEW = counting()


def wait(body: list[str], event: threading.Event) -> None:
    """Wait in a thread."""
    event.wait()
    body.clear()


async def subscriber(body: list[str], event: asyncio.Event) -> None:
    """Wait in a task."""
    await event.wait()
    body.clear()


def _thread(number: int, event: threading.Event) -> None:
    body = [f"{number} {n}" for n in range(9)]  # kept: thread
    thread = threading.Thread(target=wait, args=(body, event), name=f"{SECRET} {number}")
    thread.start()
    THREADS.append(thread)


def _task(number: int, event: asyncio.Event) -> None:
    body = [f"{number} {n}" for n in range(9)]  # kept: task
    task = asyncio.get_running_loop().create_task(subscriber(body, event), name=SECRET)
    TASKS.add(task)


def _timer(number: int) -> None:
    body = [f"{number} {n}" for n in range(9)]  # kept: timer
    asyncio.get_running_loop().call_later(3600, body.clear)


def keep(number: int) -> None:
    """Keep one more of everything."""
    key = f"{SECRET} {number}"
    SESSIONS[key] = {"user": key, "trail": [key]}  # kept: dict
    ORDERED[key] = [key, number]  # kept: ordered
    NEWEST.append([key, number])  # kept: deque
    LOG.append([key, number])  # kept: list
    RECOMMENDER.visits.append([key, number])  # kept: attribute
    SLOTTED.seen.append([key, number])  # kept: slot
    POOL.waiting.append([key, number])  # kept: capped
    LOCAL.queries.append({"sql": key})  # kept: queries
    body = {SECRET: key, "__doc__": key}
    CLASSES.append(type(f"Made{SECRET}{number}", (), body))  # kept: types
    INSTANCES[type("Row", (), {})()] = number  # kept: instances
    ARRAYS.append(np.ones(1000)[:3])  # kept: array
    setattr(RECOMMENDER, f"name_{SECRET}", key)
    globals()[f"GLOBAL_{SECRET}"] = key
    LISTENERS["saved"].append(functools.partial(print, [key, number]))  # kept: callback
    logging.getLogger("keepers").addHandler(logging.NullHandler())  # kept: handlers
    owner = Recommender()
    weakref.finalize(owner, len, [key, number])  # kept: finalizer
    FINALIZED.append(owner)
    LIARS.append(Liar(number))
    Client(number)
    quote(number)
    price(number)
    Agent(number)
    Node(number)
    row = [key]  # kept: row
    row.extend("fields" * 9)  # kept: fields
    ROWS.append(row)
    VIEW(number)
    generator = lines(number)
    next(generator)
    GENERATORS.append(generator)
    COROUTINES.append(subscriber([key, f"{number}"], asyncio.Event()))  # kept: coroutine
    try:
        fail(number)
    except ValueError as error:
        ERRORS.append(error)


def marks() -> dict[int, str]:
    """Return what each line of this file keeps things for."""
    text = Path(__file__).read_text("utf-8").splitlines()
    named = [(number, line.partition("# kept: ")[2]) for number, line in enumerate(text, 1)]
    return {number: name for number, name in named if name and '"' not in name}


def born() -> Births:
    """Return what tells by tracemalloc at which line an object was born."""
    wanted = {(__file__, line): {"": name} for line, name in marks().items()}
    return traced(wanted, Ownership())._replace(begin=bool)  # there is no child


def seen() -> dict[str, Found]:
    """Return what holds each."""
    ask = Ask(
        births=born(),
        own=lambda file: file == __file__,
        shorten=lambda file: Path(file).name,
        frames=frames(),
        before={},
        origins=sorted(marks().values()),
    )
    return dict(look(ask).found)


MANY = 40


async def main(prepare: str) -> dict[str, Any]:
    """Keep many of everything and look for what holds it."""
    LOCAL.queries = []
    gc.disable()
    done, over = threading.Event(), asyncio.Event()
    tracemalloc.start(1)
    for number in range(1000, 1000 + MANY):
        keep(number)
        _thread(number, done)
        _task(number, over)
        _timer(number)
    await asyncio.sleep(0)
    if prepare == "frozen":
        gc.freeze()
    found = seen()
    tracemalloc.stop()
    asked = Liar.__dict__["asked"]
    done.set()
    over.set()
    for coroutine in COROUTINES:
        coroutine.close()
    return {"found": {name: one._asdict() for name, one in found.items()}, "asked": asked}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))), flush=True)
    os._exit(0)  # nobody is to run what was registered here
