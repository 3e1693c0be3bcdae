"""A fleet as its log tells of it: the events of all workers, folded into one table."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from leakmw.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leakmw.shell.lines import Event

FIELDS = ("service", "version", "host", "endpoint")
"""What tells the rows apart."""

CELLS = 50_000
"""Places of workers that are told apart, and workers; what comes after them is counted."""

_LONGEST = 300  # signs of a name
_ORDER = {verdict.value: rank for rank, verdict in enumerate(Verdict)}
_UNITS = {unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))}
_SITE = re.compile(
    rf"(?P<verdict>{'|'.join(_ORDER)}) (?P<endpoint>.+) (?P<place>\S+:\d+|unknown) "
    r"(?:(?P<rate>-?[\d.e+]+) (?P<unit>[KMGTP]i?B|B)/request(?:, .*)?|\S+ \S+)"
)


class Worker(NamedTuple):
    """One process of the fleet."""

    service: str | None
    version: str | None
    host: str | None
    pid: str | None


class Cell(NamedTuple):
    """What one worker last said of one place.

    Attributes:
        when: Seconds since the epoch; ``None`` where the log does not tell.
        verdict: The word.
        rate: Bytes per request.
        visits: Of the endpoint.
        growth: Bytes.
        fingerprint: Of the finding.
        place: ``file:line``.
    """

    when: float | None
    verdict: str
    rate: float | None
    visits: float | None
    growth: float | None
    fingerprint: str | None
    place: str


class Row(NamedTuple):
    """What a part of the fleet says of one endpoint; without findings, ``verdict`` is ``None``.

    Attributes:
        key: The values of the fields that tell the rows apart.
        verdict: The worst.
        rate: Bytes per request: of each place the mean over workers, weighted by their requests.
        visits: Of the endpoint in these workers; of all endpoints without findings.
        growth: Bytes.
        workers: How many say so.
        fingerprint: Of the worst finding.
        place: Where that is.
    """

    key: tuple[str | None, ...]
    verdict: str | None
    rate: float | None
    visits: int | None
    growth: int | None
    workers: int
    fingerprint: str | None = None
    place: str | None = None


class Fleet:
    """Folds events, in any order as far as they carry their time.

    Attributes:
        counts: Events by name.
        left_out: Events of workers or places past the cap.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.left_out = 0
        self._cells: dict[tuple[Worker, str, str], Cell] = {}
        self._workers: dict[Worker, tuple[float | None, float | None]] = {}

    def fold(self, event: Event) -> None:
        """Count *event* in."""
        self.counts[event.name] += 1
        fields = _Fields(event.fields)
        worker = fields.worker()
        if event.name == "leakmw.report":
            self._visited(worker, event.when, fields.number("visits"))
            for listed in (fields.text("sites") or "").split("; "):
                self._listed(worker, event.when, listed)
        if event.name != "leakmw.self_error" and fields.text("verdict"):
            self._found(worker, event.when, fields)

    def _visited(self, worker: Worker, when: float | None, visits: float | None) -> None:
        old = self._workers.get(worker)
        if old is None and len(self._workers) >= CELLS:
            self.left_out += 1
        elif old is None or not _earlier(when, old[0]):
            self._workers[worker] = when, visits

    def _listed(self, worker: Worker, when: float | None, listed: str) -> None:
        """Take one finding from the short list of a report: its first has fields of its own."""
        said = _SITE.fullmatch(listed)
        if said is None:
            return
        rate = _figure(said["rate"])
        size = None if rate is None else rate * _UNITS[said["unit"]]
        cell = Cell(when, said["verdict"], size, None, None, None, said["place"])
        self._put(worker, said["endpoint"], cell)

    def _found(self, worker: Worker, when: float | None, fields: _Fields) -> None:
        verdict, endpoint = fields.text("verdict"), fields.text("endpoint")
        if verdict not in _ORDER or endpoint is None:
            return
        file, line = fields.text("site_file"), fields.text("site_line")
        cell = Cell(
            when,
            verdict,
            fields.number("bytes_per_request"),
            fields.number("growth_visits"),
            fields.number("growth_bytes"),
            fields.text("fingerprint"),
            f"{file}:{line}" if file else "unknown",
        )
        self._put(worker, endpoint, cell)

    def _put(self, worker: Worker, endpoint: str, cell: Cell) -> None:
        key = worker, endpoint, cell.place
        old = self._cells.get(key)
        if old is None and len(self._cells) >= CELLS:
            self.left_out += 1
        elif old is None:
            self._cells[key] = cell
        elif not _earlier(cell.when, old.when):
            known = (
                new if new is not None else before for new, before in zip(cell, old, strict=True)
            )
            self._cells[key] = Cell._make(known)

    @property
    def workers(self) -> int:
        """How many workers have spoken."""
        return len({*self._workers, *(worker for worker, _, _ in self._cells)})

    def rows(self, by: Sequence[str] = FIELDS) -> list[Row]:
        """Return the table, worst first.

        Args:
            by: The fields that tell the rows apart.
        """
        found: dict[tuple[str | None, ...], list[tuple[Worker, Cell]]] = {}
        talked: set[tuple[str | None, ...]] = set()
        for (worker, endpoint, _), cell in self._cells.items():
            found.setdefault(_key(worker, endpoint, by), []).append((worker, cell))
            talked.add(_key(worker, None, by))
        rows = [_row(key, cells) for key, cells in found.items()]
        silent: dict[tuple[str | None, ...], list[float | None]] = {}
        for worker, (_, visits) in self._workers.items():
            key = _key(worker, None, by)
            if key not in talked:
                silent.setdefault(key, []).append(visits)
        rows += [
            Row(key, None, None, _sum(visits), None, len(visits)) for key, visits in silent.items()
        ]
        return sorted(rows, key=_rank)


