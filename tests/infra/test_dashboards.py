"""The dashboards name what there is: our metrics as the code makes them, Ray's as its own dashboards do."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import ray.dashboard.modules.metrics.dashboards as rays_dashboards

from docs.generated import exported_metrics
from tests.conftest import ROOT

FOLDER = ROOT / "infra" / "grafana"
# What Ray and Prometheus add to every series.
COMMON_LABELS = {"instance", "job", "le"}


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets() -> list[tuple[str, str]]:
    """Each panel's title and expression."""
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in sorted((FOLDER / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
    ]


def selectors(node: Any, labels: frozenset[str] = frozenset()) -> Iterator[tuple[Any, frozenset[str]]]:
    """Each selector of an expression, with the labels by which it is grouped; ours are simple, other nodes fail."""
    match node:
        case promql_parser.VectorSelector():
            yield node, labels
        case promql_parser.MatrixSelector():
            yield node.vector_selector, labels
        case promql_parser.AggregateExpr():
            yield from selectors(node.expr, labels | set(node.modifier.labels if node.modifier else ()))
        case promql_parser.BinaryExpr():
            yield from selectors(node.lhs, labels)
            yield from selectors(node.rhs, labels)
        case promql_parser.Call():
            for argument in node.args:
                yield from selectors(argument, labels)
        case promql_parser.NumberLiteral():
            return
        case _:
            raise AssertionError(f"an unknown kind of expression: {node}")


def metrics_of_ray() -> set[str]:
    """The names on the dashboards that Ray ships."""
    folder = Path(next(iter(rays_dashboards.__path__)))
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*_panels.py"))
    return set(re.findall(r"\bray_[a-z_]+\b", text))


def test_the_files_are_what_their_source_says():
    written = {path.name: path.read_text(encoding="utf-8") for path in (FOLDER / "dashboards").iterdir()}
    assert written == dict(generator().dashboards()), "run: make dashboards"


@pytest.mark.parametrize(("panel", "expression"), targets())
def test_a_panel_asks_for_what_is_exported_by_labels_that_it_has(panel: str, expression: str):
    ours = {series: metric for metric in exported_metrics() for series in metric.series}
    found = list(selectors(promql_parser.parse(expression)))
    assert found
    for selector, grouped in found:
        if selector.name in metrics_of_ray():
            continue
        assert selector.name in ours, f"{panel} names {selector.name}, which nothing exports"
        known = {*ours[selector.name].labels, *COMMON_LABELS}
        assert {matcher.name for matcher in selector.matchers.matchers} <= known
        assert grouped <= known


def test_each_choice_at_the_top_is_a_label_of_its_metric():
    ours = {series: metric for metric in exported_metrics() for series in metric.series}
    for path in (FOLDER / "dashboards").glob("*.json"):
        _, variable = json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        assert label in ours[metric].labels


def test_a_metric_that_is_gone_would_be_found():
    with pytest.raises(AssertionError, match="which nothing exports"):
        test_a_panel_asks_for_what_is_exported_by_labels_that_it_has("x", "rate(ray_onesheet_gone_total[1m])")
