"""What the optimizer of a recipe does, step by step, against numpy."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from training.optimizers import averaged_weights, make_optimizer, updates_an_epoch
from training.parallel import DataParallelModel, Workers
from training.recipe import Recipe, RecipeError

ROWS, BATCH = 64, 8
RNG = np.random.default_rng(2)
INPUTS = RNG.normal(size=(ROWS, 6)).astype(np.float32)
LABELS = (RNG.random((ROWS, 3)) < 0.4).astype(np.float32)


def network() -> keras.Model:
    keras.utils.set_random_seed(4)
    first = keras.Input((6,))
    x = keras.layers.Dense(4, activation="tanh", name="bottom")(first)
    return keras.Model(first, keras.layers.Dense(3, activation="sigmoid", name="top")(x))


def rate_at(recipe: Recipe, update: int, *, steps_per_epoch: int = 10, world_size: int = 1) -> float:
    optimizer = make_optimizer(recipe, steps_per_epoch=steps_per_epoch, world_size=world_size, rates={})
    optimizer.iterations.assign(update)
    return float(optimizer.learning_rate)


def moved(recipe: Recipe, rates: dict[str, float] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """How far each variable goes in one update by gradients of 1, as multiples of the learning rate."""
    model = network()
    optimizer = make_optimizer(recipe, steps_per_epoch=1, world_size=1, rates=rates or {})
    before = [variable.numpy() for variable in model.trainable_variables]
    gradients = [keras.ops.ones_like(variable) for variable in model.trainable_variables]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return {
        variable.path: (old - variable.numpy()) / recipe.learning_rate
        for old, variable in zip(before, model.trainable_variables, strict=True)
    }


@pytest.mark.parametrize(("scaling", "expected"), [("none", 0.01), ("linear", 0.04), ("sqrt", 0.02)])
def test_the_rate_scales_with_the_workers_as_the_recipe_says(scaling: str, expected: float):
    recipe = Recipe().changed({"learning_rate": 0.01, "learning_rate_scaling": scaling})
    assert rate_at(recipe, 0, world_size=4) == pytest.approx(expected)


def test_the_rate_warms_up_and_falls_as_a_cosine_over_updates():
    recipe = Recipe(epochs=4, learning_rate=0.1, schedule="cosine", warmup_epochs=1, accumulate_steps=3)
    updates = updates_an_epoch(recipe, 10)
    assert updates == 4
    for update in range(4 * updates):
        left = (update - updates) / (3 * updates)
        expected = update / updates if update < updates else 0.5 * (1 + math.cos(math.pi * left))
        assert rate_at(recipe, update) == pytest.approx(0.1 * expected, abs=1e-7), update


def test_a_constant_rate_warms_up_and_stays():
    recipe = Recipe(epochs=4, learning_rate=0.1, warmup_epochs=0.5)
    assert [rate_at(recipe, update) for update in (0, 2, 5, 40)] == pytest.approx([0.0, 0.04, 0.1, 0.1])


def test_a_warmup_as_long_as_the_run_is_refused():
    with pytest.raises(RecipeError, match="warmup_epochs 3"):
        make_optimizer(Recipe(epochs=3, warmup_epochs=3), steps_per_epoch=5, world_size=1, rates={})


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_a_variable_learns_at_its_share_of_the_rate(name: str):
    recipe = Recipe().changed({"optimizer": name, "learning_rate": 0.01})
    plain, shared = moved(recipe), moved(recipe, {"bottom/kernel": 0.25, "bottom/bias": 0.0})
    np.testing.assert_allclose(shared["bottom/kernel"], 0.25 * plain["bottom/kernel"], rtol=1e-4)
    np.testing.assert_array_equal(shared["bottom/bias"], 0)
    np.testing.assert_array_equal(shared["top/kernel"], plain["top/kernel"])


def test_weight_decay_follows_the_rate_of_a_variable_and_spares_biases():
    recipe = Recipe(optimizer="sgd", learning_rate=0.01)
    kernel = network().get_layer("bottom").kernel.numpy()
    plain, decayed = moved(recipe), moved(recipe.changed({"weight_decay": 0.5}), {"bottom/kernel": 0.25})
    np.testing.assert_allclose(decayed["bottom/kernel"], 0.25 * (1 + 0.5 * kernel), atol=1e-5)
    np.testing.assert_array_equal(decayed["top/bias"], plain["top/bias"])


def test_gradients_are_clipped_by_the_norm_of_all_together():
    steps = moved(Recipe(optimizer="sgd", learning_rate=1.0, clip_norm=0.5))
    assert math.sqrt(sum((step**2).sum() for step in steps.values())) == pytest.approx(0.5, rel=1e-5)


def test_two_accumulated_batches_of_8_are_one_of_16():
    ended = []
    for batch_size, accumulate_steps in ((16, 1), (8, 2)):
        model, steps = network(), ROWS // batch_size
        recipe = Recipe(optimizer="sgd", learning_rate=0.1, accumulate_steps=accumulate_steps)
        parallel = DataParallelModel(model, Workers(0, 1), accumulate_steps=accumulate_steps, steps_per_epoch=steps)
        optimizer = make_optimizer(recipe, steps_per_epoch=steps, world_size=1, rates={})
        parallel.compile(optimizer=optimizer, loss="binary_crossentropy")
        parallel.fit(INPUTS, LABELS, batch_size=batch_size, epochs=3, shuffle=False, verbose=0)
        assert int(optimizer.iterations) == 12
        ended.append(model.get_weights())
    for one, other in zip(*ended, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)


def test_averaged_weights_are_the_moving_average_and_the_raw_ones_come_back():
    model, raw = network(), []
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, ema=0.8)
    model.compile(make_optimizer(recipe, steps_per_epoch=8, world_size=1, rates={}), loss="binary_crossentropy")
    with averaged_weights(model) as averaged:
        assert not averaged
    for at in range(0, ROWS, BATCH):
        model.train_on_batch(INPUTS[at : at + BATCH], LABELS[at : at + BATCH])
        raw.append(model.get_weights())
    average = raw[0]
    for weights in raw[1:]:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, weights, strict=True)]
    with averaged_weights(model) as averaged:
        assert averaged
        for one, other in zip(model.get_weights(), average, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    for one, other in zip(model.get_weights(), raw[-1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_scales_the_loss_and_still_averages():
    recipe = Recipe(precision="mixed_float16", ema=0.5)
    optimizer = make_optimizer(recipe, steps_per_epoch=8, world_size=1, rates={})
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    model = network()
    model.compile(optimizer, loss="binary_crossentropy")
    model.fit(INPUTS, LABELS, batch_size=BATCH, verbose=0)
    with averaged_weights(model) as averaged:
        assert averaged
