"""What an architecture is, and how one is found by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TrainingError
from training import architectures


@dataclass(frozen=True, slots=True)
class Network:
    """A model, whole and in its two parts.

    model: uint8 or float RGB [batch, H, W, 3] from 0 to 255 → float32 sigmoid scores [batch, genres].
    backbone, head: where the backbone is frozen, `model` is `head(backbone(image))` and only the head is trained,
    on features that are computed once; else both are None and the whole model is trained.
    """

    model: Any
    backbone: Any = None
    head: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a user decides about a network. weights: `none`, `imagenet`, or a local file of a backbone without top."""

    genres: int
    height_px: int
    width_px: int
    weights: str = "none"
    fine_tune: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """An architecture and the recipe that it is trained with unless the user says otherwise.

    build: makes the keras.Model from the options. batch_size: posters a step over all workers.
    """

    name: str
    summary: str
    source: str
    height_px: int
    width_px: int
    epochs: int
    batch_size: int
    learning_rate: float
    takes_weights: bool
    build: Callable[[BuildOptions], Network]


def names() -> list[str]:
    """The names of all architectures, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(architectures.__file__).parent)]))


def find(name: str) -> Architecture:
    """The architecture of that name. Raises TrainingError that lists the known ones."""
    if name not in names():
        raise TrainingError(f"no architecture {name!r}; there are {', '.join(names())}")
    found: Architecture = importlib.import_module(f"training.architectures.{name}").ARCHITECTURE
    return found
