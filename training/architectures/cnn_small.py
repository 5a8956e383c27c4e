"""A small convolutional network from scratch: for small datasets, quick looks and machines without weights."""

from __future__ import annotations

from typing import Any

from training.architecture import BuildOptions, whole_network
from training.recipe import Recipe


@whole_network(
    summary="four convolutions with BatchNorm, global average pooling",
    source="onesheet",
    height_px=96,
    width_px=64,
    recipe=Recipe(epochs=30, batch_size=32, learning_rate=2e-3),
)
def cnn_small(options: BuildOptions) -> Any:
    """Four 3x3 convolutions with BatchNorm, each halving the image; global average pooling; one sigmoid a genre."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    x = layers.Rescaling(1 / 255)(image)
    for filters in (16, 32, 64, 96):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    scores = layers.Dense(options.genres, activation="sigmoid", dtype="float32")(x)
    return keras.Model(image, scores)
