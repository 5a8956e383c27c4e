"""What one Ray Train worker does: build the network, take its rows, fit, and report each epoch."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cluster.store import open_store
from training.architecture import BuildOptions, Network, find
from training.dataset import Card, read_card
from training.evaluate import inference, predict
from training.inputs import Epochs, Pixels, feature_batches, training_batches
from training.metrics import macro_map
from training.rows import Rows

CHECKPOINT_WEIGHTS = "trained.weights.h5"
SCORE = "validation_macro_map"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTask:
    """All that a worker needs to know; plain values, so that it travels as a dict.

    global_batch_size: posters a step over all workers. weights_key: a weights file in the store, which every
    node reaches, in place of a path on one machine.
    """

    store: str
    dataset_id: str
    architecture: str
    height_px: int
    width_px: int
    epochs: int
    global_batch_size: int
    learning_rate: float
    seed: int
    fine_tune: bool
    weights: str
    weights_key: str | None
    cpus_per_worker: int


def build_network(task: TrainTask, card: Card) -> Network:
    """The task's network for this dataset, its weights fetched from the store where a key names them."""
    with tempfile.TemporaryDirectory(prefix="onesheet-weights-") as folder:
        weights = task.weights
        if task.weights_key:
            path = Path(folder, "backbone.weights.h5")
            path.write_bytes(open_store(task.store).get(task.weights_key))
            weights = str(path)
        options = BuildOptions(
            genres=len(card.genres),
            height_px=task.height_px,
            width_px=task.width_px,
            weights=weights,
            fine_tune=task.fine_tune,
        )
        return find(task.architecture).build(options)


def train_worker(config: dict[str, Any]) -> None:
    """The `train_loop_per_worker` of Ray's TensorflowTrainer.

    config: {"task": TrainTask as dict, "events": Queue}; rank 0 puts a line of text for each remark into the
    queue, and a dict of metrics for each epoch.
    """
    import keras  # noqa: PLC0415
    import ray.train  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    from training.parallel import AgreeOnStatistics, DataParallelModel, Workers, broadcast  # noqa: PLC0415

    task, events = TrainTask(**config["task"]), config["events"]
    tf.config.threading.set_intra_op_parallelism_threads(task.cpus_per_worker)
    workers = Workers.from_tf_config()
    keras.utils.set_random_seed(task.seed)
    store = open_store(task.store)
    card = read_card(store, task.dataset_id)
    network = build_network(task, card)
    trained = network.head or network.model
    place = {"rank": workers.rank, "world_size": workers.world_size}
    batch_size = max(1, task.global_batch_size // workers.world_size)
    epochs = Epochs()

    def tell(event: str | dict[str, Any]) -> None:
        if workers.rank == 0:
            events.put(event)

    with Rows(store, card, "train", **place) as rows, Rows(store, card, "validation") as validation:
        size = {"height_px": task.height_px, "width_px": task.width_px}
        if network.backbone is not None:
            tell(f"features of {rows.total} train posters from the frozen backbone, once")
            began = time.monotonic()
            features = predict(inference(network.backbone), rows, **size)
            tell(f"  {len(rows) / (time.monotonic() - began):.0f} posters/s on each worker")
            batches = feature_batches(features, rows, epochs, **place, batch_size=batch_size, seed=task.seed)
        else:
            pixels = Pixels(rows, **size)
            batches = training_batches(pixels, rows, epochs, **place, batch_size=batch_size, seed=task.seed)
        score = _validation(network, validation, workers.rank, size)

        model = DataParallelModel(trained, workers)
        model.compile(optimizer=keras.optimizers.Adam(task.learning_rate), loss="binary_crossentropy")
        model.optimizer.build(model.trainable_variables)
        checkpoint = ray.train.get_checkpoint()
        if checkpoint:
            with checkpoint.as_directory() as folder:
                epochs.current = load_checkpoint(Path(folder), trained, model.optimizer)
            tell(f"going on from the checkpoint of epoch {epochs.current}")
        broadcast(model.variables, workers)

        class Report(keras.callbacks.Callback):
            """Every worker reports every epoch; rank 0 adds the checkpoint and the validation score."""

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                epochs.current = epoch
                self.began = time.monotonic()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                loss = float((logs or {})["loss"])
                rate = rows.total / (time.monotonic() - self.began)
                metrics = {"epoch": epoch + 1, "loss": loss, "images_per_s": rate}
                if workers.rank != 0:
                    ray.train.report(metrics)
                    return
                metrics[SCORE] = score()
                tell(metrics)
                with tempfile.TemporaryDirectory(prefix="onesheet-checkpoint-") as folder:
                    save_checkpoint(Path(folder), trained, model.optimizer, epoch + 1)
                    ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

        model.fit(
            batches,
            epochs=task.epochs,
            initial_epoch=epochs.current,
            verbose=0,
            callbacks=[AgreeOnStatistics(workers), Report()],
        )


def _validation(network: Network, rows: Rows, rank: int, size: dict[str, int]) -> Any:
    """A function that scores the validation split; only rank 0 calls it, the others wait in their report."""
    if rank != 0:
        return lambda: 0.0
    if network.backbone is None:
        forward = inference(network.model)
        return lambda: macro_map(rows.labels, predict(forward, rows, **size))
    features = predict(inference(network.backbone), rows, **size)
    return lambda: macro_map(rows.labels, network.head.predict(features, batch_size=512, verbose=0))


def save_checkpoint(folder: Path, model: Any, optimizer: Any, epochs_done: int) -> None:
    """Weights, optimizer state and the number of finished epochs."""
    model.save_weights(folder / CHECKPOINT_WEIGHTS)
    state: dict[str, Any] = {}
    optimizer.save_own_variables(state)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
    np.savez(folder / "optimizer.npz", **arrays)
    (folder / "state.json").write_text(json.dumps({"epochs_done": epochs_done}), encoding="utf-8")


def load_checkpoint(folder: Path, model: Any, optimizer: Any | None = None) -> int:
    """Load what `save_checkpoint` wrote; returns the number of finished epochs."""
    model.load_weights(folder / CHECKPOINT_WEIGHTS)
    if optimizer is not None:
        with np.load(folder / "optimizer.npz") as state:
            optimizer.load_own_variables(dict(state))
    return int(json.loads((folder / "state.json").read_text(encoding="utf-8"))["epochs_done"])
