"""What a model sees in a poster, as a vector: what its last dense layers read, for any Keras model that is served.

Found in the model's TensorFlow graph, as `training.saliency` finds maps, so nesting, several backbones or heads, and
mirrored copies need no code of their own. Of a head alone the same tensors are found as of the whole model, so features
of frozen backbones that are kept give the same vectors as the images do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_BATCH_SIZE = 32


class Embedder:
    """A model's vectors, traced at the first call. Safe to call from several threads."""

    def __init__(self, model: Any) -> None:
        """model: a keras.Model, images [batch, H, W, 3] or features [batch, F] → scores [batch, genres]."""
        import tensorflow as tf  # noqa: PLC0415

        from training.fused import with_fused_batch_norm  # noqa: PLC0415

        fused = with_fused_batch_norm(model)

        @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)], autograph=False)
        def embed(inputs: Any) -> Any:
            return features_of(fused(inputs, training=False))

        # As `training.scoring.inference` gives: float32 batch → float32 [batch, F].
        self.forward = embed

    def __call__(self, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What the model reads of images or features: float32 [N, F], of any length."""
        import tensorflow as tf  # noqa: PLC0415

        starts = range(0, len(inputs), _BATCH_SIZE)
        return np.concatenate(
            [self.forward(tf.constant(inputs[at : at + _BATCH_SIZE], tf.float32)).numpy() for at in starts]
        )


def features_of(scores: Any) -> Any:
    """Within a tf.function, the vectors of a batch whose scores [batch, genres] a model gave: float32 [batch, F]."""
    import tensorflow as tf  # noqa: PLC0415

    return tf.concat([tf.cast(_flat(tensor), tf.float32) for tensor in _read_last(scores)], axis=1)


def _read_last(scores: Any) -> list[Any]:
    """What the dense layers nearest to the scores read, in the order of the graph; feature maps where there are none.

    Heads that read the same tensor count once.
    """
    order = {operation: place for place, operation in enumerate(scores.graph.get_operations())}
    found: dict[int, Any] = {}
    seen, waiting = {scores.op}, [scores.op]
    while waiting:
        operation = waiting.pop()
        if operation.type in ("MatMul", "BatchMatMulV2"):
            found[id(operation.inputs[0].op)] = operation.inputs[0]
            continue
        for tensor in operation.inputs:
            if tensor.shape.rank == 4:
                # A head without dense layers, such as a mean over maps of one channel a genre.
                found[id(tensor.op)] = tensor
            elif tensor.op not in seen:
                seen.add(tensor.op)
                waiting.append(tensor.op)
    return sorted(found.values(), key=lambda tensor: order[tensor.op])


def _flat(tensor: Any) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    return tf.reduce_mean(tensor, axis=(1, 2)) if tensor.shape.rank == 4 else tensor
