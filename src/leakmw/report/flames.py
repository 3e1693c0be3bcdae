"""Memory by traceback for tools that draw flame graphs, and as a text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.report.stacks import name
from leakmw.report.terminal import printable

if TYPE_CHECKING:
    from leakmw.records import Frame, Live
    from leakmw.report.stacks import Stacks

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNNAMED = "(unknown endpoint)"


def speedscope(stacks: Stacks) -> dict[str, Any]:
    """Return a document for speedscope: one profile by bytes, one by objects.

    The outermost frame is the endpoint.
    """
    frames: dict[tuple[str, str | None, int | None], int] = {}
    samples = [_numbers(row, frames) for row in stacks.rows]
    return {
        "$schema": _SCHEMA,
        "exporter": "leakmw",
        "name": _title(stacks),
        "shared": {"frames": [_frame(*frame) for frame in frames]},
        "profiles": [
            _profile("bytes", "bytes", samples, [row.bytes for row in stacks.rows]),
            _profile("objects", "none", samples, [row.blocks for row in stacks.rows]),
        ],
    }


def collapsed(stacks: Stacks) -> str:
    """Return one line for each traceback: ``endpoint;function (file:line);… bytes``."""
    return "".join(f"{';'.join(map(_folded, _names(row)))} {row.bytes}\n" for row in stacks.rows)


def listing(stacks: Stacks) -> str:
    """Return the tracebacks one below the other, innermost frame first, as Go's ``debug=1``."""
    blocks = sum(row.blocks for row in stacks.rows)
    size = sum(row.bytes for row in stacks.rows)
    lines = [f"heap profile: {blocks}: {size} @ heap/{stacks.sample_bytes or 1}"]
    lines.append(f"# {_title(stacks)}; objects: bytes, endpoint; {stacks.left_out} left out")
    for row in stacks.rows:
        lines += ["", f"{row.blocks}: {row.bytes} {_endpoint(row)}"]
        lines += [
            f"#\t{name(frame)}\t{printable(frame.file)}:{frame.line}"
            for frame in reversed(row.traceback)
        ]
    return "\n".join(lines) + "\n"


def _title(stacks: Stacks) -> str:
    if stacks.seconds is None:
        return f"live memory of {stacks.workers} worker(s)"
    return f"growth in {stacks.seconds:.0f} s"


def _profile(
    title: str, unit: str, samples: list[list[int]], weights: list[int]
) -> dict[str, Any]:
    return {
        "type": "sampled",
        "name": title,
        "unit": unit,
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }


def _numbers(row: Live, frames: dict[tuple[str, str | None, int | None], int]) -> list[int]:
    shown: list[tuple[str, str | None, int | None]] = [(_endpoint(row), None, None)]
    shown += [(name(frame), printable(frame.file), frame.line) for frame in row.traceback]
    return [frames.setdefault(frame, len(frames)) for frame in shown]


def _frame(called: str, file: str | None, line: int | None) -> dict[str, Any]:
    return {"name": called} if file is None else {"name": called, "file": file, "line": line}


def _names(row: Live) -> list[str]:
    return [_endpoint(row), *map(_place, row.traceback)]


def _place(frame: Frame) -> str:
    return f"{name(frame)} ({printable(frame.file)}:{frame.line})"


def _folded(text: str) -> str:
    """Return *text* without what parts the frames."""
    return text.replace(";", ",")


def _endpoint(row: Live) -> str:
    return printable(row.endpoint or _UNNAMED)
