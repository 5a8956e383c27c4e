"""BatchNorm by TensorFlow's fused kernel: the same layers, variables and results in half to two thirds of the time.

Keras 3 computes it from single operations. On CPUs that was half of the training step of a convolutional network at
350x350, and a third of the forward pass of MobileNetV2 and EfficientNet-Lite2, where TensorFlow joins the kernel to the
convolution before it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# Below it the kernel would take this epsilon in place of the layer's.
_LEAST_EPSILON = 1.001e-5


def with_fused_batch_norm(model: keras.Model) -> keras.Model:
    """A model of the same layers and variables whose BatchNorm is fused. Run or train it, and save the given one."""

    def fused(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):
            return with_fused_batch_norm(layer)
        return FusedBatchNorm(layer) if _can_be_fused(layer) else layer

    return keras.models.clone_model(model, clone_function=fused)


def _can_be_fused(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.moving_mean is not None
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.epsilon >= _LEAST_EPSILON
        and not (layer.synchronized or getattr(layer, "renorm", False))
    )


class FusedBatchNorm(keras.layers.Layer):
    """Stands in for a BatchNormalization of images, float [batch, H, W, C], with that layer's variables."""

    def __init__(self, plain: Any) -> None:
        super().__init__(name=f"{plain.name}_fused", dtype=plain.dtype_policy, autocast=False)
        self.plain = plain

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        plain = self.plain
        if mask is not None:
            return plain(inputs, training=training, mask=mask)
        shape = plain.moving_mean.shape
        learns = training and plain.trainable
        statistics = {} if learns else {"mean": plain.moving_mean.value, "variance": plain.moving_variance.value}
        outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale=plain.gamma.value if plain.scale else tf.ones(shape),
            offset=plain.beta.value if plain.center else tf.zeros(shape),
            epsilon=plain.epsilon,
            is_training=bool(learns),
            **statistics,
        )
        if learns:
            # The kernel's variance is that of the population, Keras's that of the batch.
            count = tf.cast(tf.size(inputs) // shape[0], tf.float32)
            for moving, value in ((plain.moving_mean, mean), (plain.moving_variance, variance * (count - 1) / count)):
                moving.assign(moving.value * plain.momentum + value * (1 - plain.momentum))
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
