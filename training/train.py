"""A training run: Ray Train fits the network over many workers, then the best checkpoint becomes a bundle."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty
from typing import Any

from cluster.errors import OnesheetError, TrainingError
from cluster.store import Store
from training.architecture import find
from training.bundle import BundleCard, write_bundle
from training.dataset import Card, newest_dataset, read_card
from training.evaluate import Evaluation, evaluate
from training.quiet import start_tensorflow
from training.registry import Registry
from training.worker import SCORE, TrainTask, build_network, load_checkpoint, train_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What a user asks of a run; None means the architecture's own recipe."""

    architecture: str
    dataset_id: str | None = None
    workers: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: int = 0
    weights: str = "none"
    fine_tune: bool = False
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    height_px: int | None = None
    width_px: int | None = None
    seed: int = 0
    max_failures: int = 2


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A registered model and what it is worth."""

    version: str
    card: BundleCard
    evaluation: Evaluation


def train(options: TrainOptions, store: Store, say: Callable[[str], None]) -> TrainResult:
    """Train, evaluate and register a model. Ray must be connected (`cluster.nodes.connect`).

    say: gets a line at each step. Raises TrainingError for what cannot be trained, before a worker starts.
    """
    architecture = find(options.architecture)
    if options.weights != "none" and not architecture.takes_weights:
        raise TrainingError(f"{architecture.name} is trained from scratch and takes no --weights")
    if options.workers < 1:
        raise TrainingError(f"--workers {options.workers}: at least 1 is needed")
    dataset = read_card(store, options.dataset_id) if options.dataset_id else newest_dataset(store)
    if options.workers > dataset.posters["train"]:
        raise TrainingError(f"--workers {options.workers}: dataset {dataset.dataset_id} has fewer train posters")
    run = f"{architecture.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    cpus = _cpus_per_worker(options, say)
    task = TrainTask(
        store=store.url,
        dataset_id=dataset.dataset_id,
        architecture=architecture.name,
        height_px=options.height_px or architecture.height_px,
        width_px=options.width_px or architecture.width_px,
        epochs=options.epochs or architecture.epochs,
        global_batch_size=options.batch_size or architecture.batch_size,
        learning_rate=options.learning_rate or architecture.learning_rate,
        seed=options.seed,
        fine_tune=options.fine_tune,
        weights=options.weights,
        weights_key=_share_weights(options.weights, store, run),
        cpus_per_worker=cpus,
    )
    say(f"run {run}: {dataset.posters['train']} train posters, {options.workers} worker(s) of {cpus} CPU")
    start_tensorflow()
    # Before any worker starts: weights that do not fit are said at once.
    network = build_network(task, dataset)
    with tempfile.TemporaryDirectory(prefix="onesheet-run-") as folder:
        checkpoint = Path(folder, "checkpoint")
        history = _fit(run, task, options, cpus, store, checkpoint, say)
        load_checkpoint(checkpoint, network.head or network.model)
        evaluation = evaluate(network.model, store, dataset, say)
        bundle = Path(folder, "bundle")
        card = write_bundle(bundle, network.model, _card(run, task, dataset, evaluation))
        Registry(store).register(bundle, card)
    report = {"task": asdict(task), "history": history, **asdict(evaluation)}
    store.put(f"runs/{run}/report.json", json.dumps(report, indent=2).encode(), content_type="application/json")
    return TrainResult(run, card, evaluation)


def _fit(
    run: str,
    task: TrainTask,
    options: TrainOptions,
    cpus: int,
    store: Store,
    checkpoint: Path,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run Ray Train; leaves the best checkpoint in the folder and returns a row of metrics an epoch."""
    import ray.train  # noqa: PLC0415
    from ray.train.tensorflow import TensorflowTrainer  # noqa: PLC0415
    from ray.util.queue import Queue  # noqa: PLC0415

    filesystem, root = store.filesystem()
    events = Queue(actor_options={"num_cpus": 0})
    history: dict[int, dict[str, Any]] = {}

    def follow(event: str | dict[str, Any]) -> None:
        if isinstance(event, str):
            say(event)
            return
        # An epoch that a restarted group does again replaces its first row.
        history[event["epoch"]] = event
        say(
            f"epoch {event['epoch']}/{task.epochs}  loss {event['loss']:.4f}  "
            f"validation mAP {event[SCORE]:.3f}  {event['images_per_s']:,.0f} posters/s"
        )

    trainer = TensorflowTrainer(
        train_worker,
        train_loop_config={"task": asdict(task), "events": events},
        scaling_config=ray.train.ScalingConfig(
            num_workers=options.workers,
            use_gpu=options.gpus_per_worker > 0,
            resources_per_worker={"CPU": cpus, **({"GPU": options.gpus_per_worker} if options.gpus_per_worker else {})},
        ),
        run_config=ray.train.RunConfig(
            name=run,
            storage_path=f"{root}/runs",
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=options.max_failures),
            # The newest is kept besides the best, to go on from after a failure.
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=SCORE, checkpoint_score_order="max"
            ),
        ),
    )
    with _followed(events, follow), _explained(run):
        result = trainer.fit()
    best = result.get_best_checkpoint(SCORE, "max")
    best.to_directory(str(checkpoint))
    return [history[epoch] for epoch in sorted(history)]


