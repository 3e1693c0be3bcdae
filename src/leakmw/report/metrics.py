"""The figures as Prometheus scrapes them, by the exposition of its own client library."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from leakmw.report.figures import FIGURES
from leakmw.report.routes import named
from leakmw.report.terminal import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from leakmw.report.figures import Figure
    from leakmw.report.readings import Seen

MAX_LABEL = 400
"""Columns of a label's value: more than an endpoint's name has."""

_UNITS = ("bytes", "seconds", "ratio")


class Exposition(NamedTuple):
    """What a scrape gets.

    Attributes:
        content_type: With the version of the format.
        body: In that format.
    """

    content_type: str
    body: bytes


def exposition(seen: Seen, accept: str) -> Exposition:
    """Return the figures in the format that *accept* asks for: OpenMetrics or the older text.

    Args:
        seen: What they are read from.

        accept: Value of the ``Accept`` header; empty when there was none.

    Raises:
        ModuleNotFoundError: If ``prometheus_client`` is not installed.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)  # the app's own has nothing to do with it
    registry.register(_Collector(seen))
    return Exposition(content_type, encode(registry))


class _Collector:
    """Hands the figures to the client library.

    Args:
        seen: What they are read from.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: no other collector is in this registry."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all families, those without a reading too."""
        from prometheus_client.core import InfoMetricFamily

        told = self._seen.workers[0] if self._seen.workers else self._seen.report
        about = InfoMetricFamily("leakmw_app", "The app, as its settings name it.")
        if told is not None:
            about.add_metric(
                (), {"service": _value(told.service or ""), "version": _value(told.version or "")}
            )
        yield about
        for figure in FIGURES:
            yield _family(figure, self._seen)


def _family(figure: Figure, seen: Seen) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    names = [label for name in figure.by for label in _LABELS.get(name, (name,))]
    family: CounterMetricFamily | GaugeMetricFamily
    if figure.grows:
        # the library itself adds what a counter's name ends with
        name = figure.metric.removesuffix("_total")
        family = CounterMetricFamily(name, figure.meaning, labels=names)
    else:
        unit = figure.metric.rpartition("_")[2]
        family = GaugeMetricFamily(
            figure.metric, figure.meaning, labels=names, unit=unit if unit in _UNITS else ""
        )
    readings: dict[tuple[str, ...], float] = {}
    for reading in figure.read(seen):
        labels = _labels(reading.of)
        # one that is there twice would cost the whole scrape
        readings.setdefault(tuple(labels[name] for name in names), reading.value)
    for values, value in readings.items():
        family.add_metric(values, value)
    return family


_LABELS = {"endpoint": ("route", "method"), "worker": ("pid",)}


def _labels(of: Mapping[str, str]) -> dict[str, str]:
    labels = {name: _value(value) for name, value in of.items()}
    if "endpoint" in of:
        method, route = named(of["endpoint"])
        labels |= {"route": _value(route), "method": method}
    if "worker" in of:
        labels["pid"] = of["worker"]
    return labels


def _value(text: str) -> str:
    return shorten(text, MAX_LABEL)
