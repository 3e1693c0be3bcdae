"""Memory by traceback as a profile that ``go tool pprof`` and its relatives read.

The format is ``profile.proto`` of github.com/google/pprof, gzipped. Its texts stand in a table, by
whose places all else names them.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from leakmw.report.routes import attributes
from leakmw.report.stacks import name
from leakmw.report.terminal import printable
from leakmw.report.wire import content, integer, integers

if TYPE_CHECKING:
    from leakmw.records import Frame, Live
    from leakmw.report.stacks import Stacks

# fields of Profile
_SAMPLE_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING = range(1, 7)
_TIME_NANOS, _DURATION_NANOS, _PERIOD_TYPE, _PERIOD, _COMMENT, _DEFAULT_TYPE = range(9, 15)

_COMPLETE = range(7, 11)
"""Fields of Mapping that say that functions, files, lines and inlined frames are there."""


def pprof(stacks: Stacks) -> bytes:
    """Return a profile of live objects and bytes, each sample with its route and method.

    What was allocated and freed again is not known, so there are no ``alloc_objects`` and
    ``alloc_space``: nothing is made up.
    """
    return gzip.compress(_Writer(stacks).written(), compresslevel=6, mtime=0)


class _Writer:
    """Writes one profile.

    Args:
        stacks: What it shows.
    """

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks
        self._texts: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[Frame, int] = {}
        self._tables = bytearray()

    def written(self) -> bytes:
        """Return the profile, not compressed."""
        stacks = self._stacks
        types = [("inuse_objects", "count"), ("inuse_space", "bytes")]
        head = b"".join(content(_SAMPLE_TYPE, self._type(*one)) for one in types)
        samples = b"".join(content(_SAMPLE, self._sample(row)) for row in stacks.rows)
        tail = [
            integer(_TIME_NANOS, round(stacks.taken_at.timestamp() * 1e9)),
            integer(_DURATION_NANOS, round((stacks.seconds or 0) * 1e9)),
            content(_PERIOD_TYPE, self._type("space", "bytes")),
            integer(_PERIOD, stacks.sample_bytes or 1),
            integers(_COMMENT, map(self._text, _comments(stacks))),
            integer(_DEFAULT_TYPE, self._text("inuse_space")),
        ]
        # without one, readers look for a binary to find names in
        python = integer(1, 1) + integer(5, self._text("python"))
        complete = b"".join(integer(field, 1) for field in _COMPLETE)
        mapping = content(_MAPPING, python + complete)
        texts = b"".join(content(_STRING, text.encode()) for text in self._texts)
        return b"".join([head, samples, mapping, self._tables, texts, *tail])

    def _type(self, kind: str, unit: str) -> bytes:
        return integer(1, self._text(kind)) + integer(2, self._text(unit))

    def _sample(self, row: Live) -> bytes:
        inward = map(self._location, reversed(row.traceback))
        labels = attributes(row.endpoint) if row.endpoint is not None else {}
        return (
            integers(1, inward)
            + integers(2, (row.blocks, row.bytes))
            + b"".join(content(3, self._label(*label)) for label in labels.items())
        )

    def _label(self, key: str, value: str) -> bytes:
        return integer(1, self._text(key)) + integer(2, self._text(printable(value)))

    def _location(self, frame: Frame) -> int:
        number = self._locations.get(frame)
        if number is None:
            number = self._locations[frame] = len(self._locations) + 1
            line = integer(1, self._function(frame)) + integer(2, frame.line)
            self._tables += content(
                _LOCATION, integer(1, number) + integer(2, 1) + content(4, line)
            )
        return number

    def _function(self, frame: Frame) -> int:
        key = name(frame), printable(frame.file)
        number = self._functions.get(key)
        if number is None:
            number = self._functions[key] = len(self._functions) + 1
            called, file = map(self._text, key)
            self._tables += content(
                _FUNCTION,
                # no system_name: readers would take "<module>" for a template of C++ and drop it
                integer(1, number) + integer(2, called) + integer(4, file),
            )
        return number

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))


def _comments(stacks: Stacks) -> list[str]:
    said = ["leakmw"]
    said.append(
        f"live memory of {stacks.workers} worker(s)"
        if stacks.seconds is None
        else f"growth in {stacks.seconds:.0f} s; what has shrunk is not in here"
    )
    if stacks.left_out:
        said.append(f"{stacks.left_out} tracebacks with fewest bytes are left out")
    return said
