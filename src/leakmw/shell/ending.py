"""How a command ends: its exit status, and the words with which it gives up."""

from __future__ import annotations

FINE = 0

FOUND = 1
"""What was looked for is there, or what was asked for could not be had."""

USAGE = 2
"""The command cannot be run as it was given, or where it was given."""

UNREACHABLE = 3
"""Nobody is there to ask, or who answers is not leakmw."""

INTERRUPTED = 130
"""After Ctrl-C, as shells give it."""

BROKEN_PIPE = 141
"""The reader of the output has gone, as shells give it."""

STATUSES = (
    "Exit status: 0 if all is well, 1 if what was asked for could not be had, 2 if the command "
    "was wrong, 3 if nobody could be asked."
)
"""What most commands say of theirs."""


class EndingError(Exception):
    """The command ends here.

    Attributes:
        message: Why, and what to do; one or more lines.
        status: The exit status.
    """

    def __init__(self, message: str, status: int = FOUND) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
