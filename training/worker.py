"""What one Ray Train worker does: build the network, take its rows, fit, and report each epoch."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cluster.store import open_store
from training.architecture import Network
from training.dataset import Card, read_card
from training.features import Features
from training.inputs import Epochs, feature_batches, image_batches, steps_an_epoch, training_batches
from training.metrics import macro_map
from training.pixels import Pixels
from training.recipe import Recipe
from training.rows import Rows
from training.task import TrainTask, build_task_network

CHECKPOINT_WEIGHTS = "trained.weights.h5"
_RAW_WEIGHTS = "raw.weights.h5"
SCORE = "validation_macro_map"
_SCORING_BATCH = 32
_HEAD_BATCH = 512
# Between two signs of life within an epoch.
_TELL_EVERY_S = 1.0

Events = Callable[[str | dict[str, Any]], None]


def train_worker(config: dict[str, Any]) -> None:
    """The `train_loop_per_worker` of Ray's TensorflowTrainer.

    config: {"task": TrainTask as dict, "events": Queue}. Rank 0 puts a line of text for each remark into the queue, a
    dict with `steps` now and then within an epoch, a dict of metrics at the end of each, and where a run goes on from a
    checkpoint one with its `history`.
    """
    import keras  # noqa: PLC0415
    import ray.train  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    from training.fused import with_fused_batch_norm  # noqa: PLC0415
    from training.losses import OfEachHead, make_loss  # noqa: PLC0415
    from training.optimizers import make_optimizer  # noqa: PLC0415
    from training.parallel import AgreeOnStatistics, DataParallelModel, Workers, broadcast  # noqa: PLC0415
    from training.run_metrics import RunMetrics  # noqa: PLC0415

    task, events = TrainTask(**config["task"]), config["events"]
    recipe = task.read_recipe()
    tf.config.threading.set_intra_op_parallelism_threads(task.cpus)
    workers = Workers.from_tf_config()
    keras.utils.set_random_seed(task.seed)
    card = read_card(open_store(task.store).patient(), task.dataset_id)
    network = build_task_network(task, card)
    batch_size = batch_size_of(recipe, workers.world_size)

    metrics = RunMetrics(ray.train.get_context().get_experiment_name())

    def tell(event: str | dict[str, Any]) -> None:
        if workers.rank == 0:
            events.put(event)
            metrics(event)

    with contextlib.ExitStack() as opened:
        material = Material(opened, task, card, network, workers, batch_size=batch_size)
        steps = steps_an_epoch(material.posters, world_size=workers.world_size, batch_size=batch_size)
        model = DataParallelModel(
            with_fused_batch_norm(network.each_head or network.trained),
            workers,
            accumulate_steps=recipe.accumulate_steps,
            steps_per_epoch=steps,
        )
        optimizer = make_optimizer(recipe, steps_per_epoch=steps, world_size=workers.world_size, rates=network.rates)
        counts = [card.genre_counts["train"][genre] for genre in card.genres]
        loss = make_loss(recipe, counts, card.posters["train"])
        model.compile(optimizer=optimizer, loss=OfEachHead(loss) if network.each_head else loss)
        optimizer.build(model.trainable_variables)
        course = Course()
        checkpoint = ray.train.get_checkpoint()
        if checkpoint:
            with checkpoint.as_directory() as folder:
                course = load_checkpoint(Path(folder), network.trained, optimizer)
            # The driver may be another one, or may not have heard of the last of them.
            tell({"history": course.history})
            tell(f"going on from the checkpoint of epoch {course.epochs_done}")
        material.epochs.current = course.epochs_done
        broadcast(model.variables, workers)
        if not course.has_ended(recipe):
            model.fit(
                material.batches,
                epochs=recipe.epochs,
                initial_epoch=course.epochs_done,
                verbose=0,
                callbacks=[
                    AgreeOnStatistics(workers),
                    _report(recipe, network, material, course, workers, tell, steps),
                ],
            )


class Course:
    """How far a run has come, by the metrics of each finished epoch: what a checkpoint remembers besides weights."""

    def __init__(self, history: Sequence[dict[str, Any]] = ()) -> None:
        self.history = list(history)

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the best score, from 1; 0 before the first."""
        scores = [row[SCORE] for row in self.history]
        return scores.index(max(scores)) + 1 if scores else 0

    def has_ended(self, recipe: Recipe) -> bool:
        """Whether all epochs are done, or too many have passed without a better score."""
        patience = recipe.early_stopping
        return self.epochs_done >= recipe.epochs or (patience > 0 and self.epochs_done - self.best_epoch >= patience)


