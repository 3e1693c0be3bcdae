"""Clients that cost little: the same bytes again and again, over several connections at once."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECTIONS = 8
STRETCH_SECONDS = 0.25
"""After which a steady load looks whether it is to go on."""

_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
REQUEST = _HEAD + b"\r\n"
LAST_REQUEST = _HEAD + b"Connection: close\r\n\r\n"


class Client:
    """Sends one request on each connection, then reads all answers, and so on.

    Args:
        address: Where the server listens.

        keep_alive: Whether the server lets a connection be used again.

        connections: How many are open at once.
    """

    def __init__(
        self, address: tuple[str, int], *, keep_alive: bool, connections: int = CONNECTIONS
    ) -> None:
        self._address = address
        self._connections = connections
        self._open = list(connected(address, connections)) if keep_alive else []
        self._size = answer_size(self._open[0]) if keep_alive else 0

    def send(self, requests: int) -> None:
        """Send so many requests, rounded up to all connections, and wait for the answers."""
        for _ in range(-(-requests // self._connections)):
            if self._open:
                self._ask_again()
            else:
                self._ask_once()

    def waits(self, requests: int) -> list[float]:
        """Send so many requests, rounded up; return the seconds that each took to be answered."""
        waits = []
        for _ in range(-(-requests // self._connections)):
            sent = time.perf_counter()
            for connection in self._open:
                connection.sendall(REQUEST)
            for connection in self._open:
                _read(connection, self._size)
                waits.append(time.perf_counter() - sent)
        return waits

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open:
            connection.close()

    def _ask_again(self) -> None:
        for connection in self._open:
            connection.sendall(REQUEST)
        for connection in self._open:
            _read(connection, self._size)

    def _ask_once(self) -> None:
        connections = list(connected(self._address, self._connections))
        for connection in connections:
            connection.sendall(REQUEST)
        for connection in connections:
            with connection:
                _check(connection.recv(1 << 16))
                while connection.recv(1 << 16):
                    pass


MOST_WAITING = 1024
"""Connections at once, fewer than gunicorn lets wait: to open one more would block, and what is
answered would not be closed, for which its sync workers wait."""


class Load:
    """Requests at a steady rate, sent when their time has come, whatever was answered.

    Args:
        address: Where the server listens.

        rate: Requests a second.

        connections: How many stay open; with 0 each request has one of its own.
    """

    def __init__(self, address: tuple[str, int], rate: float, connections: int) -> None:
        self._address = address
        self._rate = rate
        self._selector = selectors.DefaultSelector()
        self._keeps = connections > 0
        self._request = REQUEST if self._keeps else LAST_REQUEST
        self._free = deque(connected(address, connections))
        (first,) = connected(address, 1)
        with first:
            self._size = answer_size(first, self._request)
        self._missing: dict[socket.socket, int] = {}

    def run(self, seconds: float) -> list[float]:
        """Send for so long; return how long each request has waited for its answer, in seconds."""
        waits: list[float] = []
        started = time.perf_counter()
        due = [started + number / self._rate for number in range(round(seconds * self._rate))]
        due.reverse()
        while due or self._selector.get_map():
            now = time.perf_counter()
            while due and due[-1] <= now and self._has_room():
                self._send(due.pop())
            pause = max(0.0, due[-1] - now) if due and self._has_room() else 1.0
            for key, _ in self._selector.select(pause):
                if self._is_answered(key):
                    waits.append(time.perf_counter() - key.data)
        return waits

    def during(self, work: Callable[[], object]) -> tuple[list[float], float]:
        """Send while *work* is done on another thread; return the waits, and what it took."""
        waits: list[float] = []
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work)
            while not done.done():
                waits.extend(self.run(STRETCH_SECONDS))
            done.result()
        return waits, time.perf_counter() - started

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for connection in self._free:
            connection.close()

    def _has_room(self) -> bool:
        return bool(self._free) if self._keeps else len(self._missing) < MOST_WAITING

    def _send(self, due: float) -> None:
        connection = self._free.popleft() if self._keeps else next(connected(self._address, 1))
        connection.sendall(self._request)
        self._selector.register(connection, selectors.EVENT_READ, due)
        self._missing[connection] = self._size

    def _is_answered(self, key: selectors.SelectorKey) -> bool:
        """Read what there is of an answer; say whether that was the last of it."""
        connection: Any = key.fileobj
        received = len(connection.recv(1 << 16))
        if not received:
            raise ConnectionResetError("the server closed a connection")
        self._missing[connection] -= received
        if self._missing[connection] > 0:
            return False
        del self._missing[connection]
        self._selector.unregister(connection)
        if self._keeps:
            self._free.append(connection)
        else:
            connection.close()
        return True


def connected(address: tuple[str, int], count: int) -> Iterator[socket.socket]:
    """Yield new connections."""
    for _ in range(count):
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def answer_size(connection: socket.socket, request: bytes = REQUEST) -> int:
    """Return how long an answer is: they are all alike."""
    connection.sendall(request)
    head, _, body = _until_body(connection).partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if length is None:
        raise ValueError("an app of the benchmarks must tell the length of its answer")
    _read(connection, int(length[1]) - len(body))
    return len(head) + 4 + int(length[1])


def _until_body(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    _check(received)
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    return received


def _read(connection: socket.socket, size: int) -> None:
    while size > 0:
        received = connection.recv(1 << 16)
        if not received:
            raise ConnectionResetError("the server closed a connection")
        size -= len(received)


def _check(received: bytes) -> None:
    if not received.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"the app answered {received[:60]!r}")
