"""MobileNetV2 (Sandler et al. 2018) as a backbone."""

from __future__ import annotations

from training.architecture import Backbone, BuildOptions, backbone
from training.recipe import Recipe
from training.weights import application


@backbone(
    summary="MobileNetV2, 2.3 M parameters: frozen, the fastest",
    source="Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    height_px=224,
    width_px=160,
    recipe=Recipe(epochs=40, batch_size=64, learning_rate=1e-3, dropout=0.8),
)
def mobilenet_v2(options: BuildOptions) -> Backbone:
    """keras.applications' MobileNetV2; its middle layer is the last one of a sixteenth of the image, expanded."""
    import keras  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    model = application("mobilenet_v2", keras.applications.MobileNetV2, options, input_tensor=scaled)
    stages = (
        "expanded_conv_project_BN",
        "block_2_add",
        "block_5_add",
        "block_9_add",
        "block_12_add",
        "block_15_add",
        "block_16_project_BN",
        "out_relu",
    )
    return Backbone(model, "block_13_expand_relu", stages)
