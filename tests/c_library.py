"""C libraries that are not quite this process's own."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

from leakmw import forked


class Altered:
    """The C library of this process, but for what a subclass has of its own."""

    libc = forked._libc()

    def __getattr__(self, name: str) -> Any:
        """Return a function of the C library."""
        return getattr(self.libc, name)


class Refusing(Altered):
    """Its fork fails."""

    reason = errno.EAGAIN

    def fork(self) -> int:
        """Fail as at the limit of processes."""
        ctypes.set_errno(self.reason)
        return -1


class Old(Altered):
    """That of a kernel before 5.9."""

    def syscall(self, *_: object) -> int:
        """Close no range of descriptors."""
        return -1
