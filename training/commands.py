"""The learner's commands: `onesheet prepare`, `datasets`, `architectures`, `train`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from cluster.console import JsonFlag, console, finish, say
from cluster.settings import load_settings
from cluster.store import open_store

StoreOption = Annotated[str | None, typer.Option(help="Instead of ONESHEET_STORE.", show_default=False)]


def prepare(
    store: StoreOption = None,
    crawl: Annotated[str | None, typer.Option(help="A crawl's id; by default the newest.", show_default=False)] = None,
    max_height: Annotated[int, typer.Option(help="Taller posters are made this high, in pixels.")] = 512,
    validation_share: Annotated[float, typer.Option(help="Share of the titles to tune on.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of the titles to measure on.")] = 0.2,
    min_posters: Annotated[
        int | None,
        typer.Option(help="Rarer genres are left out; by default 1% of the posters, at least 10.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a dataset of a crawl's posters: cleaned, labelled, split by title, in shards.

    \b
    Examples:
      onesheet prepare
      onesheet prepare --crawl moviegenre-1a2b3c4d --min-posters 50
      onesheet prepare --store s3://bucket/posters --json
    """
    from rich.progress import Progress  # noqa: PLC0415

    from training.dataset import PrepareOptions  # noqa: PLC0415
    from training.dataset import prepare as prepare_dataset  # noqa: PLC0415

    settings = load_settings(store=store)
    options = PrepareOptions(
        max_height_px=max_height,
        validation_share=validation_share,
        test_share=test_share,
        min_posters=min_posters,
        max_pixels=settings.max_poster_pixels,
    )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("posters", total=None)
        card = prepare_dataset(
            open_store(settings.store),
            crawl,
            options,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    funnel = "  →  ".join(f"{name} {count}" for name, count in card.funnel.items())
    say(f"[bold]{card.dataset_id}[/]: {funnel}")
    table = Table("genre", "train", "validation", "test")
    for genre in card.genres:
        table.add_row(genre, *(str(card.genre_counts[split][genre]) for split in card.genre_counts))
    for reason, count in card.dropped.items():
        say(f"dropped {count}: {reason}")
    result = {"dataset_id": card.dataset_id, "crawl_id": card.crawl_id, "funnel": card.funnel, "dropped": card.dropped}
    finish({**result, "genres": card.genres}, as_json=as_json, table=table)


def datasets(store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """List the datasets of the store.

    \b
    Examples:
      onesheet datasets
      onesheet datasets --json
    """
    from training.dataset import list_datasets  # noqa: PLC0415

    cards = list_datasets(open_store(load_settings(store=store).store))
    table = Table("dataset", "crawl", "genres", "train", "validation", "test")
    for card in cards:
        table.add_row(card.dataset_id, card.crawl_id, str(len(card.genres)), *map(str, card.posters.values()))
    rows = [{"dataset_id": card.dataset_id, "crawl_id": card.crawl_id, "posters": card.posters} for card in cards]
    finish({"datasets": rows}, as_json=as_json, table=table)


def architectures(as_json: JsonFlag = False) -> None:
    """List the architectures that `onesheet train` knows.

    \b
    Examples:
      onesheet architectures
    """
    from training.architecture import find, names  # noqa: PLC0415

    found = [find(name) for name in names()]
    table = Table("name", "input", "epochs", "weights", "what", "source")
    for one in found:
        size = f"{one.height_px}x{one.width_px}x3"
        table.add_row(one.name, size, str(one.epochs), "yes" if one.takes_weights else "no", one.summary, one.source)
    rows = [{"name": one.name, "height_px": one.height_px, "width_px": one.width_px} for one in found]
    finish({"architectures": rows}, as_json=as_json, table=table)


def train(
    architecture: Annotated[str, typer.Option(help="See `onesheet architectures`.")] = "mobilenet_v2",
    dataset: Annotated[str | None, typer.Option(help="By default the newest crawl's.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(help="Data-parallel Ray Train workers.")] = 1,
    cpus_per_worker: Annotated[
        int | None, typer.Option(help="By default an even share of the cluster's.", show_default=False)
    ] = None,
    gpus_per_worker: Annotated[int, typer.Option(help="GPUs of each worker.")] = 0,
    weights: Annotated[str, typer.Option(help="A backbone's .weights.h5 file, imagenet, or none.")] = "none",
    fine_tune: Annotated[bool, typer.Option("--fine-tune", help="Train the backbone too.")] = False,
    epochs: Annotated[int | None, typer.Option(help="By default the recipe's.", show_default=False)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Posters a step over all workers; by default the recipe's.", show_default=False)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="By default the recipe's.", show_default=False)] = None,
    height: Annotated[int | None, typer.Option(help="Of the model's input, in pixels.", show_default=False)] = None,
    width: Annotated[int | None, typer.Option(help="Of the model's input, in pixels.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Of weights and shuffling.")] = 0,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a genre classifier over Ray Train workers, measure it, and register it as a bundle.

    \b
    Examples:
      onesheet train --architecture cnn_small
      onesheet train --weights mobilenet_v2_no_top.weights.h5 --workers 2
      onesheet train --weights imagenet --fine-tune --gpus-per-worker 1 --workers 4
    """
    from cluster.nodes import connect  # noqa: PLC0415
    from training.train import TrainOptions  # noqa: PLC0415
    from training.train import train as train_model  # noqa: PLC0415

    settings = load_settings(store=store)
    options = TrainOptions(
        architecture=architecture,
        dataset_id=dataset,
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        weights=weights,
        fine_tune=fine_tune,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        height_px=height,
        width_px=width,
        seed=seed,
    )
    with connect(settings):
        result = train_model(options, open_store(settings.store), say)
    table = Table("metric (test split)", "model", "prior baseline")
    for name, value in result.card.metrics.items():
        table.add_row(name, f"{value:.3f}", f"{result.card.prior_metrics[name]:.3f}")
    say(f"registered [bold]{result.version}[/]; `onesheet models promote {result.version}` puts it into production")
    finish(
        {"version": result.version, "metrics": result.card.metrics, "prior_metrics": result.card.prior_metrics},
        as_json=as_json,
        table=table,
    )
