"""One process of the data-parallel test: trains the cases of `CASES` and writes the weights it ends with.

python parallel_worker.py RANK WORLD_SIZE OUTPUT.npz — with TF_CONFIG set; or WORLD_SIZE 0 for plain Keras on the
global batches that two workers make.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from training.inputs import plan_epoch
from training.parallel import AgreeOnStatistics, DataParallelModel, Workers, broadcast

WORLD_SIZE, LOCAL_BATCH, EPOCHS = 2, 8, 3
# 61 rows over global batches of 16: the last step is uneven, and one worker has a row fewer.
ROWS = 61
CASES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": lambda: keras.optimizers.SGD(0.1)},
    "adam": {"optimizer": lambda: keras.optimizers.Adam(1e-3)},
    "l2": {"optimizer": lambda: keras.optimizers.SGD(0.1), "l2": 1e-2},
    "clipping": {"optimizer": lambda: keras.optimizers.SGD(0.1, global_clipnorm=0.05)},
}


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    images = rng.random((ROWS, 12, 8, 3)).astype(np.float32)
    return images, (rng.random((ROWS, 5)) < 0.3).astype(np.float32)


def network(l2: float = 0.0, batch_norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 8, 3))
    x = layers.Conv2D(8, 3, activation="tanh", kernel_regularizer=keras.regularizers.L2(l2) if l2 else None)(image)
    if batch_norm:
        x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5, activation="sigmoid")(x))


def worker_batches(rank: int, epoch: int) -> Any:
    images, labels = data()
    plan = plan_epoch(ROWS, rank=rank, world_size=WORLD_SIZE, batch_size=LOCAL_BATCH, seed=1, epoch=epoch)
    rows = plan.rows.ravel() * WORLD_SIZE + rank
    flat = tf.data.Dataset.from_tensor_slices((images[rows], labels[rows], plan.weights.ravel()))
    return flat.batch(LOCAL_BATCH)


def global_batches(epoch: int) -> Any:
    images, labels = data()
    plans = [
        plan_epoch(ROWS, rank=rank, world_size=WORLD_SIZE, batch_size=LOCAL_BATCH, seed=1, epoch=epoch)
        for rank in range(WORLD_SIZE)
    ]

    def steps() -> Any:
        for step in range(len(plans[0].rows)):
            rows = np.concatenate(
                [plan.rows[step][plan.weights[step] > 0] * WORLD_SIZE + rank for rank, plan in enumerate(plans)]
            )
            yield images[rows], labels[rows]

    signature = (tf.TensorSpec((None, 12, 8, 3), tf.float32), tf.TensorSpec((None, 5), tf.float32))
    batches = tf.data.Dataset.from_generator(steps, output_signature=signature)
    return batches.apply(tf.data.experimental.assert_cardinality(len(plans[0].rows)))


def main(rank: int, world_size: int, output: str) -> None:
    workers = Workers.from_tf_config() if world_size else None
    ended: dict[str, Any] = {}
    for name, case in CASES.items():
        plain = network(case.get("l2", 0.0))
        model = DataParallelModel(plain, workers) if workers else plain
        model.compile(optimizer=case["optimizer"](), loss="binary_crossentropy")
        for epoch in range(EPOCHS):
            model.fit(worker_batches(rank, epoch) if workers else global_batches(epoch), verbose=0)
        ended |= {f"{name}/{index}": weight for index, weight in enumerate(plain.get_weights())}
    if workers:
        # BatchNorm sees each worker's own batch, so its statistics must be made to agree.
        plain = network(batch_norm=True)
        if rank:
            plain.set_weights([weight + rank for weight in plain.get_weights()])
        model = DataParallelModel(plain, workers)
        model.compile(optimizer="adam", loss="binary_crossentropy")
        broadcast(model.variables, workers)
        model.fit(worker_batches(rank, 0), verbose=0, callbacks=[AgreeOnStatistics(workers)])
        ended |= {f"batch_norm/{index}": weight for index, weight in enumerate(plain.get_weights())}
    np.savez(output, **ended)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
