"""EfficientNet-Lite 0 to 4 as backbones: EfficientNet for CPUs and small devices.

Source: Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, in the variant of
Liu 2020, Higher accuracy on vision models with EfficientNet-Lite: no squeeze-and-excitation, ReLU6 in place of swish,
stem and top not scaled, nor the number of blocks of the first and the last stage. Not in keras.applications; the names
of the layers are those of the weights that there are.
"""

from __future__ import annotations

import math
from typing import Any

from cluster.errors import TrainingError
from training.architecture import Backbone, BuildOptions, backbone
from training.recipe import RICH, Recipe
from training.weights import load_weights

# Blocks, kernel, stride, expansion, filters: EfficientNet-B0's, table 1 of the paper.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_FILTERS, _TOP_FILTERS = 32, 1280
_SOURCE = "Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Lite)"
_RECIPE = Recipe(epochs=40, batch_size=64, learning_rate=1e-3, dropout=0.8, pooling=RICH)


@backbone(summary="EfficientNet-Lite0, 3.4 M parameters", source=_SOURCE, height_px=288, width_px=192, recipe=_RECIPE)
def efficientnet_lite0(options: BuildOptions) -> Backbone:
    """Width and depth as they are."""
    return _efficientnet_lite("efficientnet_lite0", options, width=1.0, depth=1.0)


@backbone(summary="EfficientNet-Lite1, 4.2 M parameters", source=_SOURCE, height_px=320, width_px=224, recipe=_RECIPE)
def efficientnet_lite1(options: BuildOptions) -> Backbone:
    """Width 1.0, depth 1.1."""
    return _efficientnet_lite("efficientnet_lite1", options, width=1.0, depth=1.1)


@backbone(
    summary="EfficientNet-Lite2, 4.8 M parameters: frozen, the best on posters so far",
    source=_SOURCE,
    height_px=384,
    width_px=256,
    recipe=_RECIPE,
)
def efficientnet_lite2(options: BuildOptions) -> Backbone:
    """Width 1.1, depth 1.2."""
    return _efficientnet_lite("efficientnet_lite2", options, width=1.1, depth=1.2)


@backbone(summary="EfficientNet-Lite3, 6.9 M parameters", source=_SOURCE, height_px=416, width_px=288, recipe=_RECIPE)
def efficientnet_lite3(options: BuildOptions) -> Backbone:
    """Width 1.2, depth 1.4."""
    return _efficientnet_lite("efficientnet_lite3", options, width=1.2, depth=1.4)


@backbone(summary="EfficientNet-Lite4, 11.7 M parameters", source=_SOURCE, height_px=448, width_px=304, recipe=_RECIPE)
def efficientnet_lite4(options: BuildOptions) -> Backbone:
    """Width 1.4, depth 1.8."""
    return _efficientnet_lite("efficientnet_lite4", options, width=1.4, depth=1.8)


def _efficientnet_lite(name: str, options: BuildOptions, *, width: float, depth: float) -> Backbone:
    """Its middle layer is the last one of a sixteenth of the image, expanded."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    if options.weights == "imagenet":
        raise TrainingError(f"keras.applications has no weights of {name}; give --weights FILE or none")
    image = keras.Input((options.height_px, options.width_px, 3), name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
    x = layers.Conv2D(_STEM_FILTERS, 3, 2, "same", use_bias=False, name="stem_conv")(x)
    x = _normalized(x, "stem")
    stages, middle, block = ["stem_relu"], "", 0
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES):
        is_scaled = stage not in (0, len(_STAGES) - 1)
        for repeat in range(math.ceil(repeats * depth) if is_scaled else repeats):
            if stage == 5 and repeat == 0:
                middle = f"block{block}_expand_relu"
            x = _block(x, f"block{block}", kernel, stride if repeat == 0 else 1, expansion, _scaled(filters, width))
            block += 1
        stages.append(x._keras_history.operation.name)
    x = layers.Conv2D(_TOP_FILTERS, 1, use_bias=False, name="top_conv")(x)
    x = _normalized(x, "top")
    model = keras.Model(image, x, name=name)
    load_weights(name, model, options)
    return Backbone(model, middle, (*stages, "top_relu"))


def _block(x: Any, name: str, kernel: int, stride: int, expansion: int, filters: int) -> Any:
    """An inverted residual (Sandler et al. 2018): expand, convolve each channel, project; add where shapes allow."""
    from keras import layers  # noqa: PLC0415

    channels = x.shape[-1]
    y = x
    if expansion != 1:
        y = layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand_conv")(y)
        y = _normalized(y, f"{name}_expand")
    y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_dwconv")(y)
    y = _normalized(y, f"{name}_dw")
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_bn")(y)
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and channels == filters else y


def _normalized(x: Any, name: str) -> Any:
    from keras import layers  # noqa: PLC0415

    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x)


def _scaled(filters: int, width: float) -> int:
    """A multiple of 8, and not more than a tenth below what the width asks for."""
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters * width else rounded
