"""Each loss against its formula written out in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from training.losses import OfEachHead, make_loss, rarity
from training.recipe import Recipe

COUNTS, POSTERS = [500, 90, 10], 1000
RNG = np.random.default_rng(5)
LABELS = (RNG.random((6, 3)) < 0.4).astype(np.float32)
SCORES = RNG.uniform(0.01, 0.99, (6, 3)).astype(np.float32)
WEIGHTS = np.array([1, 1, 1, 2, 0, 1], np.float32)


def binary_crossentropy(y: Any, p: Any) -> Any:
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


def weighted(y: Any, p: Any) -> Any:
    w = np.sqrt((POSTERS - np.array(COUNTS)) / np.array(COUNTS))
    return -w * y * np.log(p) - (1 - y) * np.log(1 - p)


def focal(y: Any, p: Any) -> Any:
    p_t = y * p + (1 - y) * (1 - p)
    return (1 - p_t) ** 1.5 * binary_crossentropy(y, p)


def asymmetric(y: Any, p: Any) -> Any:
    q = np.maximum(p - 0.1, 0)
    return -y * np.log(p) - (1 - y) * q**1.5 * np.log(1 - q)


@pytest.mark.parametrize("formula", [binary_crossentropy, weighted, focal, asymmetric])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_loss_is_its_formula(formula: Callable[[Any, Any], Any], smoothing: float):
    recipe = Recipe().changed({"loss": formula.__name__, "gamma": 1.5, "margin": 0.1, "label_smoothing": smoothing})
    loss = make_loss(recipe, COUNTS, POSTERS)(LABELS, SCORES, sample_weight=WEIGHTS)
    smooth = LABELS * (1 - smoothing) + smoothing / 2
    expected = (formula(smooth.astype(np.float64), SCORES.astype(np.float64)).mean(axis=1) * WEIGHTS).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


NAMES = ["binary_crossentropy", "weighted", "focal", "asymmetric"]


@pytest.mark.parametrize("name", NAMES)
def test_heads_learn_alone_the_loss_is_the_mean_of_theirs(name: str):
    loss = make_loss(Recipe().changed({"loss": name, "label_smoothing": 0.1}), COUNTS, POSTERS)
    scores = np.stack([SCORES, 1 - SCORES, np.roll(SCORES, 1, axis=0)], axis=1)
    alone = [float(loss(LABELS, scores[:, head], sample_weight=WEIGHTS)) for head in range(3)]
    together = OfEachHead(loss)
    assert float(together(LABELS, scores, sample_weight=WEIGHTS)) == pytest.approx(np.mean(alone), rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(together))
    assert float(again(LABELS, scores)) == float(together(LABELS, scores))


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_0_and_1_give_a_finite_loss_and_gradient(name: str):
    import tensorflow as tf

    scores = tf.Variable([[0.0, 1.0, 0.5]] * 2)
    with tf.GradientTape() as tape:
        value = make_loss(Recipe().changed({"loss": name, "gamma": 0.5}), COUNTS, POSTERS)(
            LABELS[:2], tf.identity(scores)
        )
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, scores).numpy()).all()


def test_the_rarer_a_genre_the_more_a_poster_of_it_weighs():
    assert rarity(COUNTS, POSTERS) == pytest.approx([1.0, (910 / 90) ** 0.5, 99**0.5])
    assert np.isfinite(rarity([0, POSTERS], POSTERS)).all()


@pytest.mark.parametrize("name", ["weighted", "focal", "asymmetric"])
def test_a_loss_comes_back_from_its_config(name: str):
    loss = make_loss(Recipe().changed({"loss": name, "label_smoothing": 0.1}), COUNTS, POSTERS)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(LABELS, SCORES)) == float(loss(LABELS, SCORES))
