"""What the reference says of the code, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from cluster.settings import Settings
from crawler.ledger_rows import SCHEMA
from crawler.outcomes import Reason
from onesheet import app
from serving.app import ServeOptions

ROOT = Path(__file__).resolve().parent.parent
_FLOORS = ("cluster", "crawler", "training", "serving")
_ON_COMMANDS = (
    "Each also tells this with `--help`, and ends with one line of JSON with `--json`. `onesheet --version` tells which"
    " onesheet it is."
)
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
        """The names in Prometheus."""
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
        # `gauge` is a Gauge unless a test gives another.
        kind = call.func.id.capitalize() if isinstance(call.func, ast.Name) else ""
        if kind not in _SUFFIXES:
            continue
        name, description, *rest = call.args
        given = [*rest, *(each.value for each in call.keywords if each.arg == "tag_keys")]
        labels = next((each for each in given if isinstance(each, ast.Tuple)), ast.Tuple([]))
        yield ExportedMetric(
            name=f"ray_{ast.literal_eval(name)}",
            kind=kind,
            labels=tuple(str(label) for label in ast.literal_eval(labels)),
            description=str(ast.literal_eval(description)),
            module=module,
        )


def metrics_page() -> str:
    """What Prometheus gets."""
    rows = [
        (
            f"`{metric.series[0].removesuffix('_bucket')}`",
            metric.kind.lower(),
            ", ".join(metric.labels),
            metric.description,
        )
        for metric in exported_metrics()
    ]
    return _page(
        "Metrics",
        "Ray exports them on each node, with labels of its own too. A histogram has `_bucket`, `_sum` and `_count`.",
        _table(("metric", "kind", "labels", "what"), rows),
    )


def settings_page() -> str:
    """The variables that every command reads."""
    rows = [
        (f"`ONESHEET_{name.upper()}`", "" if field.default is None else f"`{field.default}`", field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    serve = [
        (f"`{name}`", "" if field.is_required() else f"`{field.default}`", field.description or "")
        for name, field in ServeOptions.model_fields.items()
    ]
    return "\n".join(
        (
            _page("Settings", "More on them, and what else is read: [settings](../settings.md).", ""),
            _table(("variable", "default", "what"), rows),
            "## The endpoint's options\n\nThe `args` of `infra/serve.yaml`.\n",
            _table(("option", "default", "what"), serve),
        )
    )


def reasons_page() -> str:
    """What a ledger row can say."""
    rows = [(f"`{reason}`", "by the next run" if reason.is_passing else "") for reason in Reason]
    columns = [(f"`{field.name}`", f"{field.type}", "" if field.nullable else "always") for field in SCHEMA]
    return "\n".join(
        (
            _page("The ledger", "A row a title: `stored`, or `rejected` with one of these reasons.", ""),
            _table(("reason", "tried again"), rows),
            "What each stands for: [crawling](../crawling.md#what-a-poster-must-be).\n\n## Columns\n",
            _table(("column", "type", "set"), columns),
        )
    )


def commands_page() -> str:
    """Every command with its options, as `--help` has them."""
    parts = [_page("Commands", _ON_COMMANDS, "")]
    parts += [_command(name, command) for name, command in _leaves("onesheet", typer.main.get_command(app))]
    return "\n".join(parts)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    default = getattr(command, "default_command", None)
    for part, child in getattr(command, "commands", {}).items():
        yield from _leaves(name if part == default else f"{name} {part}", child)
    if not hasattr(command, "commands"):
        yield name, command


def _command(name: str, command: Any) -> str:
    text = Text.from_markup(command.help.replace("\b\n", "").replace("\f", "")).plain
    about, _, examples = text.partition("Examples")
    shown = "\n".join(line.strip() for line in examples.splitlines() if line.strip(" :"))
    rows = [
        (
            ", ".join(f"`{option}`" for option in (*each.opts, *each.secondary_opts))
            if each.param_type_name == "option"
            else f"`{each.metavar or each.name.upper()}`",
            _default(each),
            Text.from_markup(each.help or "").plain,
        )
        for each in command.params
        if each.name not in {"help", "as_json"}
    ]
    options = _table(("option", "default", "what"), rows) if rows else ""
    return f"## {name}\n\n{about.strip()}\n\n" + (f"```text\n{shown}\n```\n\n" if shown else "") + options


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if not parameter.show_default or parameter.default in {None, "", ()} or callable(parameter.default):
        return ""
    return f"`{parameter.default}`"


def _page(title: str, about: str, rest: str) -> str:
    return f"# {title}\n\n{about}\n\n{rest}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


PAGES = {"commands": commands_page, "settings": settings_page, "metrics": metrics_page, "ledger": reasons_page}


def write_reference(folder: Path) -> None:
    """All pages of the reference, where they differ from what lies there."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = folder / f"{name}.md", page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
