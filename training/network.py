"""From an architecture's name, or several joined, to the network that is trained and the model that is served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.errors import TrainingError
from training.architecture import Backbone, BuildOptions, Network, Trunk
from training.bundle import sha256_of
from training.heads import build_head
from training.parts import Part, default_recipe, input_size, parts_of, weights_files
from training.pooling import POOLINGS, FeatureMaps, joined, pooled
from training.recipe import FEATURE_AUGMENTATION, Pooling, Recipe


def build_network(
    expression: str,
    *,
    genres: int,
    recipe: Recipe,
    weights: str,
    height_px: int | None = None,
    width_px: int | None = None,
) -> Network:
    """Build a network, in the precision of Keras's dtype policy; its scores are float32 in any.

    A single part without a size of its own sees the input as it is; others see it resized. With weights and
    `trainable` head the backbones are frozen trunks, else one model is trained, of which BatchNorm stays as it came
    with the weights. Networks with a head of their own heed of the recipe `mirror` alone.
    Raises TrainingError for an expression, a size or weights that make no network.
    """
    parts = parts_of(expression)
    height, width = input_size(expression, height_px, width_px)
    if len(parts) == 1 and not parts[0].has_size:
        parts = (replace(parts[0], height_px=height, width_px=width),)
    files = weights_files(expression, weights)
    assembly = _Assembly(genres, recipe, weights, files, height, width)
    if not parts[0].architecture.is_backbone:
        return assembly.whole(parts[0])
    if weights != "none" and recipe.trainable == "head":
        if unseen := [name for name in recipe.augmentation if name not in FEATURE_AUGMENTATION]:
            raise TrainingError(
                f"augmentation {', '.join(unseen)} changes images, and of a frozen backbone the features are computed"
                " once: leave it out, or train more than the head (trainable=all)"
            )
        return assembly.on_trunks(parts)
    return assembly.in_one(parts)


@dataclass(frozen=True, slots=True)
class _Features:
    """A model from a network's input to pooled features, float32 [batch, F]; widths: how many each pooling has."""

    model: Any
    widths: dict[Pooling, int]


