"""A training run: Ray Train fits the network over many workers, then the best checkpoint becomes a bundle.

runs/<run>/task.json       what was asked: with it a run goes on after its driver has died
runs/<run>/history.json    a row of metrics an epoch
runs/<run>/curves.png, tensorboard/, report.json, and Ray Train's checkpoints
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from cluster.errors import KeyNotFoundError, OnesheetError, TrainingError
from cluster.nodes import beside_driver
from cluster.store import Store
from training.bundle import BundleCard, write_bundle
from training.curves import draw_curves
from training.dataset import Card, read_card
from training.drift import Reference
from training.evaluate import Evaluation, evaluate
from training.features import make_features
from training.indexing import Helpers, make_index
from training.quiet import start_tensorflow
from training.reference import validation_reference
from training.registry import Registry
from training.runs import Run, Say, TrainOptions, kept_run, plan_run, require_same
from training.task import build_task_network, weights_names
from training.tracking import Tracking
from training.worker import CHECKPOINT_WEIGHTS, SCORE, train_worker

# How often Ray Train looks at its workers, of whom each may be one report ahead: with its own 2 s, an epoch takes no
# less, and a head trains at several epochs a second.
_POLL_INTERVAL_S = "0.2"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A registered model, whose card says what it is worth."""

    version: str
    card: BundleCard


Events = Callable[[dict[str, Any]], None]


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
    network = build_task_network(task, dataset)
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


def fit(
    run: Run,
    store: Store,
    checkpoint: Path,
    say: Say,
    on_event: Events,
    tracked: Tracking | None = None,
    callbacks: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Run Ray Train; leaves the best checkpoint in the folder and returns a row of metrics an epoch.

    callbacks: Ray Train's own, such as the one that hands its reports on to Ray Tune.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_INTERVAL_S)
    import ray.train  # noqa: PLC0415
    from ray.train.tensorflow import TensorflowTrainer  # noqa: PLC0415
    from ray.util.queue import Queue  # noqa: PLC0415

    task, epochs = run.task, run.task.read_recipe().epochs
    filesystem, root = store.filesystem()
    events = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": beside_driver()})
    history = kept_history(run, store)

    def keep_history() -> None:
        rows = json.dumps([history[epoch] for epoch in sorted(history)])
        store.put(run.key("history.json"), rows.encode(), content_type="application/json")

    def follow(event: str | dict[str, Any]) -> None:
        if isinstance(event, str):
            say(event)
        elif "steps" in event:
            on_event({"what": f"epoch {event['epoch']}/{epochs}", **event})
        elif "history" in event:
            history.clear()
            history.update({row["epoch"]: row for row in event["history"]})
            keep_history()
        else:
            history[event["epoch"]] = event
            keep_history()
            if tracked:
                names = ("loss", SCORE, "images_per_s", "learning_rate")
                tracked.epoch(event["epoch"], {name: event[name] for name in names})
            left_s = event["seconds"] * (epochs - event["epoch"])
            say(
                f"epoch {event['epoch']}/{epochs}  loss {event['loss']:.4f}  validation mAP {event[SCORE]:.3f}  "
                f"{event['images_per_s']:,.0f} posters/s  {_duration(left_s)} left"
            )

    trainer = TensorflowTrainer(
        train_worker,
        train_loop_config={"task": asdict(task), "events": events},
        scaling_config=ray.train.ScalingConfig(
            num_workers=run.workers if run.workers == run.max_workers else (run.workers, run.max_workers),
            use_gpu=run.gpus_per_worker > 0,
            resources_per_worker={"CPU": task.cpus, **({"GPU": run.gpus_per_worker} if run.gpus_per_worker else {})},
        ),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=f"{root}/runs",
            storage_filesystem=filesystem,
            callbacks=list(callbacks),
            failure_config=ray.train.FailureConfig(max_failures=run.max_failures),
            # The newest is kept besides the best, to go on from after a failure.
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=SCORE, checkpoint_score_order="max"
            ),
        ),
    )
    with followed(events, follow), _explained(run.name):
        result = trainer.fit()
    best = result.get_best_checkpoint(SCORE, "max")
    best.to_directory(str(checkpoint))
    return [history[epoch] for epoch in sorted(history)]


def kept_history(run: Run, store: Store) -> dict[int, dict[str, Any]]:
    """A run's metrics by epoch, as far as it has come; none where it has not begun."""
    try:
        return {row["epoch"]: row for row in json.loads(store.get(run.key("history.json")))}
    except KeyNotFoundError:
        return {}


@contextlib.contextmanager
def followed(events: Any, follow: Callable[[Any], None]) -> Iterator[None]:
    """Hand on what the workers put into the queue, as it comes."""
    ended = threading.Event()
    failures: list[Exception] = []

    def hand_on() -> None:
        while True:
            try:
                follow(events.get(timeout=0.5))
            except Empty:
                if ended.is_set():
                    return
            except Exception as error:
                # The run goes on, whose workers would wait for nobody; it is told of at its end.
                failures.append(error)

    thread = threading.Thread(target=hand_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)
        events.shutdown()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _explained(run: str) -> Iterator[None]:
    """Bring an error of ours from a worker up as it was raised there, and name the run for any other."""
    from ray.train import TrainingFailedError  # noqa: PLC0415

    try:
        yield
    except TrainingFailedError as error:
        causes = list(getattr(error, "worker_failures", {}).values()) or [error]
        for cause in causes:
            found: BaseException | None = cause
            while found is not None:
                if isinstance(found, OnesheetError):
                    raise found from error
                found = found.__cause__ or getattr(found, "cause", None)
        last = str(causes[0]).strip().rpartition("\n")[2] or type(causes[0]).__name__
        raise TrainingError(
            f"run {run} failed: {last}; go on from its newest checkpoint with `onesheet train --resume {run}`, "
            "and see the traceback with ONESHEET_LOG_LEVEL=DEBUG"
        ) from error


def prior_map(dataset: Card) -> float:
    """Macro mAP of the prior baseline on the validation split: a genre's share of the posters."""
    shares = [count / dataset.posters["validation"] for count in dataset.genre_counts["validation"].values() if count]
    return sum(shares) / len(shares) if shares else 0.0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
