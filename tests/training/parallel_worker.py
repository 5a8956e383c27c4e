"""One process of the data-parallel test: trains the cases of `CASES` and writes what it ends with.

python parallel_worker.py RANK WORLD_SIZE OUTPUT.npz — with TF_CONFIG set; or WORLD_SIZE 0 for plain Keras on the
global batches that two workers make.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from training.inputs import plan_epoch
from training.optimizers import make_optimizer
from training.parallel import AgreeOnStatistics, DataParallelModel, Workers, broadcast
from training.recipe import Recipe

WORLD_SIZE, LOCAL_BATCH, EPOCHS = 2, 8, 3


@dataclass(frozen=True)
class Case:
    """recipe: also says precision and accumulated steps. broken: the rank whose first row is infinite in one epoch.

    tolerance: of the weights, against plain Keras; None where that has no equal.
    """

    recipe: dict[str, Any]
    # 61 rows over global batches of 16: the last step is uneven, and one worker has a row fewer.
    rows: int = 61
    l2: float = 0.0
    metrics: bool = False
    batch_norm: bool = False
    broken: int | None = None
    tolerance: float | None = 1e-5
    sgd: dict[str, Any] = field(default_factory=lambda: {"optimizer": "sgd", "learning_rate": 0.1})

    @property
    def full_recipe(self) -> Recipe:
        return Recipe(epochs=EPOCHS, **{**self.sgd, **self.recipe})


CASES = {
    "sgd": Case({}),
    "adam": Case({"optimizer": "adam", "learning_rate": 1e-3}),
    "l2": Case({}, rows=64, l2=1e-2, metrics=True),
    "clipping": Case({"clip_norm": 0.05}),
    # 65 rows: one worker has five batches, the other four.
    "one_batch_fewer": Case({"schedule": "cosine", "warmup_epochs": 1}, rows=65),
    # Four steps an epoch by threes: the last update of an epoch has one step.
    "accumulated": Case({"accumulate_steps": 3, "clip_norm": 0.05, "ema": 0.9}),
    # bfloat16 has 8 bits of precision, and a sum over 16 rows rounds elsewhere than two over 8.
    "bfloat16": Case({"precision": "mixed_bfloat16"}, tolerance=1e-2),
    "float16": Case({"precision": "mixed_float16"}, rows=64, broken=1, tolerance=2e-3),
    "batch_norm": Case({}, batch_norm=True, tolerance=None),
}


def plan(case: Case, rank: int, epoch: int) -> Any:
    return plan_epoch(case.rows, rank=rank, world_size=WORLD_SIZE, batch_size=LOCAL_BATCH, seed=1, epoch=epoch)


def data(case: Case, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    images = rng.random((case.rows, 12, 8, 3)).astype(np.float32)
    if case.broken is not None and epoch == 1:
        images[plan(case, case.broken, epoch).rows[0, 0] * WORLD_SIZE + case.broken] = np.inf
    return images, (rng.random((case.rows, 5)) < 0.3).astype(np.float32)


def network(case: Case) -> keras.Model:
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(case.full_recipe.precision)
    image = keras.Input((12, 8, 3))
    regularizer = keras.regularizers.L2(case.l2) if case.l2 else None
    x = layers.Conv2D(8, 3, activation="tanh", kernel_regularizer=regularizer)(image)
    if case.batch_norm:
        x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5, activation="sigmoid", dtype="float32")(x))


def worker_batches(case: Case, rank: int, epoch: int) -> Any:
    images, labels = data(case, epoch)
    mine = plan(case, rank, epoch)
    rows = mine.rows.ravel() * WORLD_SIZE + rank
    return tf.data.Dataset.from_tensor_slices((images[rows], labels[rows], mine.weights.ravel())).batch(LOCAL_BATCH)


def global_batches(case: Case, epoch: int) -> Any:
    """What one process would take in one update: the rows of all workers' accumulated steps, each step as one part."""
    images, labels = data(case, epoch)
    plans = [plan(case, rank, epoch) for rank in range(WORLD_SIZE)]
    steps = [
        np.concatenate([p.rows[step][p.weights[step] > 0] * WORLD_SIZE + rank for rank, p in enumerate(plans)])
        for step in range(len(plans[0].rows))
    ]
    size = case.full_recipe.accumulate_steps
    groups = [steps[at : at + size] for at in range(0, len(steps), size)]

    def batches() -> Any:
        for group in groups:
            rows = np.concatenate(group)
            weights = np.concatenate([np.full(len(step), len(rows) / len(group) / len(step)) for step in group])
            yield images[rows], labels[rows], weights.astype(np.float32)

    shapes = ((None, 12, 8, 3), (None, 5), (None,))
    signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(groups)))


def train(case: Case, workers: Workers | None) -> dict[str, Any]:
    """Three epochs; the weights, the optimizer's state and the logs of each epoch."""
    recipe, plain = case.full_recipe, network(case)
    rank = workers.rank if workers else 0
    steps = len(plan(case, rank, 0).rows)
    model: Any = plain
    if workers:
        accumulate = {"accumulate_steps": recipe.accumulate_steps, "steps_per_epoch": steps}
        model = DataParallelModel(plain, workers, **accumulate)
        # What a worker started with must not matter.
        plain.set_weights([weight + rank for weight in plain.get_weights()])
        broadcast(model.variables, workers)
    metrics = [keras.metrics.AUC(num_thresholds=20), "binary_accuracy"] if case.metrics else None
    optimizer = make_optimizer(recipe, steps_per_epoch=steps, world_size=1, rates={})
    model.compile(optimizer=optimizer, loss="binary_crossentropy", weighted_metrics=metrics)
    callbacks = [AgreeOnStatistics(workers)] if workers else []
    logs: dict[str, list[float]] = {}
    for epoch in range(EPOCHS):
        batches = worker_batches(case, rank, epoch) if workers else global_batches(case, epoch)
        history = model.fit(batches, verbose=0, callbacks=callbacks, shuffle=False).history
        for name, values in history.items():
            logs.setdefault(name, []).extend(values)
    scale = float(optimizer.dynamic_scale.numpy()) if hasattr(optimizer, "dynamic_scale") else 1.0
    ended = {f"weight {index}": weight for index, weight in enumerate(plain.get_weights())}
    ended |= {f"log {name}": np.array(values) for name, values in logs.items()}
    return {**ended, "updates": np.array(int(optimizer.iterations)), "scale": np.array(scale)}


def main(rank: int, world_size: int, output: str) -> None:
    workers = Workers.from_tf_config() if world_size else None
    ended: dict[str, Any] = {}
    for name, case in CASES.items():
        if workers or case.tolerance:
            ended |= {f"{name}/{key}": value for key, value in train(case, workers).items()}
    np.savez(output, **ended)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
