"""MobileNetV3 (Howard et al. 2019), small and large, as backbones."""

from __future__ import annotations

from collections.abc import Sequence

from training.architecture import Backbone, BuildOptions, backbone
from training.recipe import RICH, Recipe
from training.weights import application

_SOURCE = "Howard et al. 2019, Searching for MobileNetV3"
_RECIPE = Recipe(epochs=40, batch_size=64, learning_rate=1e-3, dropout=0.8, pooling=RICH)


@backbone(summary="MobileNetV3-Small, 0.9 M parameters", source=_SOURCE, height_px=224, width_px=160, recipe=_RECIPE)
def mobilenet_v3_small(options: BuildOptions) -> Backbone:
    """keras.applications' MobileNetV3Small."""
    return _mobilenet_v3("Small", options, ends=("_project_bn", "_2_add", "_5_add", "_7_add"), last=8)


@backbone(summary="MobileNetV3-Large, 3.0 M parameters", source=_SOURCE, height_px=224, width_px=160, recipe=_RECIPE)
def mobilenet_v3_large(options: BuildOptions) -> Backbone:
    """keras.applications' MobileNetV3Large."""
    return _mobilenet_v3("Large", options, ends=("_add", "_2_add", "_5_add", "_9_add", "_11_add"), last=12)


def _mobilenet_v3(size: str, options: BuildOptions, *, ends: Sequence[str], last: int) -> Backbone:
    """ends: of the names of the blocks that end a stage. last: the first block of the last stage.

    The middle layer is that block's expansion, the widest that still has a sixteenth of the image.
    """
    import keras  # noqa: PLC0415

    model = application(
        f"mobilenet_v3_{size.lower()}",
        getattr(keras.applications, f"MobileNetV3{size}"),
        options,
        input_shape=(options.height_px, options.width_px, 3),
    )
    names = [layer.name for layer in model.layers]
    # Its activations have no names of their own.
    middle = names[names.index(f"expanded_conv_{last}_expand_bn") + 1]
    stages = (*(f"expanded_conv{end}" for end in ends), f"expanded_conv_{last + 2}_add", names[-1])
    return Backbone(model, middle, stages)