@contextlib.contextmanager
def _followed(events: Any, follow: Callable[[Any], None]) -> Iterator[None]:
    """Hand on what the workers put into the queue, as it comes."""
    ended = threading.Event()

    def hand_on() -> None:
        while True:
            try:
                follow(events.get(timeout=0.5))
            except Empty:
                if ended.is_set():
                    return

    thread = threading.Thread(target=hand_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)
        events.shutdown()


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
        raise TrainingError(f"run {run} failed: {last}; ONESHEET_LOG_LEVEL=DEBUG shows the traceback") from error


def _cpus_per_worker(options: TrainOptions, say: Callable[[str], None]) -> int:
    """The CPUs of each worker, by default an even share of those that are free now.

    Raises TrainingError where the cluster could never give them; says so where it has to be waited for them.
    """
    import ray  # noqa: PLC0415

    there, free = ray.cluster_resources(), ray.available_resources()
    cpus = options.cpus_per_worker or max(1, int(free.get("CPU", 0)) // options.workers)
    for kind, each in (("CPU", cpus), ("GPU", options.gpus_per_worker)):
        wanted = each * options.workers
        if wanted > there.get(kind, 0):
            raise TrainingError(
                f"{options.workers} workers of {each} {kind} need {wanted}, and the cluster has "
                f"{there.get(kind, 0):g}; ask for fewer --workers or --{kind.lower()}s-per-worker"
            )
        if wanted > free.get(kind, 0):
            say(f"waiting for {wanted} {kind}: {free.get(kind, 0):g} of the cluster's {there.get(kind, 0):g} are free")
    return cpus


def _share_weights(weights: str, store: Store, run: str) -> str | None:
    """Put a weights file where every node reaches it; its key, or None for `none` and `imagenet`."""
    if weights in ("none", "imagenet"):
        return None
    try:
        data = Path(weights).read_bytes()
    except OSError as error:
        raise TrainingError(
            f"--weights {weights}: {error.strerror or error}; give a .weights.h5 file, imagenet or none"
        ) from error
    key = f"runs/{run}/backbone.weights.h5"
    store.put(key, data)
    return key


def _card(run: str, task: TrainTask, dataset: Card, evaluation: Evaluation) -> BundleCard:
    return BundleCard(
        version=run,
        architecture=task.architecture,
        genres=tuple(dataset.genres),
        thresholds=evaluation.thresholds,
        height_px=task.height_px,
        width_px=task.width_px,
        metrics=evaluation.metrics,
        prior_metrics=evaluation.prior_metrics,
        lineage={
            "dataset_id": dataset.dataset_id,
            "crawl_id": dataset.crawl_id,
            "run": run,
            "weights": os.path.basename(task.weights),  # noqa: PTH119  a name such as imagenet, or a file's
            "train_posters": dataset.posters["train"],
            "code_version": importlib.metadata.version("onesheet"),
        },
    )
