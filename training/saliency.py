"""What a model looks at: a heat map over the poster for a genre, for any Keras model that onesheet serves.

HiResCAM (Draelos and Carin 2020, https://arxiv.org/abs/2011.08891) on the last feature maps of each backbone: each
place's activations times the gradient of the genre's logit by them, summed over channels. Where a head is linear in
the maps (any pooling, or a flattening), these are exactly the places' shares of the logit, which Grad-CAM and
Grad-CAM++ (Chattopadhay et al. 2018) do not promise: they weigh a channel as a whole, wherever the head reads it.

The maps are found in the model's TensorFlow graph, so nesting, several backbones, resizing inside and mirrored copies
need no code of their own.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from cluster.errors import TrainingError
from training.metrics import Array

# A grouped convolution of Keras is a call of a function of its own.
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "PartitionedCall", "StatefulPartitionedCall")
_BATCH_SIZE = 8
_MIN_SLOPE = 1e-6


def heat_map(model: Any, image: Array, genre: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Where in a poster a model sees a genre.

    model: a keras.Model as it is served, [batch, H, W, 3] → sigmoid scores [batch, genres]. image: uint8 [H, W, 3] of
    its input size, RGB. genre: its index. Returns float32 [H, W] from 0 to 1, 1 where most speaks for the genre; all 0
    where nothing does. Many posters are faster with one `HeatMaps`. Raises TrainingError for an image of another size.
    """
    found: np.ndarray[Any, np.dtype[np.float32]] = HeatMaps(model)(image[None], [genre])[0]
    return found


class HeatMaps:
    """The heat maps of a model, traced once. Safe to call from several threads."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf  # noqa: PLC0415

        self._size = tuple(model.input_shape[1:])
        height_px, width_px = self._size[:2]
        # Filled by the first trace: whether each map is of the poster's mirror image.
        self._mirrored: list[bool] | None = None
        self._lock = threading.Lock()
        images = tf.TensorSpec((None, *self._size), tf.float32)

        @tf.function(input_signature=[images], autograph=False)
        def maps_of(images: Any) -> list[Any]:
            scores = model(images, training=False)
            return _last_maps(images, scores)

        @tf.function(
            input_signature=[images, tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.bool)],
            autograph=False,
        )
        def heat(images: Any, genres: Any, mirrored: Any) -> Any:
            scores = model(images, training=False)
            numbers = tf.cast(scores, tf.float32)
            genres = tf.where(genres < 0, tf.argmax(numbers, axis=-1, output_type=tf.int32), genres)
            chosen = tf.gather(numbers, genres, batch_dims=1)
            maps = _last_maps(images, scores)
            # Of the logit by way of the score: scores that are means of several sigmoids have no logit in the graph.
            slope = tf.maximum(chosen * (1 - chosen), _MIN_SLOPE)[:, None, None]
            total = tf.zeros((tf.shape(images)[0], height_px, width_px))
            for place, (features, gradient) in enumerate(zip(maps, tf.gradients(chosen, maps), strict=True)):
                if gradient is None:
                    continue
                shares = tf.reduce_sum(tf.cast(features, tf.float32) * tf.cast(gradient, tf.float32), axis=-1) / slope
                shares = tf.where(mirrored[place], shares[:, :, ::-1], shares)
                # By area, so that maps of many places and of few weigh the same.
                shares *= float(features.shape[1] * features.shape[2])
                total += tf.image.resize(shares[..., None], (height_px, width_px), "bicubic")[..., 0]
            total = tf.nn.relu(total)
            most = tf.reduce_max(total, axis=(1, 2), keepdims=True)
            return tf.math.divide_no_nan(total, most), numbers

        self._maps_of, self._heat = maps_of, heat

    def __call__(self, images: Array, genres: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """images: uint8 [N, H, W, 3]; genres: N indices. Returns float32 [N, H, W] from 0 to 1."""
        return self.with_scores(images, genres)[0]

    def with_scores(
        self, images: Array, genres: Any
    ) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.float32]]]:
        """As a call, with -1 for the genre of the highest score, and the model's scores, float32 [N, genres]."""
        import tensorflow as tf  # noqa: PLC0415

        if images.shape[1:] != self._size:
            raise TrainingError(f"a heat map needs posters of the model's input {self._size}, not {images.shape[1:]}")
        with self._lock:
            if self._mirrored is None:
                self._mirrored = self._find_mirrored()
        found = []
        for start in range(0, len(images), _BATCH_SIZE):
            batch = tf.constant(images[start : start + _BATCH_SIZE], tf.float32)
            wanted = tf.constant(np.asarray(genres[start : start + _BATCH_SIZE]), tf.int32)
            found.append([each.numpy() for each in self._heat(batch, wanted, tf.constant(self._mirrored))])
        maps, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return maps, scores

    def _find_mirrored(self) -> list[bool]:
        """Which maps see the poster mirrored: a change in the picture's left half shows in their right half."""
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (2, *self._size)).astype(np.float32)
        noise[1, :, self._size[1] // 2 :] = noise[0, :, self._size[1] // 2 :]
        mirrored = []
        for features in self._maps_of(noise):
            change = np.abs(np.diff(features.numpy().astype(np.float64), axis=0)).sum(axis=(0, 1, 3))
            half = len(change) // 2
            mirrored.append(bool(change[len(change) - half :].sum() > change[:half].sum()))
        return mirrored


def _last_maps(images: Any, scores: Any) -> list[Any]:
    """The last feature maps [batch, h, w, C] of each backbone in the graph of the scores, in the order of the graph.

    Last: no further convolution over more than one place follows, and no operation of the same height and width.
    Without any convolution, the picture itself.
    """
    order = {operation: place for place, operation in enumerate(scores.graph.get_operations())}
    behind = _reached([scores.op], lambda operation: [tensor.op for tensor in operation.inputs])
    ahead = _reached(
        [images.op], lambda operation: [user for tensor in operation.outputs for user in tensor.consumers()]
    )
    between = sorted(behind & ahead, key=order.__getitem__)
    planes = {operation: size for operation in between if (size := _plane(operation)) is not None}
    convolutions = [one for one in planes if one.type in _CONVOLUTIONS and max(planes[one]) > 1]
    following = {
        one: _reached([one], lambda op: [user for tensor in op.outputs for user in tensor.consumers()])
        for one in convolutions
    }
    last = [
        one for one in convolutions if not any(other is not one and other in following[one] for other in convolutions)
    ]
    if not last:
        size = tuple(images.shape[1:3])
        return [[operation for operation in planes if planes[operation] == size][-1].outputs[0]]
    ends = [max((op for op in following[one] if planes.get(op) == planes[one]), key=order.__getitem__) for one in last]
    return [end.outputs[0] for end in sorted(set(ends), key=order.__getitem__)]


def _reached(start: list[Any], following: Any) -> set[Any]:
    found, waiting = set(start), list(start)
    while waiting:
        for operation in following(waiting.pop()):
            if operation not in found:
                found.add(operation)
                waiting.append(operation)
    return found


def _plane(operation: Any) -> tuple[int, int] | None:
    """Height and width of what an operation gives, if that is feature maps of a known size."""
    if not operation.outputs:
        return None
    shape = operation.outputs[0].shape
    if shape.rank != 4 or shape[1] is None or shape[2] is None or not operation.outputs[0].dtype.is_floating:
        return None
    return int(shape[1]), int(shape[2])