class Material:
    """A worker's posters: batches to train on, and its share of the validation split to score.

    posters: of the train split over all workers.
    """

    def __init__(
        self,
        opened: contextlib.ExitStack,
        task: TrainTask,
        card: Card,
        network: Network,
        workers: Any,
        *,
        batch_size: int,
    ) -> None:
        from training.augmentation import augment, augment_features  # noqa: PLC0415
        from training.scoring import inference  # noqa: PLC0415

        store = open_store(task.store).patient()
        place = {"rank": workers.rank, "world_size": workers.world_size}
        recipe, seed = task.read_recipe(), task.seed + workers.rank
        height_px, width_px = task.height_px, task.width_px
        self.epochs = Epochs()
        self._workers = workers
        with_images = not network.trunks
        rows = opened.enter_context(Rows(store, card, "train", with_images=with_images, **place))
        validation = opened.enter_context(Rows(store, card, "validation", with_images=with_images, **place))
        self.posters = rows.total
        self._validation = validation
        # Every worker scores its part and knows the whole answer, so that all of them decide the same.
        with Rows(store, card, "validation", with_images=False) as whole:
            self._validation_labels = whole.labels
        if network.trunks:
            features = opened.enter_context(Features(store, card, "train", network.trunks, **place))
            scored = opened.enter_context(Features(store, card, "validation", network.trunks, **place))
            batches = feature_batches(features, rows, self.epochs, **place, batch_size=batch_size, seed=task.seed)
            batches = augment_features(batches, recipe, seed=seed)
            self._validation_batches: Callable[[], Iterable[Any]] = lambda: _feature_batches(scored)
        else:
            pixels = opened.enter_context(Pixels(rows, height_px=height_px, width_px=width_px))
            seen = opened.enter_context(Pixels(validation, height_px=height_px, width_px=width_px))
            batches = training_batches(pixels, rows, self.epochs, **place, batch_size=batch_size, seed=task.seed)
            self._validation_batches = lambda: image_batches(seen, _SCORING_BATCH, length=len(validation))
            batches = augment(batches, recipe, height_px=height_px, width_px=width_px, seed=seed)
        self.batches = batches.prefetch(2)
        self._forward = inference(network.trained if network.trunks else network.model)

    def validation_score(self) -> float:
        """Macro mAP over the whole validation split. Every worker must call it, or all wait."""
        import tensorflow as tf  # noqa: PLC0415

        rank, world_size = self._workers.rank, self._workers.world_size
        scores = np.zeros(self._validation_labels.shape, np.float32)
        scores[rank::world_size] = self._own_scores()
        flat = self._workers.sum(tf.constant(scores.ravel()))
        return macro_map(self._validation_labels, flat.numpy().reshape(scores.shape))

    def _own_scores(self) -> np.ndarray[Any, Any]:
        from training.scoring import outputs  # noqa: PLC0415

        if not len(self._validation):
            return np.zeros((0, self._validation_labels.shape[1]), np.float32)
        return outputs(self._forward, self._validation_batches())


def _feature_batches(features: Features) -> Iterator[np.ndarray[Any, Any]]:
    for first in range(0, len(features), _HEAD_BATCH):
        yield features.batch(np.arange(first, min(first + _HEAD_BATCH, len(features))))


def batch_size_of(recipe: Recipe, world_size: int) -> int:
    """Posters a step on each worker."""
    return recipe.batch_size if recipe.batch_is_per_worker else max(1, recipe.batch_size // world_size)


def _report(
    recipe: Recipe,
    network: Network,
    material: Material,
    course: Course,
    workers: Any,
    tell: Events,
    steps: int,
) -> Any:
    """The callback by which every worker reports every epoch; rank 0 adds the checkpoint."""
    import keras  # noqa: PLC0415
    import ray.train  # noqa: PLC0415

    from training.optimizers import averaged_weights  # noqa: PLC0415

    class Report(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            material.epochs.current = epoch
            self.began = self.told = time.monotonic()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            now = time.monotonic()
            if now - self.told >= _TELL_EVERY_S and workers.rank == 0:
                self.told = now
                loss = float((logs or {}).get("loss", float("nan")))
                tell({"steps": steps, "step": batch + 1, "epoch": material.epochs.current + 1, "loss": loss})

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            trained_s = time.monotonic() - self.began
            with averaged_weights(self.model):
                score = material.validation_score()
                metrics = {
                    "epoch": epoch + 1,
                    "loss": float((logs or {})["loss"]),
                    SCORE: score,
                    "images_per_s": material.posters / trained_s,
                    "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
                    "seconds": time.monotonic() - self.began,
                }
                course.history.append(dict(metrics))
                metrics["has_ended"] = course.has_ended(recipe)
                if workers.rank == 0:
                    folder = tempfile.mkdtemp(prefix="onesheet-checkpoint-")
                    network.trained.save_weights(Path(folder, CHECKPOINT_WEIGHTS))
            if workers.rank == 0:
                tell(metrics)
                save_checkpoint(Path(folder), network.trained, self.model.optimizer, course)
                report = ray.train.Checkpoint.from_directory(folder)
                ray.train.report(metrics, checkpoint=report, delete_local_checkpoint_after_upload=True)
            else:
                ray.train.report(metrics)
            if course.has_ended(recipe) and course.epochs_done < recipe.epochs:
                tell(f"no better validation mAP for {recipe.early_stopping} epochs: the run ends here")
                self.model.stop_training = True

    return Report()


def save_checkpoint(folder: Path, model: Any, optimizer: Any, course: Course) -> None:
    """What a run goes on from: the raw weights, the optimizer's state, and how far it has come.

    CHECKPOINT_WEIGHTS, the weights that were scored, is beside them: with `ema` they differ.
    """
    model.save_weights(folder / _RAW_WEIGHTS)
    state: dict[str, Any] = {}
    optimizer.save_own_variables(state)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
    np.savez(folder / "optimizer.npz", **arrays)
    (folder / "state.json").write_text(json.dumps({"history": course.history}), encoding="utf-8")


def load_checkpoint(folder: Path, model: Any, optimizer: Any) -> Course:
    """Load what `save_checkpoint` wrote."""
    model.load_weights(folder / _RAW_WEIGHTS)
    with np.load(folder / "optimizer.npz") as state:
        optimizer.load_own_variables(dict(state))
    return Course(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
