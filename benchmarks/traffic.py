"""A client that costs little: the same bytes again and again, over several connections at once."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\nAccept: */*\r\n\r\n"


class Client:
    """Sends one request on each connection, then reads all answers, and so on.

    Args:
        address: Where the server listens.

        keep_alive: Whether the server lets a connection be used again.
    """

    def __init__(self, address: tuple[str, int], *, keep_alive: bool) -> None:
        self._address = address
        self._open = list(connected(address)) if keep_alive else []
        self._size = answer_size(self._open[0]) if keep_alive else 0

    def send(self, requests: int) -> None:
        """Send so many requests, rounded up to all connections, and wait for the answers."""
        for _ in range(-(-requests // CONNECTIONS)):
            if self._open:
                self._ask_again()
            else:
                self._ask_once()

    def waits(self, requests: int) -> list[float]:
        """Send so many requests, rounded up; return the seconds that each took to be answered."""
        waits = []
        for _ in range(-(-requests // CONNECTIONS)):
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
        connections = list(connected(self._address))
        for connection in connections:
            connection.sendall(REQUEST)
        for connection in connections:
            with connection:
                _check(connection.recv(1 << 16))
                while connection.recv(1 << 16):
                    pass


def connected(address: tuple[str, int], count: int = CONNECTIONS) -> Iterator[socket.socket]:
    """Yield new connections."""
    for _ in range(count):
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def answer_size(connection: socket.socket) -> int:
    """Return how long an answer is: they are all alike."""
    connection.sendall(REQUEST)
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
