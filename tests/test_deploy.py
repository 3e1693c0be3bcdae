"""What is in deploy/ fits what leakmw really has: metrics, labels, addresses, files."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from leakmw.report.figures import FIGURES
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.admin.messages import AdminResponse

    Ask = Callable[..., AdminResponse]

DEPLOY = Path(__file__).parent.parent / "deploy"
PATH = Settings().path
LABELS = {"endpoint": {"route", "method"}, "worker": {"pid"}}
SCRAPED = {"job", "instance"}
"""Labels that Prometheus itself adds."""

LABELS_OF = {
    figure.metric: {label for name in figure.by for label in LABELS.get(name, {name})}
    for figure in FIGURES
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/leakmw.json").read_text())
    return loaded


def shown() -> list[tuple[str, str]]:
    """Return the expressions of the dashboard with what its legends say."""
    return [
        (target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


def rules() -> list[dict[str, Any]]:
    """Return the alert rules for Prometheus."""
    loaded = yaml.safe_load((DEPLOY / "prometheus/leakmw.rules.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def labels_in(expression: str) -> Iterator[str]:
    """Yield the labels that an expression matches, groups or ignores."""
    yield from re.findall(r"(\w+)(?:=~|!=|!~|=)['\"]", expression)
    for names in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression):
        yield from (name.strip() for name in names.split(","))


@pytest.mark.parametrize(
    "expression",
    [
        *(expression for expression, _ in shown()),
        *(rule["expr"] for rule in rules()),
        *(text for rule in rules() for text in rule["annotations"].values()),
    ],
)
def test_every_metric_and_label_there_is(expression: str) -> None:
    """No panel, rule or text asks for what leakmw does not have."""
    metrics = set(re.findall(r"\bleakmw_\w+", expression))
    known = {label for metric in metrics for label in LABELS_OF[metric]} | SCRAPED
    told = {label for labels in LABELS_OF.values() for label in labels} | SCRAPED

    assert set(labels_in(expression)) <= known
    assert set(re.findall(r"\$labels\.(\w+)", expression)) <= told


def test_the_choices_of_the_dashboard_are_there() -> None:
    """Data source and app; the app by a label of a metric that there always is."""
    source, app = dashboard()["templating"]["list"]

    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    assert app["query"]["query"] == "label_values(leakmw_workers, job)"
    assert all('job="$job"' in expression for expression, _ in shown())


def test_every_legend_names_labels_that_are_left() -> None:
    """A legend of a label that the expression has added up would be empty."""
    for expression, legend in shown():
        named = set(re.findall(r"\{\{(\w+)\}\}", legend))
        by = re.search(r"\bby \(([^)]*)\)", expression)
        metric = re.search(r"leakmw_\w+", expression)
        assert metric is not None
        left = set(by[1].split(", ")) if by else LABELS_OF[metric[0]]
        assert named <= left


def test_every_rule_tells_what_to_do() -> None:
    """Each has a severity that can be routed, a summary and a description."""
    names = [rule["alert"] for rule in rules()]
    page = (DEPLOY / "README.md").read_text()

    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in page


def test_the_panels_of_the_dashboard_stand_side_by_side() -> None:
    """None lies on another, none beyond the grid, and all ask the chosen data source."""
    panels = dashboard()["panels"]
    places = [panel["gridPos"] for panel in panels]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    for panel in panels:
        assert panel["title"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_address_that_is_scraped_answers(ask: Ask) -> None:
    """With what the scraper expects there; those that are switched off are not asked for."""
    alloy = (DEPLOY / "alloy/leakmw.alloy").read_text()
    parca = yaml.safe_load((DEPLOY / "parca/parca.yaml").read_text())
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    profiling = parca["scrape_configs"][0]["profiling_config"]
    wanted = {
        prometheus["scrape_configs"][0]["metrics_path"],
        *re.findall(r'metrics_path\s+= "(.*)"', alloy),
        # what Alloy has below its prefix for memory
        *(f"{prefix}/debug/pprof/allocs" for prefix in re.findall(r'path_prefix = "(.*)"', alloy)),
        *(
            profiling["path_prefix"] + kind["path"]
            for kind in profiling["pprof_config"].values()
            if kind["enabled"]
        ),
    }

    assert wanted == {
        f"{PATH}{path}" for path in ("/metrics", "/debug/pprof/allocs", "/debug/pprof/heap")
    }
    assert {ask("GET", path.removeprefix(PATH)).status for path in wanted} == {200}


def test_alloy_is_told_of_all_profiles_that_are_on_by_themselves() -> None:
    """Only memory is left on."""
    alloy = (DEPLOY / "alloy/leakmw.alloy").read_text()
    told = dict(re.findall(r"profile\.(\w+) \{\s*enabled = (\w+)\s*\}", alloy))

    assert told.pop("memory") == "true"
    assert told == dict.fromkeys(("block", "goroutine", "mutex", "process_cpu"), "false")
    assert alloy.count("{") == alloy.count("}")


def test_the_readme_has_every_file_and_no_other() -> None:
    """Whoever comes here finds all there is."""
    page = (DEPLOY / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page)
    files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()}

    assert {link for link in links if not link.startswith("../")} == files - {"README.md"}
    assert [link for link in links if not (DEPLOY / link).is_file()] == []
