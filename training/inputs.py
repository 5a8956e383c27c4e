"""Rows → batches: which rows make which global batch, and the tf.data pipeline that brings them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.features import Features
from training.pixels import Pixels
from training.rows import Rows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one epoch on one worker: rows int [steps, batch], weights float32 [steps, batch].

    Every worker has the same number of steps of the same shape, so no worker waits for one that has none left.
    Where the rows do not fill the last batches, rows stand in with weight 0, and the weights of the others make
    the mean over workers of the weighted mean over the batch exactly the mean over the global batch's rows.
    """

    rows: np.ndarray[Any, np.dtype[np.int64]]
    weights: np.ndarray[Any, np.dtype[np.float32]]


def plan_epoch(
    total: int, *, rank: int, world_size: int, batch_size: int, seed: int | None = None, epoch: int = 0
) -> Plan:
    """Plan an epoch for one worker.

    total: rows of the split over all workers, of which this one holds every `world_size`-th. batch_size: rows of
    this worker a step; the global batch is `world_size` times that. seed: None keeps the order of the rows.
    """
    held = [len(range(other, total, world_size)) for other in range(world_size)]
    if not min(held):
        raise ValueError(f"{total} rows are too few for {world_size} workers")
    steps = steps_an_epoch(total, world_size=world_size, batch_size=batch_size)
    mine = np.arange(held[rank])
    if seed is not None:
        np.random.default_rng([seed, epoch, rank]).shuffle(mine)
    padded = np.resize(mine, steps * batch_size).reshape(steps, batch_size)
    weights = (np.arange(steps * batch_size) < held[rank]).reshape(steps, batch_size).astype(np.float32)
    real = np.array([[min(max(n - step * batch_size, 0), batch_size) for n in held] for step in range(steps)])
    weights *= (world_size * batch_size / real.sum(axis=1, keepdims=True)).astype(np.float32)
    return Plan(padded, weights)


def steps_an_epoch(total: int, *, world_size: int, batch_size: int) -> int:
    """The steps that every worker takes, by the worker with the most rows."""
    return math.ceil(math.ceil(total / world_size) / batch_size)


class Epochs:
    """Tells the input pipeline which epoch it is in; set by a callback, so that a resumed run shuffles as it would."""

    def __init__(self, first: int = 0) -> None:
        self.current = first


def image_batches(pixels: Pixels, batch_size: int, *, length: int) -> Any:
    """A tf.data.Dataset over all rows in order: uint8 [batch, H, W, 3]; the last batch may be shorter."""
    import tensorflow as tf  # noqa: PLC0415

    starts = tf.data.Dataset.range(0, length, batch_size)
    rows = starts.map(lambda start: tf.range(start, tf.minimum(start + batch_size, length)))
    load = _reader(pixels.batch, tf.uint8, (None, *pixels.shape))
    return rows.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def training_batches(
    pixels: Pixels, rows: Rows, epochs: Epochs, *, rank: int, world_size: int, batch_size: int, seed: int
) -> Any:
    """A tf.data.Dataset of one epoch after another, a worker's share of each global batch.

    Yields (uint8 [batch, H, W, 3], float32 [batch, genres], float32 [batch] sample weights).
    """
    return _batches(
        pixels.batch,
        ("uint8", pixels.shape),
        rows,
        epochs,
        rank=rank,
        world_size=world_size,
        batch_size=batch_size,
        seed=seed,
    )


def feature_batches(
    features: Features, rows: Rows, epochs: Epochs, *, rank: int, world_size: int, batch_size: int, seed: int
) -> Any:
    """As `training_batches`, with float32 [batch, F] features of the rows in place of their images."""
    return _batches(
        features.batch,
        ("float32", (features.width,)),
        rows,
        epochs,
        rank=rank,
        world_size=world_size,
        batch_size=batch_size,
        seed=seed,
    )


def _batches(
    read: Callable[[Array], Array],
    kind: tuple[str, tuple[int, ...]],
    rows: Rows,
    epochs: Epochs,
    *,
    rank: int,
    world_size: int,
    batch_size: int,
    seed: int,
) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    def steps() -> Iterator[tuple[Any, Any, Any]]:
        plan = plan_epoch(
            rows.total, rank=rank, world_size=world_size, batch_size=batch_size, seed=seed, epoch=epochs.current
        )
        for planned, weights in zip(plan.rows, plan.weights, strict=True):
            yield planned, rows.labels[planned], weights

    dtype, shape = kind
    signature = (
        tf.TensorSpec((batch_size,), tf.int64),
        tf.TensorSpec((batch_size, rows.labels.shape[1]), tf.float32),
        tf.TensorSpec((batch_size,), tf.float32),
    )
    planned = tf.data.Dataset.from_generator(steps, output_signature=signature)
    load = _reader(read, tf.as_dtype(dtype), (batch_size, *shape))
    batches = planned.map(
        lambda row, labels, weights: (load(row), labels, weights),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    # Without their number, `fit` finds the end by a step that fails, and of that step the graph still runs what needs
    # no data: Keras 3.15 then counts one optimizer iteration too many an epoch, which bends Adam and every schedule.
    number = steps_an_epoch(rows.total, world_size=world_size, batch_size=batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(number))


def _reader(read: Callable[[Array], Array], dtype: Any, shape: tuple[int | None, ...]) -> Callable[[Any], Any]:
    import tensorflow as tf  # noqa: PLC0415

    def load(rows: Any) -> Any:
        found = tf.numpy_function(read, [rows], dtype)
        found.set_shape(shape)
        return found

    return load
