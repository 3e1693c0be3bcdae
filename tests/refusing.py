"""A C library that forks no child."""

from __future__ import annotations

import ctypes
import errno

from leakmw import forked


class Refusing:
    """The C library of this process, but for its fork, which fails."""

    reason = errno.EAGAIN
    libc = forked._libc()

    def __getattr__(self, name: str) -> object:
        """Return a function of the C library."""
        return getattr(self.libc, name)

    def fork(self) -> int:
        """Fail as at the limit of processes."""
        ctypes.set_errno(self.reason)
        return -1
