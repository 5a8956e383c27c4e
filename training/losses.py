"""The losses of a recipe: float32 labels and sigmoid scores [batch, genres] → a mean over genres, posters and workers.

Each is a mean over the batch, weighed by the sample weights, as `training.parallel` needs it to be. Labels may be soft
(mixup, smoothing): a label of 0.7 is 0.7 of a positive and 0.3 of a negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from training.recipe import Recipe


def make_loss(recipe: Recipe, genre_counts: Sequence[int], posters: int) -> Any:
    """The keras.losses.Loss that a recipe names.

    genre_counts: train posters of each genre, in the order of the scores. posters: all train posters. Only `weighted`
    looks at them. `focal` is Lin et al. 2017, eq. 4, without its alpha, which would weigh the rare positives down.
    """
    smoothing = recipe.label_smoothing
    if recipe.loss == "focal":
        return FocalLoss(gamma=recipe.gamma, label_smoothing=smoothing)
    if recipe.loss == "asymmetric":
        return AsymmetricLoss(gamma=recipe.gamma, margin=recipe.margin, label_smoothing=smoothing)
    if recipe.loss == "weighted":
        return WeightedBinaryCrossentropy(rarity(genre_counts, posters), label_smoothing=smoothing)
    return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)


def rarity(genre_counts: Sequence[int], posters: int) -> list[float]:
    """The weight of each genre's positives: sqrt((posters - n) / n) for n posters of the genre.

    The odds themselves would balance positives and negatives, and let the 20 posters of a rare genre outweigh
    thousands; their square root goes half of the way on a log scale. n is taken as at least 1 and at most posters - 1.
    """
    n = np.clip(np.asarray(genre_counts, dtype=np.float64), 1, max(1, posters - 1))
    return [float(weight) for weight in np.sqrt(np.maximum(posters - n, 1) / n)]


@keras.saving.register_keras_serializable("onesheet")
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """-w y log(p) - (1 - y) log(1 - p), mean over the genres, with a weight w for each genre's positives."""

    def __init__(
        self, weights: Sequence[float], label_smoothing: float = 0.0, name: str = "weighted", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.weights = list(weights)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels, scores = _prepared(y_true, y_pred, self.label_smoothing)
        weights = ops.cast(self.weights, scores.dtype)
        return ops.mean(-weights * labels * ops.log(scores) - (1 - labels) * ops.log(1 - scores), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("onesheet")
class FocalLoss(keras.losses.BinaryFocalCrossentropy):
    """Keras's, whose gradient is not finite at a score of exactly 0 or 1 for a gamma under 1."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return super().call(y_true, _inside(y_pred))


@keras.saving.register_keras_serializable("onesheet")
class AsymmetricLoss(keras.losses.Loss):
    """Asymmetric loss: Ridnik et al. 2021, eq. 7, mean over the genres, with a focusing of 0 for the positives.

    -y log(p) - (1 - y) q^gamma log(1 - q) with q = max(p - margin, 0): negatives that are scored below the margin
    cost nothing, easy ones little.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        margin: float = 0.05,
        label_smoothing: float = 0.0,
        name: str = "asymmetric",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.gamma, self.margin, self.label_smoothing = gamma, margin, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels, scores = _prepared(y_true, y_pred, self.label_smoothing)
        # Not below epsilon: the gradient of q^gamma at 0 is not finite for a gamma under 1.
        shifted = ops.maximum(scores - self.margin, keras.config.epsilon())
        negatives = ops.power(shifted, self.gamma) * ops.log(1 - shifted)
        return ops.mean(-labels * ops.log(scores) - (1 - labels) * negatives, axis=-1)

    def get_config(self) -> dict[str, Any]:
        own = {"gamma": self.gamma, "margin": self.margin, "label_smoothing": self.label_smoothing}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("onesheet")
class OfEachHead(keras.losses.Loss):
    """The mean of a loss over heads: labels [batch, genres], scores [batch, heads, genres].

    Heads that learn by the mean of their scores make up for each other's errors, and become one large head. Alone they
    err differently, as the members of an ensemble must: Lakshminarayanan et al. 2017, section 2.
    """

    def __init__(self, loss: keras.losses.Loss, name: str = "of_each_head", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = ops.repeat(ops.expand_dims(y_true, axis=1), y_pred.shape[1], axis=1)
        return ops.mean(self.loss.call(labels, y_pred), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OfEachHead:
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def _prepared(y_true: Any, y_pred: Any, label_smoothing: float) -> tuple[Any, Any]:
    """Labels smoothed as Keras's own cross-entropies do it, and scores whose logarithms are finite."""
    return y_true * (1 - label_smoothing) + 0.5 * label_smoothing, _inside(y_pred)


def _inside(scores: Any) -> Any:
    epsilon = keras.config.epsilon()
    return ops.clip(scores, epsilon, 1 - epsilon)
