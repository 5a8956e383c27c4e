"""What the reference says of the code, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FLOORS = ("cluster", "crawler", "training", "serving")
_SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}


@dataclass(frozen=True, slots=True)
class ExportedMetric:
    """A metric as Prometheus sees it. series: the names under which it is asked for."""

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str
    module: str

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(f"{self.name}{suffix}" for suffix in _SUFFIXES[self.kind])


def exported_metrics() -> list[ExportedMetric]:
    """Every metric that a module makes with ray.util.metrics, by name."""
    found = [
        metric
        for floor in _FLOORS
        for path in sorted((ROOT / floor).rglob("*.py"))
        if "ray.util.metrics" in (text := path.read_text(encoding="utf-8"))
        for metric in _metrics(ast.parse(text), path.relative_to(ROOT).as_posix())
    ]
    return sorted(found, key=lambda metric: metric.name)


def _metrics(tree: ast.Module, module: str) -> Iterator[ExportedMetric]:
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Name) or call.func.id not in _SUFFIXES:
            continue
        name, description, *rest = call.args
        given = [*rest, *(each.value for each in call.keywords if each.arg == "tag_keys")]
        labels = next((each for each in given if isinstance(each, ast.Tuple)), ast.Tuple([]))
        yield ExportedMetric(
            name=f"ray_{ast.literal_eval(name)}",
            kind=call.func.id,
            labels=tuple(str(label) for label in ast.literal_eval(labels)),
            description=str(ast.literal_eval(description)),
            module=module,
        )
