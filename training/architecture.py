"""What an architecture is, and how one is found by name.

To add one, write a function under `@whole_network` or `@backbone` in a file of your own and name it:
`--architecture my_package.my_module:my_network`. Those of onesheet are in `training/architectures/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from cluster.errors import TrainingError
from training import architectures
from training.recipe import Pooling, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a network is built for.

    weights: of its backbone: `none`, `imagenet` (keras.applications fetches them), or a local `.weights.h5` file of
    the backbone without top.
    """

    genres: int
    height_px: int
    width_px: int
    weights: str = "none"


@dataclass(frozen=True, slots=True)
class Backbone:
    """The convolutional part of a network.

    model: float RGB [batch, H, W, 3] from 0 to 255 → feature maps [batch, h, w, C], its scaling inside, its weights
    loaded. middle: the name of the layer whose output `middle` pooling takes. stages: names of layers that end a stage,
    from the image up, by which `layer_decay` counts.
    """

    model: Any
    middle: str
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """An architecture and the recipe that it is trained with unless the user says otherwise.

    build: gives a keras.Model from RGB 0 to 255 to sigmoid scores [batch, genres], or a Backbone that gets onesheet's
    head. published_parameters: what its source counts, for `published_genres` genres; None where it does not say.
    """

    name: str
    summary: str
    source: str
    height_px: int
    width_px: int
    recipe: Recipe
    build: Callable[[BuildOptions], Any]
    takes_weights: bool
    is_backbone: bool
    published_parameters: int | None = None
    published_genres: int | None = None


@dataclass(frozen=True, slots=True)
class Trunk:
    """A frozen backbone and what its feature maps are pooled to.

    key: names the backbone, its weights and its input, for the features that are kept. model: float RGB
    [batch, H, W, 3] from 0 to 255 → float32 features [batch, F], those of every pooling there is one after the other:
    they cost next to nothing beside the backbone. widths: how many each pooling has of them. poolings: those that the
    head reads.
    """

    key: str
    model: Any
    widths: Mapping[Pooling, int]
    poolings: tuple[Pooling, ...]

    def split(self, features: Any) -> dict[Pooling, Any]:
        """The model's features [batch, F] by pooling."""
        ends = accumulate(self.widths.values())
        return {
            kind: features[:, end - width : end] for (kind, width), end in zip(self.widths.items(), ends, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Network:
    """A model as it is served, and the part of it that is trained.

    model: uint8 or float RGB [batch, H, W, 3] from 0 to 255 → float32 sigmoid scores [batch, genres]. trained: what
    `fit` updates; where there are trunks a head, float32 [batch, F] → scores, on what it reads of the trunks' features,
    which are computed once, trunk by trunk and pooling by pooling; else from images to scores. each_head: where the
    recipe has several heads, `trained` with the scores of each, float32 [batch, heads, genres], by which they learn.
    rates: a variable's path in `trained` → the share of the learning rate that it learns at; 1 where it is not named.
    """

    model: Any
    trained: Any
    trunks: tuple[Trunk, ...] = ()
    each_head: Any | None = None
    rates: dict[str, float] = field(default_factory=dict)


_Builder = Callable[[BuildOptions], Any]


def whole_network(
    *,
    summary: str,
    source: str,
    height_px: int,
    width_px: int,
    recipe: Recipe,
    takes_weights: bool = False,
    parameters: int | None = None,
    genres: int | None = None,
) -> Callable[[_Builder], Architecture]:
    """Make an architecture of a function from BuildOptions to a keras.Model with its own head; its name is its name."""

    def register(build: _Builder) -> Architecture:
        return Architecture(
            name=build.__name__,
            summary=summary,
            source=source,
            height_px=height_px,
            width_px=width_px,
            recipe=recipe,
            build=build,
            takes_weights=takes_weights,
            is_backbone=False,
            published_parameters=parameters,
            published_genres=genres,
        )

    return register


def backbone(
    *, summary: str, source: str, height_px: int, width_px: int, recipe: Recipe
) -> Callable[[_Builder], Architecture]:
    """Make an architecture of a function from BuildOptions to a Backbone; onesheet's head goes on top."""

    def register(build: _Builder) -> Architecture:
        return Architecture(
            name=build.__name__,
            summary=summary,
            source=source,
            height_px=height_px,
            width_px=width_px,
            recipe=recipe,
            build=build,
            takes_weights=True,
            is_backbone=True,
        )

    return register


def names() -> list[str]:
    """The names of onesheet's own architectures, in alphabetical order."""
    return sorted(_own())


def find(name: str) -> Architecture:
    """The architecture of that name, or of `module:name`. Raises TrainingError that lists the known ones."""
    module, _, attribute = name.partition(":")
    if attribute:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise TrainingError(f"architecture {name} cannot be loaded: {error}") from error
        if not isinstance(found, Architecture):
            raise TrainingError(f"architecture {name}: put @whole_network or @backbone above the function")
        return found
    own = _own()
    if name not in own:
        raise TrainingError(f"no architecture {name!r}; there are {', '.join(sorted(own))}, and module:name of yours")
    return own[name]


def _own() -> dict[str, Architecture]:
    modules = [
        importlib.import_module(f"{architectures.__name__}.{module.name}")
        for module in pkgutil.iter_modules(architectures.__path__)
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Architecture)]
    return {architecture.name: architecture for architecture in found}
