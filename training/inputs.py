"""Rows → batches: which rows make which global batch, and the tf.data pipeline that decodes them."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from training.preprocessing import to_pixels
from training.rows import Rows

# Decoded posters of a worker are kept in memory up to this size, and decoded anew each epoch beyond it.
CACHE_BYTES = 512 * 2**20


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


class Pixels:
    """Decoded rows: uint8 [height_px, width_px, 3], cached while they fit into CACHE_BYTES."""

    def __init__(self, rows: Rows, *, height_px: int, width_px: int) -> None:
        self._rows = rows
        self._height_px, self._width_px = height_px, width_px
        fits = len(rows) * height_px * width_px * 3 <= CACHE_BYTES
        self._cache: dict[int, np.ndarray[Any, Any]] | None = {} if fits else None
        self.shape = (height_px, width_px, 3)

    def __call__(self, row: int) -> np.ndarray[Any, Any]:
        found = self._cache.get(row) if self._cache is not None else None
        if found is None:
            image = Image.open(io.BytesIO(self._rows.encoded(row)))
            found = to_pixels(image, height_px=self._height_px, width_px=self._width_px)
            if self._cache is not None:
                self._cache[row] = found
        return found


def image_batches(pixels: Pixels, batch_size: int, *, length: int) -> Any:
    """A tf.data.Dataset over all rows in order: uint8 [batch, H, W, 3]; the last batch may be shorter."""
    import tensorflow as tf  # noqa: PLC0415

    return _decoded(tf.data.Dataset.range(length), pixels).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def training_batches(
    pixels: Pixels, rows: Rows, epochs: Epochs, *, rank: int, world_size: int, batch_size: int, seed: int
) -> Any:
    """A tf.data.Dataset of one epoch after another, a worker's share of each global batch.

    Yields (uint8 [batch, H, W, 3], float32 [batch, genres], float32 [batch] sample weights).
    """
    import tensorflow as tf  # noqa: PLC0415

    flat = _planned(rows, epochs, rank=rank, world_size=world_size, batch_size=batch_size, seed=seed)
    labels = tf.constant(rows.labels)
    decoded = _decoded(flat.map(lambda row, weight: row), pixels)
    answers = flat.map(lambda row, weight: (tf.gather(labels, row), weight))
    batches = (
        tf.data.Dataset.zip(decoded, answers)
        .map(lambda image, answer: (image, *answer))
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    return _with_length(batches, rows, world_size, batch_size)


def feature_batches(
    features: np.ndarray[Any, Any],
    rows: Rows,
    epochs: Epochs,
    *,
    rank: int,
    world_size: int,
    batch_size: int,
    seed: int,
) -> Any:
    """As `training_batches`, with float32 [batch, …] features of the rows in place of their images."""
    import tensorflow as tf  # noqa: PLC0415

    flat = _planned(rows, epochs, rank=rank, world_size=world_size, batch_size=batch_size, seed=seed)
    inputs, labels = tf.constant(features), tf.constant(rows.labels)
    batches = (
        flat.batch(batch_size, drop_remainder=True)
        .map(lambda row, weight: (tf.gather(inputs, row), tf.gather(labels, row), weight))
        .prefetch(tf.data.AUTOTUNE)
    )
    return _with_length(batches, rows, world_size, batch_size)


def _planned(rows: Rows, epochs: Epochs, *, rank: int, world_size: int, batch_size: int, seed: int) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    def steps() -> Iterator[tuple[Any, Any]]:
        plan = plan_epoch(
            rows.total, rank=rank, world_size=world_size, batch_size=batch_size, seed=seed, epoch=epochs.current
        )
        yield from zip(plan.rows, plan.weights, strict=True)

    signature = (tf.TensorSpec((batch_size,), tf.int64), tf.TensorSpec((batch_size,), tf.float32))
    return tf.data.Dataset.from_generator(steps, output_signature=signature).unbatch()


def _with_length(batches: Any, rows: Rows, world_size: int, batch_size: int) -> Any:
    """The batches with their number known to Keras.

    Without it, `fit` finds the end by a step that fails, and of that step the graph still runs what needs no data:
    Keras 3.15 then counts one optimizer iteration too many an epoch, which bends Adam and every schedule.
    """
    import tensorflow as tf  # noqa: PLC0415

    steps = steps_an_epoch(rows.total, world_size=world_size, batch_size=batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


def _decoded(indices: Any, pixels: Pixels) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    def load(row: Any) -> Any:
        image = tf.numpy_function(lambda i: pixels(int(i)), [row], tf.uint8)
        image.set_shape(pixels.shape)
        return image

    return indices.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
