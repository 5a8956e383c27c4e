"""A model's outputs for many posters, as fast as TensorFlow gives them, in constant memory but for the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from training.inputs import image_batches
from training.pixels import Pixels
from training.rows import Rows

_BATCH_SIZE = 32


def inference(model: Any) -> Callable[[Any], Any]:
    """The model as a graph without gradients, its BatchNorm fused: five times model.predict for small batches.

    The graph reads the model's own variables: what is assigned to them later counts.
    """
    import tensorflow as tf  # noqa: PLC0415

    from training.fused import with_fused_batch_norm  # noqa: PLC0415

    fused = with_fused_batch_norm(model)
    return tf.function(
        lambda images: fused(images, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)],
    )


def outputs(forward: Callable[[Any], Any], batches: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What `inference` of a model gives for batches of images, one after the other: float32 [rows, …]."""
    import tensorflow as tf  # noqa: PLC0415

    return np.concatenate([forward(tf.cast(batch, tf.float32)).numpy() for batch in batches])


def predict(
    forward: Callable[[Any], Any], rows: Rows, *, height_px: int, width_px: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What `inference` of a model gives for all rows in order: float32 [rows, …]."""
    with Pixels(rows, height_px=height_px, width_px=width_px, keep=False) as pixels:
        return outputs(forward, image_batches(pixels, _BATCH_SIZE, length=len(rows)))
