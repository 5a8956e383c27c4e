"""A training run: Ray Train fits the network over many workers, then the best checkpoint becomes a bundle.

runs/<run>/task.json       what was asked: with it a run goes on after its driver has died
runs/<run>/history.json    a row of metrics an epoch
runs/<run>/curves.png, tensorboard/, report.json, and Ray Train's checkpoints
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.errors import TrainingError
from cluster.store import Store
from training.bundle import BundleCard, write_bundle
from training.curves import draw_curves
from training.dataset_card import Card, prior_map, read_card
from training.drift import Reference
from training.evaluate import Evaluation, evaluate
from training.features import make_features
from training.fit import fit
from training.indexing import Helpers, make_index
from training.quiet import start_tensorflow
from training.reference import validation_reference
from training.registry import Registry
from training.runs import Run, TrainOptions, kept_run, plan_run, require_same
from training.task import build_served_network, weights_names
from training.telling import Events, Say
from training.tracking import Tracking
from training.worker import CHECKPOINT_WEIGHTS, SCORE


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A registered model, whose card says what it is worth."""

    version: str
    card: BundleCard


def train(
    options: TrainOptions, store: Store, say: Say, on_event: Events = lambda event: None, *, tracking: str = "none"
) -> TrainResult:
    """Train, evaluate and register a model. Ray must be connected (`cluster.nodes.connect`).

    say: gets a line at each step. on_event: gets a dict with `steps` now and then within an epoch. tracking: as the
    setting of that name. A run that was named and has begun goes on from its newest checkpoint; of one that has ended
    the result is returned. Raises TrainingError for what cannot be trained, before a worker starts.
    """
    run = plan_run(options, store, say)
    begun = kept_run(run.name, store) if options.name else None
    if begun is None:
        run.keep(store)
    else:
        require_same(begun.task, run.task, run.name)
        run = begun
        if Registry(store).has(run.name):
            say(f"run {run.name} has ended and its model is registered")
            return TrainResult(run.name, Registry(store).card(run.name))
        say(f"run {run.name} has begun; it goes on from its newest checkpoint")
    return carry_out(run, store.patient(), say, on_event, tracking=tracking)


def resume(
    name: str, store: Store, say: Say, on_event: Events = lambda event: None, *, tracking: str = "none"
) -> TrainResult:
    """Go on with a run whose driver died, from its newest checkpoint. Raises TrainingError where there is none to."""
    run = kept_run(name, store)
    if run is None:
        raise TrainingError(f"{store.url} has no run {name}; `onesheet train` names each run as it starts")
    if Registry(store).has(name):
        raise TrainingError(f"run {name} has ended and its model is registered: `onesheet models show {name}`")
    return carry_out(run, store.patient(), say, on_event, tracking=tracking)


def carry_out(
    run: Run,
    store: Store,
    say: Say,
    on_event: Events,
    *,
    tracking: str,
    lineage: Mapping[str, str | int] | None = None,
) -> TrainResult:
    """Fit, evaluate, register. A run that was begun before goes on from its newest checkpoint.

    lineage: what the bundle says of its origin besides the run, the dataset and the weights.
    """
    task = run.task
    dataset = read_card(store, task.dataset_id)
    workers = f"{run.workers}" if run.workers == run.max_workers else f"{run.workers} to {run.max_workers}"
    say(f"run {run.name}: {dataset.posters['train']} train posters, {workers} worker(s) of {task.cpus} CPU")
    start_tensorflow()
    # Before any worker starts: weights that do not fit are said at once.
    network = build_served_network(task, dataset)
    parameters = {"architecture": task.architecture, "dataset": task.dataset_id, **task.recipe}
    with (
        tempfile.TemporaryDirectory(prefix="onesheet-run-") as folder,
        Tracking(tracking, store, run.name, parameters) as tracked,
    ):
        make_features(
            task,
            dataset,
            network.trunks,
            workers=run.workers,
            gpus_per_worker=run.gpus_per_worker,
            say=say,
            progress=lambda done, total: on_event({"what": "features", "steps": total, "step": done}),
        )
        checkpoint = Path(folder, "checkpoint")
        history = fit(run, store, checkpoint, say, on_event, tracked)
        network.trained.load_weights(checkpoint / CHECKPOINT_WEIGHTS)
        evaluation = evaluate(network.model, store, dataset, say, version=run.name)
        index = make_index(
            network,
            store,
            dataset,
            Helpers(actors=run.workers, cpus=task.cpus, gpus=run.gpus_per_worker),
            say,
            progress=lambda done, total: on_event({"what": "index", "steps": total, "step": done}),
        )
        bundle = Path(folder, "bundle")
        reference = validation_reference(
            store, dataset, run.name, evaluation.thresholds, height_px=task.height_px, width_px=task.width_px
        )
        card = write_bundle(bundle, network.model, _card(run, dataset, evaluation, lineage or {}, reference), index)
        Registry(store).register(bundle, card)
        curves = draw_curves(history, title=run.name, score=SCORE, prior=prior_map(dataset))
        store.put(run.key("curves.png"), curves, content_type="image/png")
        report = {"task": asdict(task), "history": history, **asdict(evaluation)}
        store.put(run.key("report.json"), json.dumps(report, indent=2).encode(), content_type="application/json")
        picture = Path(folder, "curves.png")
        picture.write_bytes(curves)
        tracked.end(evaluation.metrics, [picture, *bundle.iterdir()])
    say(f"learning curves: {store.url_of(run.key('curves.png'))}")
    return TrainResult(run.name, card)


def _card(
    run: Run, dataset: Card, evaluation: Evaluation, lineage: Mapping[str, str | int], reference: Reference | None
) -> BundleCard:
    task = run.task
    return BundleCard(
        version=run.name,
        architecture=task.architecture,
        genres=tuple(dataset.genres),
        height_px=task.height_px,
        width_px=task.width_px,
        **evaluation.card_fields(),
        reference=reference,
        lineage={
            "dataset_id": dataset.dataset_id,
            "crawl_id": dataset.crawl_id,
            "run": run.name,
            "weights": weights_names(task.weights_keys) or task.weights,
            "train_posters": dataset.posters["train"],
            "code_version": importlib.metadata.version("onesheet"),
            **lineage,
        },
    )
