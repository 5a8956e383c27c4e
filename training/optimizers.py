"""The optimizer of a recipe: schedule, clipping, weight decay, a rate for each variable, averaged weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from training.recipe import Recipe, RecipeError


def make_optimizer(recipe: Recipe, *, steps_per_epoch: int, world_size: int, rates: Mapping[str, float]) -> Any:
    """The keras.optimizers.Optimizer that a recipe names.

    steps_per_epoch: batches that each worker takes an epoch. rates: a variable's path → the share of the rate that it
    learns at, 1 where it is not named. Weight decay is decoupled (Loshchilov and Hutter 2019), follows the variable's
    rate, and leaves out what has one dimension: biases and normalizations. `adamw` is `adam` but for its name: both
    decay by the recipe. Clipping is by the norm of all gradients, which `training.parallel` hands over averaged over
    the workers and the accumulated steps. Raises RecipeError for a warm-up as long as the run.
    """
    settings: dict[str, Any] = {
        "name": recipe.optimizer,
        "learning_rate": _learning_rate(recipe, updates_an_epoch(recipe, steps_per_epoch), world_size),
        "global_clipnorm": recipe.clip_norm or None,
        "use_ema": recipe.ema > 0,
        "ema_momentum": recipe.ema,
    }
    if recipe.optimizer == "sgd":
        settings["momentum"] = 0.9
    optimizer = _OPTIMIZERS[recipe.optimizer](rates=dict(rates), decay=recipe.weight_decay, **settings)
    if recipe.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def updates_an_epoch(recipe: Recipe, steps_per_epoch: int) -> int:
    """Updates of the weights an epoch; the last one makes do with the steps that are left."""
    return math.ceil(steps_per_epoch / recipe.accumulate_steps)


@contextlib.contextmanager
def averaged_weights(model: Any) -> Iterator[bool]:
    """Within it, a compiled model has the moving average of its trained weights; after it, the raw ones again.

    Yields whether it makes a difference: not without `ema`, and not before the first update. BatchNorm's statistics
    stay those of the raw weights. To go on from a checkpoint, keep the raw weights too: the optimizer's state has the
    average, not them.
    """
    optimizer = _inner(model.optimizer)
    if not (optimizer.use_ema and optimizer.built and int(optimizer.iterations) > 0):
        yield False
        return
    raw = [variable.numpy() for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield True
    finally:
        for variable, value in zip(model.trainable_variables, raw, strict=True):
            variable.assign(value)


def _inner(optimizer: Any) -> Any:
    return getattr(optimizer, "inner_optimizer", optimizer)


def _learning_rate(recipe: Recipe, updates: int, world_size: int) -> Any:
    """A number, or a schedule that counts updates.

    Scaling with the workers: linear by Goyal et al. 2017, square root by Krizhevsky 2014.
    """
    scale = {"none": 1.0, "linear": float(world_size), "sqrt": math.sqrt(world_size)}[recipe.learning_rate_scaling]
    rate, total = recipe.learning_rate * scale, updates * recipe.epochs
    warmup = round(recipe.warmup_epochs * updates)
    if warmup >= total:
        raise RecipeError(f"warmup_epochs {recipe.warmup_epochs:g}: {recipe.epochs} epochs are over before")
    schedules = keras.optimizers.schedules
    if recipe.schedule == "cosine":
        if not warmup:
            return schedules.CosineDecay(rate, total)
        return schedules.CosineDecay(0.0, total - warmup, warmup_target=rate, warmup_steps=warmup)
    # A polynomial of power 1 is a line, and stays at its end.
    return schedules.PolynomialDecay(0.0, warmup, end_learning_rate=rate) if warmup else rate


class _PerVariable:
    """Goes before a Keras optimizer: its rate and its weight decay for each variable.

    Weight decay is done here and not by Keras, which decays every variable by the same rate.
    """

    def __init__(self, *, rates: Mapping[str, float], decay: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._rates, self._decay = rates, decay

    def build(self, variables: Any) -> None:
        super().build(variables)  # type: ignore[misc]
        # By index: TensorFlow's side of Keras hands bare tf.Variables to update_step, which have no path.
        self._rate_of = [self._rates.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = keras.ops.cast(learning_rate, variable.dtype)
        rate = rate * self._rate_of[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        if self._decay and len(variable.shape) > 1:
            self.assign_sub(variable, variable * (rate * self._decay))  # type: ignore[attr-defined]
        super().update_step(gradient, variable, rate)  # type: ignore[misc]


class _Adam(_PerVariable, keras.optimizers.Adam):
    pass


class _RMSprop(_PerVariable, keras.optimizers.RMSprop):
    pass


class _SGD(_PerVariable, keras.optimizers.SGD):
    pass


_OPTIMIZERS: dict[str, Any] = {"adam": _Adam, "adamw": _Adam, "rmsprop": _RMSprop, "sgd": _SGD}
