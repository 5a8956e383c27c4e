"""The networks from scratch that others have published for posters, faithful to the layer.

What a source leaves open is Keras's default: batches of 32, Adam at 1e-3.
"""

from __future__ import annotations

from typing import Any

from training.architecture import BuildOptions, whole_network
from training.recipe import Recipe


@whole_network(
    summary="four 3x3 convolutions with BatchNorm, two dense layers of 128",
    source="KGP Talkie 2020, Multi-Label Image Classification on Movies Poster using CNN",
    height_px=350,
    width_px=350,
    recipe=Recipe(epochs=5, batch_size=32, optimizer="adam", learning_rate=1e-3),
    parameters=6_672_889,
    genres=25,
)
def cnn_4block_bn(options: BuildOptions) -> Any:
    """Conv 16-32-64-128 (3x3, valid), each with BatchNorm, MaxPool and Dropout; Dense 128 twice with BatchNorm."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    x = layers.Rescaling(1 / 255)(image)
    for filters, dropout in ((16, 0.3), (32, 0.3), (64, 0.4), (128, 0.5)):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(128, activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.Dropout(0.5)(x)
    scores = layers.Dense(options.genres, activation="sigmoid", dtype="float32")(x)
    return keras.Model(image, scores)


@whole_network(
    summary="two pairs of 3x3 convolutions, one dense layer of 128",
    source="no paper, a network for the posters of Kaggle's MovieGenre.csv with 29 genres",
    height_px=150,
    width_px=100,
    recipe=Recipe(epochs=4, batch_size=16, optimizer="adam", learning_rate=1e-3),
    parameters=7_647_037,
    genres=29,
)
def cnn_2x2_same(options: BuildOptions) -> Any:
    """Conv 32, 32 and 64, 64 (3x3, same), each pair with MaxPool and Dropout; Dense 128."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    x = layers.Rescaling(1 / 255)(image)
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    scores = layers.Dense(options.genres, activation="sigmoid", dtype="float32")(x)
    return keras.Model(image, scores)


@whole_network(
    summary="four 5x5 convolutions, dense layers of 128 and 64",
    source="Misra, github.com/d-misra/Multi-label-movie-poster-genre-classification, Train-1",
    height_px=200,
    width_px=150,
    recipe=Recipe(epochs=30, batch_size=64, optimizer="adam", learning_rate=1e-3),
    parameters=505_660,
    genres=28,
)
def cnn_5x5(options: BuildOptions) -> Any:
    """Conv 16-32-64-64 (5x5, valid), each with MaxPool and Dropout; Dense 128 and 64 with Dropout."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    x = layers.Rescaling(1 / 255)(image)
    for filters in (16, 32, 64, 64):
        x = layers.Conv2D(filters, 5, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    for units in (128, 64):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(0.5)(x)
    scores = layers.Dense(options.genres, activation="sigmoid", dtype="float32")(x)
    return keras.Model(image, scores)