class _Fields:
    """The fields of an event, whatever types an aggregator has made of them."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def text(self, name: str) -> str | None:
        """Return a field as text; an object of ECS by its name."""
        value = self._fields.get(name)
        if isinstance(value, dict):
            value = value.get("name")
        if value is None or isinstance(value, list | dict):
            return None
        return str(value)[:_LONGEST] or None

    def number(self, name: str) -> float | None:
        """Return a field as a number."""
        return _figure(self._fields.get(name))

    def worker(self) -> Worker:
        """Return who says so."""
        service = self._fields.get("service")
        version = service.get("version") if isinstance(service, dict) else None
        return Worker(
            self.text("service"),
            self.text("version") or (str(version)[:_LONGEST] if version else None),
            self.text("worker_host"),
            self.text("worker_pid"),
        )


def _earlier(when: float | None, than: float | None) -> bool:
    return when is not None and than is not None and when < than


def _key(worker: Worker, endpoint: str | None, by: Sequence[str]) -> tuple[str | None, ...]:
    values = {**worker._asdict(), "endpoint": endpoint}
    return tuple(values[field] for field in by)


def _row(key: tuple[str | None, ...], cells: Sequence[tuple[Worker, Cell]]) -> Row:
    worst = min(
        (cell for _, cell in cells), key=lambda cell: (_ORDER[cell.verdict], -(cell.rate or 0))
    )
    places: dict[str, list[Cell]] = {}
    visits: dict[Worker, float] = {}
    for worker, cell in cells:
        places.setdefault(cell.place, []).append(cell)
        if cell.visits is not None:
            visits[worker] = max(visits.get(worker, 0), cell.visits)
    rates = [rate for rate in map(_mean, places.values()) if rate is not None]
    return Row(
        key,
        worst.verdict,
        sum(rates) if rates else None,
        _sum(visits.values()),
        _sum(cell.growth for _, cell in cells),
        len({worker for worker, _ in cells}),
        worst.fingerprint,
        worst.place,
    )


def _mean(cells: Iterable[Cell]) -> float | None:
    """Return the mean bytes per request at one place: a request counts the same in each worker."""
    known = [(cell.rate, cell.visits or 0) for cell in cells if cell.rate is not None]
    total = sum(visits for _, visits in known)
    if total:
        return sum(rate * visits for rate, visits in known) / total
    return sum(rate for rate, _ in known) / len(known) if known else None


def _sum(figures: Iterable[float | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return round(sum(known)) if known else None


def _rank(row: Row) -> tuple[Any, ...]:
    worst = len(_ORDER) if row.verdict is None else _ORDER[row.verdict]
    return worst, -(row.rate or 0), tuple(value or "" for value in row.key)


def _figure(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        figure = float(value)
    except (ValueError, OverflowError):
        return None
    return figure if math.isfinite(figure) else None
