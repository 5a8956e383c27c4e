"""`onesheet train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.errors import TrainingError
from cluster.resources import CpusPerWorkerOption, GpusPerWorkerOption, WorkersOption
from cluster.settings import load_settings
from cluster.store import open_store
from training.options import CheckFlag, InputSideOption, NameOption, TrainingDatasetOption, WeightsOption


def train(
    architecture: Annotated[
        str, typer.Option(help="See `onesheet architectures`; backbones can be joined: a@384x256+b@224x160.")
    ] = "mobilenet_v2",
    dataset: TrainingDatasetOption = None,
    workers: WorkersOption = 1,
    max_workers: Annotated[
        int | None, typer.Option(help="Grow to so many as the cluster has room for them.", show_default=False)
    ] = None,
    cpus_per_worker: CpusPerWorkerOption = None,
    gpus_per_worker: GpusPerWorkerOption = 0,
    weights: WeightsOption = None,
    fine_tune: Annotated[bool, typer.Option("--fine-tune", help="As --set trainable=all.")] = False,
    epochs: Annotated[int | None, typer.Option(help="As --set epochs=N.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="As --set batch_size=N.", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="As --set learning_rate=X.", show_default=False)] = None,
    settings_of_recipe: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe: name=value, as often as needed.", show_default=False),
    ] = None,
    height: InputSideOption = None,
    width: InputSideOption = None,
    seed: Annotated[int, typer.Option(help="Of weights and shuffling.")] = 0,
    name: NameOption = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with a run that was interrupted; all other options are its own.", show_default=False),
    ] = None,
    check: CheckFlag = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a genre classifier over Ray Train workers, measure it, and register it as a bundle.

    A worker gets an even share of the cluster's free CPUs unless --cpus-per-worker says how many.

    \b
    Examples:
      onesheet train --architecture cnn_small
      onesheet train --weights mobilenet_v2_no_top.weights.h5 --workers 2
      onesheet train --architecture efficientnet_lite2@384x256 --weights WEIGHTS_FOLDER --set pooling=rich
      onesheet train --weights imagenet --fine-tune --set layer_decay=0.7 --set ema=0.999 --gpus-per-worker 1
      onesheet train --resume mobilenet_v2-20260301-120000-1a2b
      onesheet train --architecture cnn_small --name nightly-20260301
    """
    from cluster.nodes import connect  # noqa: PLC0415
    from training import runs  # noqa: PLC0415
    from training import train as training  # noqa: PLC0415
    from training.live import live_line  # noqa: PLC0415
    from training.recipe import settings_of  # noqa: PLC0415

    settings = load_settings(store=store, weights=weights)
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    recipe: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if fine_tune:
        recipe["trainable"] = "all"
    for setting, value in settings_of(settings_of_recipe or []).items():
        if setting in recipe:
            raise TrainingError(f"{setting} is given twice, by an option of its own and by --set {setting}={value}")
        recipe[setting] = value
    opened = open_store(settings.store)
    options = runs.TrainOptions(
        architecture=architecture,
        dataset_id=dataset,
        workers=workers,
        max_workers=max_workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        weights=settings.weights,
        recipe=recipe,
        height_px=height,
        width_px=width,
        seed=seed,
        name=name,
    )
    if check:
        runs.check(options)
        finish({"checked": True}, as_json=as_json)
        return
    with connect(settings), live_line() as on_event:
        if resume:
            result = training.resume(resume, opened, say, on_event, tracking=settings.tracking)
        else:
            result = training.train(options, opened, say, on_event, tracking=settings.tracking)
    table = Table("metric (test split)", "model", "prior baseline")
    for metric, worth in result.card.metrics.items():
        table.add_row(metric, f"{worth:.3f}", f"{result.card.prior_metrics[metric]:.3f}")
    say(f"registered [bold]{result.version}[/]; `onesheet models promote {result.version}` puts it into production")
    finish(
        {"version": result.version, "metrics": result.card.metrics, "prior_metrics": result.card.prior_metrics},
        as_json=as_json,
        table=table,
    )
