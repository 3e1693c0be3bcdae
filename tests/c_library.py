"""C libraries that are not quite this process's own."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Any

from leakmw import forked

if TYPE_CHECKING:
    import pytest


class Altered:
    """The C library of this process, but for what a subclass has of its own."""

    libc = forked._libc()

    def __getattr__(self, name: str) -> Any:
        """Return a function of the C library."""
        return getattr(self.libc, name)


class _Refusing(Altered):
    """Its fork fails."""

    reason = errno.EAGAIN

    def fork(self) -> int:
        """Fail as at the limit of processes."""
        ctypes.set_errno(self.reason)
        return -1


def refuse_to_fork(patch: pytest.MonkeyPatch, reason: int = errno.EAGAIN) -> None:
    """Have the system refuse every child, for *reason*."""

    def refuse(_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    patch.setattr(_Refusing, "reason", reason)
    patch.setattr(forked, "_libc", _Refusing)
    if forked.FORGETS:
        patch.setattr(forked, "fork", refuse)


class Old(Altered):
    """That of a kernel before 5.9."""

    def syscall(self, *_: object) -> int:
        """Close no range of descriptors."""
        return -1