@dataclass(frozen=True, slots=True)
class _Assembly:
    genres: int
    recipe: Recipe
    weights: str
    files: dict[str, Path]
    height_px: int
    width_px: int

    def whole(self, part: Part) -> Network:
        """A network with its own head."""
        import keras  # noqa: PLC0415

        built = self._built(part)
        if (part.height_px, part.width_px) != (self.height_px, self.width_px):
            image = self._image()
            built = keras.Model(image, built(self._fitted(image, part)))
        return Network(self._mirrored(built), built)

    def on_trunks(self, parts: Sequence[Part]) -> Network:
        """A head on frozen backbones."""
        import keras  # noqa: PLC0415

        image, trunks, read = self._image(), [], []
        for part in parts:
            backbone = self._backbone(part)
            backbone.model.trainable = False
            every, some = self._features(part, backbone, POOLINGS, self.recipe.pooling)
            trunks.append(Trunk(self._key(part), self._mirrored(every.model), every.widths, self.recipe.pooling))
            read.append(self._mirrored(some.model)(image))
        features = joined(read)
        head, each = build_head(features.shape[-1], genres=self.genres, recipe=self.recipe)
        return Network(keras.Model(image, head(features)), head, tuple(trunks), each)

    def in_one(self, parts: Sequence[Part]) -> Network:
        """Backbones and head that are trained together."""
        import keras  # noqa: PLC0415

        image, read = self._image(), []
        rates: dict[str, float] = {}
        for part in parts:
            backbone = self._backbone(part)
            if self.weights != "none":
                _fine_tuned(backbone.model, self.recipe.trainable)
            rates |= _rates(backbone, self.recipe.layer_decay)
            [some] = self._features(part, backbone, self.recipe.pooling)
            read.append(some.model(image))
        features = joined(read)
        head, each = build_head(features.shape[-1], genres=self.genres, recipe=self.recipe)
        trained = keras.Model(image, head(features))
        each_head = keras.Model(image, each(features)) if each else None
        return Network(self._mirrored(trained), trained, each_head=each_head, rates=rates)

    def _backbone(self, part: Part) -> Backbone:
        backbone: Backbone = self._built(part)
        names = [layer.name for layer in backbone.model.layers]
        for name in (backbone.middle, *backbone.stages):
            if name not in names:
                raise TrainingError(f"architecture {part.name} has no layer {name!r}, which its Backbone names")
        return backbone

    def _features(self, part: Part, backbone: Backbone, *ways: Sequence[Pooling]) -> list[_Features]:
        """A part's features pooled in each of the ways, which share the backbone's pass; as trainable as it is."""
        import keras  # noqa: PLC0415

        model = backbone.model
        names = (backbone.middle, *backbone.stages[:-1])
        extractor = keras.Model(model.inputs, [model.output, *(model.get_layer(name).output for name in names)])
        image = self._image()
        top, middle, *stages = extractor(self._fitted(image, part))
        features = []
        for kinds in ways:
            found = pooled(FeatureMaps(top, middle, stages), kinds)
            read = keras.Model(image, joined(list(found.values())))
            read.trainable = model.trainable
            features.append(_Features(read, {kind: pooling.shape[-1] for kind, pooling in found.items()}))
        return features

    def _fitted(self, image: Any, part: Part) -> Any:
        """The image at a part's size, bilinear, smoothed where it is made smaller, as `training.preprocessing` does."""
        import keras  # noqa: PLC0415

        size = (part.height_px, part.width_px)
        if size == (self.height_px, self.width_px):
            return image
        # Not layers.Resizing: called without `training` it takes itself and all layers after it, dropout too, to be in
        # training.
        return keras.ops.image.resize(image, size, interpolation="bilinear", antialias=True)

    def _built(self, part: Part) -> Any:
        import keras  # noqa: PLC0415

        file = self.files.get(part.architecture.name)
        options = BuildOptions(
            genres=self.genres,
            height_px=part.height_px,
            width_px=part.width_px,
            weights=str(file) if file else self.weights,
        )
        try:
            # Paths of variables of their own, where parts have layers of the same name.
            with keras.name_scope(re.sub(r"\W", "_", part.label)):
                return part.architecture.build(options)
        except ValueError as error:
            reason = str(error).strip().partition("\n")[0]
            raise TrainingError(f"{part.name} cannot be built at {part.height_px}x{part.width_px}: {reason}") from error

    def _image(self) -> Any:
        import keras  # noqa: PLC0415

        return keras.Input((self.height_px, self.width_px, 3), name="image", dtype="float32")

    def _mirrored(self, model: Any) -> Any:
        """The mean of what a model says of an image and of its mirror image, where the recipe asks for it."""
        import keras  # noqa: PLC0415

        if not self.recipe.mirror:
            return model
        image = self._image()
        both = [model(image), model(keras.ops.flip(image, axis=2))]
        mirrored = keras.Model(image, keras.layers.Average(dtype="float32")(both))
        if not model.trainable:
            mirrored.trainable = False
        return mirrored

    def _key(self, part: Part) -> str:
        import keras  # noqa: PLC0415

        file = self.files.get(part.architecture.name)
        weights = sha256_of(file)[:12] if file else self.weights
        words = [part.label, f"in{self.height_px}x{self.width_px}", weights]
        precision = keras.config.dtype_policy().name
        if precision != "float32":
            words.append(precision)
        if self.recipe.mirror:
            words.append("mirror")
        return "-".join(words)


def _fine_tuned(model: Any, trainable: str | int) -> None:
    """Freeze all but the last so many layers, and BatchNorm everywhere.

    BatchNorm's statistics come from ImageNet's millions; those of a few small batches would undo the weights.
    """
    import keras  # noqa: PLC0415

    if not isinstance(trainable, str):
        for layer in model.layers[:-trainable]:
            layer.trainable = False

    def freeze(layers: Sequence[Any]) -> None:
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
            freeze(getattr(layer, "layers", ()))

    freeze(model.layers)


def _rates(backbone: Backbone, decay: float) -> dict[str, float]:
    """The share of the learning rate by variable path: `decay` for each stage above a variable's own; 1 is left out."""
    rates: dict[str, float] = {}
    above = len(backbone.stages) - 1
    for layer in backbone.model.layers:
        if decay != 1 and above > 0:
            rates |= {variable.path: decay**above for variable in layer.trainable_variables}
        if layer.name in backbone.stages:
            above -= 1
    return rates


def count_parameters(expression: str, *, genres: int) -> int:
    """How many parameters a network has for so many genres, with its own recipe; nothing is initialised for it."""
    import keras  # noqa: PLC0415

    def count() -> int:
        with keras.StatelessScope(initialize_variables=False):
            network = build_network(expression, genres=genres, recipe=default_recipe(expression), weights="none")
        return int(network.model.count_params())

    # Keras keeps, for each thread, the variables that it is to initialise later: those of this one are forgotten.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(count).result()
