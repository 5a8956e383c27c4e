"""A backbone's weights: from a file, from keras.applications, or none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from cluster.errors import TrainingError
from training.architecture import BuildOptions


def application(name: str, build: Callable[..., Any], options: BuildOptions, **arguments: Any) -> Any:
    """A network of keras.applications without top, and with the weights of `options`.

    name: the architecture's, for errors. arguments: of `build` besides `include_top` and `weights`.
    Raises TrainingError for weights that cannot be fetched or do not fit.
    """
    try:
        model = build(include_top=False, weights="imagenet" if options.weights == "imagenet" else None, **arguments)
    except ValueError:
        raise
    except Exception as error:
        # keras.utils.get_file raises a bare Exception.
        if options.weights != "imagenet":
            raise
        raise TrainingError(
            f"the ImageNet weights of {name} could not be fetched: {_reason(error)}; give --weights FILE or none"
        ) from error
    load_weights(name, model, options)
    return model


def load_weights(name: str, model: Any, options: BuildOptions) -> None:
    """Load the file that `options.weights` names into a network without top; does nothing for `none` and `imagenet`.

    name: the architecture's, for errors. Raises TrainingError for a file that does not fit the network.
    """
    if options.weights in ("none", "imagenet"):
        return
    try:
        # Keras warns of each layer that it has no weights for, often before it raises.
        with warnings.catch_warnings(record=True) as said:
            model.load_weights(options.weights)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"weights {options.weights} do not fit {name} without top: {_reason(error)}") from error
    for warning in said:
        if "freshly-initialized" in str(warning.message):
            raise TrainingError(f"weights {options.weights} do not fit {name} without top: {warning.message}")


def _reason(error: Exception) -> str:
    """The first line of an error that Keras spreads over many."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
