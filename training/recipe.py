"""The recipe: everything that says how a network is trained, besides the network and the posters.

An architecture brings its own; `onesheet train --set name=value` changes single fields, and a search draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cluster.errors import TrainingError

Augmentation = Literal["flip", "crop", "color", "rotate", "zoom", "shift", "shear", "randaugment", "mixup"]
# What needs no image: a frozen backbone's features are mixed like images.
FEATURE_AUGMENTATION: tuple[Augmentation, ...] = ("mixup",)
Pooling = Literal["mean", "max", "upper", "lower", "middle", "stages"]
# What of the last layer and of one in the middle is worth having, under one word.
RICH: tuple[Pooling, ...] = ("mean", "max", "upper", "lower", "middle")


class RecipeError(TrainingError):
    """A recipe that says something impossible."""


class Recipe(BaseModel):
    """How a network is trained; the defaults are nobody's in particular.

    batch_size: posters a step over all workers, or of each worker with `batch_is_per_worker`. accumulate_steps: steps
    whose gradients make one update. learning_rate_scaling: with the number of workers, not at all, linearly or by its
    square root. warmup_epochs: over which the rate rises from 0. layer_decay: each stage of a backbone below the top
    learns at this share of the rate of the stage above it. clip_norm: of all gradients together, 0 for none.

    loss: `weighted` weighs a genre's posters by how rare they are; `gamma` is the focusing of `focal` (Lin et al. 2017)
    and of the negatives of `asymmetric` (Ridnik et al. 2021), `margin` the latter's shift. ema: momentum of the average
    of the weights that is kept in their place, 0 for none. early_stopping: epochs without a better validation mAP after
    which a run ends, 0 for never.

    trainable: of a backbone, its `head` alone, `all`, or a number: so many of its last layers besides the head.
    pooling: what of a backbone's feature maps goes to the head: mean, max, the means of the upper and the lower half,
    the mean of a middle layer; `rich` is all of these. `stages` is mean, maximum and standard deviation of each stage
    below the last: edges, textures, lettering. mirror: the scores are the mean over the poster and its mirror
    image. heads: so many heads with starts and losses of their own, their scores averaged. augmentation: of images, or
    of a frozen backbone's features, which know `mixup` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=1)
    batch_is_per_worker: bool = False
    accumulate_steps: int = Field(default=1, ge=1)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    clip_norm: float = Field(default=0.0, ge=0)
    loss: Literal["binary_crossentropy", "weighted", "focal", "asymmetric"] = "binary_crossentropy"
    gamma: float = Field(default=2.0, ge=0)
    margin: float = Field(default=0.05, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augmentation: tuple[Augmentation, ...] = ()
    ema: float = Field(default=0.0, ge=0, lt=1)
    early_stopping: int = Field(default=0, ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    trainable: Literal["head", "all"] | int = "head"
    pooling: tuple[Pooling, ...] = ("mean",)
    hidden_units: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    l2: float = Field(default=0.0, ge=0)
    mirror: bool = False
    heads: int = Field(default=1, ge=1)

    @field_validator("augmentation", "pooling", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """Commas and `rich`, as they come from a command line."""
        if isinstance(value, str):
            words = [word.strip() for word in value.split(",") if word.strip()]
        elif isinstance(value, Sequence):
            words = list(value)
        else:
            return value
        return tuple(RICH) if words == ["rich"] else tuple(words)

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not isinstance(self.trainable, str) and self.trainable < 1:
            raise ValueError("trainable is head, all, or a number of layers of at least 1")
        if not self.pooling:
            raise ValueError(f"pooling names at least one of {', '.join(get_args(Pooling))}")
        return self

    def changed(self, changes: dict[str, Any]) -> Recipe:
        """The recipe with some fields replaced; values may be text. Raises RecipeError that names the bad field."""
        unknown = sorted(set(changes) - set(type(self).model_fields))
        if unknown:
            known = ", ".join(type(self).model_fields)
            raise RecipeError(f"a recipe has no {unknown[0]!r}; it has {known}")
        try:
            return Recipe.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            given = f" {changes[name]!r}" if name in changes else ""
            raise RecipeError(f"{name}{given}: {first['msg'].removeprefix('Value error, ')}".lstrip(": ")) from error


def settings_of(pairs: Sequence[str]) -> dict[str, str]:
    """`name=value` pairs of a command line as a dict. Raises RecipeError for one without a `=`."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise RecipeError(f"--set {pair}: write it as name=value, such as epochs=20")
        found[name.strip()] = value.strip()
    return found
