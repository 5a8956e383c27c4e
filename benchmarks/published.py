"""The published networks with their published recipes on one real split: their figure, ours, the prior baseline, ours.

    python -m benchmarks.published --store STORE [--weights WEIGHTS] [--only NAME …] [--epochs 5]
                                   [--precision mixed_bfloat16] [--beside VERSION …]

Trains each on the newest dataset of the store (`onesheet prepare`), measures it once on the test split and registers
it like any other model. What was published was measured on another split, mostly of other posters, and by one figure
only; the prior baseline says how much of such a figure the frequency of the genres gives for nothing. A recipe that
wants ImageNet weights which are not there runs without them, and its row says so; so does one that is cut short by
--epochs, for on a CPU some of these take a night, or that trains in another --precision. Called again, it goes on where
it was stopped.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cluster.console import say
from cluster.errors import TrainingError
from cluster.nodes import connect
from cluster.settings import load_settings
from cluster.store import open_store
from training.architecture import find
from training.bundle import BundleCard
from training.dataset import newest_dataset
from training.live import live_line
from training.parts import weights_files
from training.registry import Registry
from training.runs import TrainOptions
from training.train import train

console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


@dataclass(frozen=True, slots=True)
class Published:
    """What a source says of its network. figure: None where it gives none that can be compared."""

    name: str
    metric: str = ""
    figure: float | None = None


# Misra counts a poster as right where one of the three best scores is one of its genres, of 28 genres on 1,108
# posters; KGP Talkie's is Keras's accuracy of the last epoch on 1,089 posters of 25 genres.
PUBLISHED = (
    Published("cnn_4block_bn", "binary_accuracy", 0.9119),
    Published("cnn_2x2_same"),
    Published("cnn_5x5", "top3_hit", 0.7236),
    Published("vgg16_last4", "top3_hit", 0.7751),
    Published("vgg19_gap"),
    Published("chu_cnn"),
)
COLUMNS = ("macro_map", "micro_f1", "top3_hit", "binary_accuracy")


@dataclass(frozen=True, slots=True)
class Row:
    """A network's line. remarks: how its run differs from what was published."""

    name: str
    published: str
    remarks: str
    metrics: dict[str, float]


def compare(
    store: Annotated[str | None, typer.Option(help="Where the dataset is.", show_default=False)] = None,
    weights: Annotated[
        str | None, typer.Option(help="ImageNet weights: a folder, or imagenet.", show_default=False)
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these networks.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many.", show_default=False)] = None,
    precision: Annotated[
        str | None, typer.Option(help="A recipe's precision in place of float32.", show_default=False)
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Registered models to show, by default the one in production.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Train each network, then print one table."""
    settings = load_settings(store=store, weights=weights)
    opened = open_store(settings.store)
    registry, dataset_id = Registry(opened), newest_dataset(opened).dataset_id
    chosen = [each for each in PUBLISHED if not only or each.name in only]
    if not chosen:
        sys.exit(f"--only {', '.join(only or ())}: none of {', '.join(each.name for each in PUBLISHED)}")
    production = registry.production()
    ours = [registry.card(version) for version in beside or ([production.version] if production else [])]
    rows, prior = [], dict[str, float]()
    with connect(settings), live_line() as on_event:
        for each in chosen:
            options, remarks = _options(each.name, dataset_id, settings.weights, workers, epochs, precision)
            card = train(options, opened, say, on_event).card
            prior = card.prior_metrics
            rows.append(_row(each, card, remarks))
    rows += [Row(card.architecture, "", "onesheet", card.metrics) for card in ours]
    rows.append(Row("prior baseline", "", "", prior))
    show(rows)
    if json_file:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def show(rows: list[Row]) -> None:
    """The table, as Markdown."""
    table = Table("network", "published", *COLUMNS, "remarks", box=box.MARKDOWN)
    for row in rows:
        table.add_row(row.name, row.published, *(f"{row.metrics[name]:.3f}" for name in COLUMNS), row.remarks)
    console.print(table)


def _options(
    name: str, dataset_id: str, weights: str, workers: int, epochs: int | None, precision: str | None
) -> tuple[TrainOptions, list[str]]:
    """The published recipe as far as this machine has what it wants, and how it differs."""
    architecture, remarks = find(name), []
    used = "none"
    if architecture.takes_weights:
        try:
            weights_files(name, weights)
            used = weights
        except TrainingError:
            pass
        if used == "none":
            remarks.append("without ImageNet weights")
    recipe, run = dict[str, Any](), f"published-{name}-{dataset_id}"
    if epochs and epochs < architecture.recipe.epochs:
        recipe["epochs"] = epochs
        run += f"-{epochs}"
        remarks.append(f"{epochs} of {architecture.recipe.epochs} epochs")
    if precision and precision != architecture.recipe.precision:
        recipe["precision"] = precision
        run += f"-{precision}"
        remarks.append(precision)
    options = TrainOptions(
        architecture=name, dataset_id=dataset_id, workers=workers, weights=used, recipe=recipe, name=run
    )
    return options, remarks


def _row(published: Published, card: BundleCard, remarks: list[str]) -> Row:
    said = f"{published.metric} {published.figure:.3f}" if published.figure is not None else ""
    return Row(published.name, said, "; ".join(remarks), card.metrics)


if __name__ == "__main__":
    typer.run(compare)
