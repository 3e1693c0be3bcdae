"""The whole of a terminal for a while: drawn anew, keys without Enter, and given back as it was.

It is given back however the block ends: by an exception, by Ctrl-C, by SIGTERM, SIGHUP or SIGQUIT;
Ctrl-Z gives it back until the command goes on.
"""

from __future__ import annotations

import os
import re
import select
import signal
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other screen, no cursor, long lines cut
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_KEY = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
_KEYS_READ = 256  # bytes at a time

QUIT = "q"
"""The key that a terminal which has gone is taken to have sent."""


class Size(NamedTuple):
    """Of a terminal, in signs."""

    columns: int
    rows: int


class FullScreen:
    """A terminal that is drawn upon.

    Args:
        stream: Where to draw.

        keys: Descriptor of the terminal on which keys are typed; ``None`` where there is none.
    """

    def __init__(self, stream: TextIO, keys: int | None) -> None:
        self._stream = stream
        self._keys = keys
        self._before: list[Any] = []
        self._woken = -1

    @contextmanager
    def opened(self) -> Iterator[FullScreen]:
        """Take the terminal for the time of a block, on the main thread."""
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
        woken, waking = os.pipe()
        os.set_blocking(waking, False)  # as it is called
        os.set_blocking(woken, False)  # as it is called
        self._woken = woken
        handlers: dict[signal.Signals, Any] = dict.fromkeys(_ENDING, _end)
        handlers |= {signal.SIGWINCH: lambda *_: None, signal.SIGTSTP: self._pause}
        waker = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            self._take()
            yield self
        finally:
            # a second Ctrl-C must not come between
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *_ENDING})
            self._give_back()
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(waker)
            os.close(woken)
            os.close(waking)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    @property
    def size(self) -> Size:
        """The size now; that of the first terminals where it does not tell."""
        with suppress(OSError):
            columns, rows = os.get_terminal_size(self._stream.fileno())
            if columns and rows:
                return Size(columns, rows)
        return Size(80, 24)

    def draw(self, lines: Sequence[str]) -> None:
        """Show *lines* from the top; the rest of the screen is empty.

        Args:
            lines: As many as there are rows at most, none wider than the screen.
        """
        shown = "\r\n".join(f"{line}{_REST_OF_LINE}" for line in lines)
        self._write(f"{_HOME}{shown}{_REST}")

    def keys(self, seconds: float) -> list[str] | None:
        """Return the keys that come first, arrows by name.

        Args:
            seconds: Longest wait.

        Returns:
            None after the time or a signal, such as that of a new size: nothing was typed.
        """
        read = [self._woken] if self._keys is None else [self._woken, self._keys]
        ready, _, _ = select.select(read, [], [], max(seconds, 0))
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, _KEYS_READ)
        if self._keys not in ready or self._keys is None:
            return None
        try:
            typed = os.read(self._keys, _KEYS_READ)
        except OSError:
            typed = b""
        if not typed:
            return [QUIT]
        return [_named(key) for key in _KEY.findall(typed.decode("utf-8", "replace"))]

    def _take(self) -> None:
        if self._keys is not None:
            tty.setcbreak(self._keys, termios.TCSADRAIN)
        self._write(_ENTER)

    def _give_back(self) -> None:
        with suppress(OSError, ValueError):  # a terminal that has gone needs nothing back
            self._write(_LEAVE)
        if self._keys is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def _pause(self, *_: object) -> None:
        """Stop as the shell asked, and take the terminal again when it lets go on."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._pause)
        self._take()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _named(key: str) -> str:
    return _ARROWS.get(key[-1], "") if len(key) > 1 else key
