"""What sits on a backbone: from pooled features to a score a genre."""

from __future__ import annotations

from typing import Any

from training.recipe import Recipe


def build_head(features: int, *, genres: int, recipe: Recipe) -> tuple[Any, Any | None]:
    """A keras.Model, float32 [batch, features] → float32 sigmoid scores [batch, genres].

    BatchNorm, dropout, a hidden layer where the recipe has one, and the sigmoids; with `heads` above 1 so many of them,
    each with a start and dropout of its own, and the mean of their scores. In float32 whatever the precision of the
    rest: it is small, and its scores are what a user gets.

    With several heads also a second model of the same layers, [batch, features] → [batch, heads, genres], for
    `training.losses.OfEachHead`; else None.
    """
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    inputs = keras.Input((features,), name="features")
    normalized = layers.BatchNormalization(momentum=0.9, dtype="float32")(inputs)
    scores = [_scores(normalized, genres, recipe) for _ in range(recipe.heads)]
    if len(scores) == 1:
        return keras.Model(inputs, scores[0], name="head"), None
    mean = layers.Average(dtype="float32")(scores)
    return keras.Model(inputs, mean, name="head"), keras.Model(inputs, keras.ops.stack(scores, axis=1), name="heads")


def _scores(x: Any, genres: int, recipe: Recipe) -> Any:
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    def penalty() -> Any:
        # The loss is a mean over the heads, and the penalty a sum over their kernels.
        return keras.regularizers.L2(recipe.l2 / recipe.heads) if recipe.l2 else None

    x = layers.Dropout(recipe.dropout, dtype="float32")(x)
    if recipe.hidden_units:
        x = layers.Dense(recipe.hidden_units, activation="relu", kernel_regularizer=penalty(), dtype="float32")(x)
        x = layers.Dropout(recipe.dropout, dtype="float32")(x)
    return layers.Dense(
        genres,
        activation="sigmoid",
        # Small first scores: without them the first steps unlearn what a fine-tuned backbone knows.
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        kernel_regularizer=penalty(),
        dtype="float32",
    )(x)
