"""The process that serves the shop: ``python -m leakmw.demo.server``.

Says its port on standard output and serves until its standard input ends, so that it cannot
outlive the process that started it, however that one ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

import uvicorn

from leakmw.demo.shop import app

GRACE_SECONDS = 2

KEEP_ALIVE_SECONDS = 600
"""Longer than the demonstration: a visitor that waits for a report keeps its connection."""


def main() -> None:
    """Serve the shop on a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            lifespan="off",
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on: a full pipe would block
    server.run(sockets=[listener])


def _end_with_input(server: uvicorn.Server) -> None:
    os.read(sys.stdin.fileno(), 1)
    server.should_exit = True


if __name__ == "__main__":
    main()
