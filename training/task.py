"""What the processes of a run are told: which network, which dataset, which recipe."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.errors import TrainingError
from cluster.store import Store, open_store
from training.architecture import Network
from training.bundle import sha256_of
from training.dataset import Card
from training.network import build_network
from training.parts import default_recipe, input_size, weights_files
from training.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTask:
    """All that a worker needs to know; plain values, so that it travels and is kept as a dict.

    architecture: an expression as `training.network.parts_of` reads it. weights: `none`, `imagenet`, or `store`: then
    weights_keys says under which key of the store, which every node reaches, each backbone's file is. cpus: threads of
    a worker.
    """

    store: str
    dataset_id: str
    architecture: str
    height_px: int
    width_px: int
    recipe: dict[str, Any]
    weights: str = "none"
    weights_keys: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    cpus: int = 1

    def read_recipe(self) -> Recipe:
        """The recipe, checked."""
        return Recipe.model_validate(self.recipe)

    def with_weights(self, keys: Mapping[str, str]) -> TrainTask:
        """The same with weights of the store, by architecture name; with none of them, as it is."""
        return replace(self, weights="store", weights_keys=dict(keys)) if keys else self


def plan_task(
    expression: str,
    changes: Mapping[str, Any],
    *,
    height_px: int | None = None,
    width_px: int | None = None,
    **other: Any,
) -> TrainTask:
    """A task with the architecture's own recipe, changed, and its own input size where none is given.

    other: more fields of the task. Raises TrainingError for what is no recipe, or no size.
    """
    height, width = input_size(expression, height_px, width_px)
    recipe = default_recipe(expression).changed(dict(changes))
    return TrainTask(architecture=expression, height_px=height, width_px=width, recipe=recipe.model_dump(), **other)


def build_task_network(task: TrainTask, card: Card, *, precision: str | None = None) -> Network:
    """The task's network for this dataset, its weights fetched from the store.

    precision: a dtype policy of Keras in place of the recipe's.
    """
    import keras  # noqa: PLC0415

    recipe = task.read_recipe()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or recipe.precision)
    with contextlib.ExitStack() as left:
        left.callback(keras.config.set_dtype_policy, policy)
        folder = left.enter_context(tempfile.TemporaryDirectory(prefix="onesheet-weights-"))
        store = open_store(task.store).patient()
        for key in task.weights_keys.values():
            # Under the name that it had: the folder is what a user would give.
            Path(folder, key.rpartition("/")[2]).write_bytes(store.get(key))
        return build_network(
            task.architecture,
            genres=len(card.genres),
            recipe=recipe,
            weights=folder if task.weights_keys else task.weights,
            height_px=task.height_px,
            width_px=task.width_px,
        )


def build_served_network(task: TrainTask, card: Card) -> Network:
    """The same in float32, in which a model is measured and served whatever it is trained in: only of that do all
    runtimes give the same scores. Its trunks are the task's, for they name the features that its head learns from.
    """
    network = build_task_network(task, card)
    if task.read_recipe().precision == "float32":
        return network
    return replace(build_task_network(task, card, precision="float32"), trunks=network.trunks)


def share_weights(expression: str, weights: str, store: Store) -> dict[str, str]:
    """Put the weights files where every node reaches them, each once; architecture name → key.

    Raises TrainingError for a file that is missing or cannot be read.
    """
    keys = {}
    for name, path in weights_files(expression, weights).items():
        try:
            key = f"weights/{sha256_of(path)[:16]}/{name}_no_top.weights.h5"
            if not store.exists(key):
                store.put(key, path.read_bytes())
        except OSError as error:
            raise TrainingError(f"weights {path}: {error.strerror or error}") from error
        keys[name] = key
    return keys


def weights_names(keys: Mapping[str, str]) -> str:
    """Which weights, for people and the lineage: the files' names, and the beginnings of their sha256."""
    return ", ".join(f"{key.split('/')[2]} ({key.split('/')[1]})" for key in keys.values())
