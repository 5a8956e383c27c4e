"""EfficientNetV2-B0 (Tan and Le 2021) as a backbone."""

from __future__ import annotations

from training.architecture import Backbone, BuildOptions, backbone
from training.recipe import RICH, Recipe
from training.weights import application


@backbone(
    summary="EfficientNetV2-B0, 5.9 M parameters",
    source="Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training",
    height_px=288,
    width_px=192,
    recipe=Recipe(epochs=40, batch_size=64, learning_rate=1e-3, dropout=0.8, pooling=RICH),
)
def efficientnet_v2_b0(options: BuildOptions) -> Backbone:
    """keras.applications' EfficientNetV2B0; its middle layer is the last one of a sixteenth of the image, expanded."""
    import keras  # noqa: PLC0415

    model = application(
        "efficientnet_v2_b0",
        keras.applications.EfficientNetV2B0,
        options,
        input_shape=(options.height_px, options.width_px, 3),
    )
    stages = (
        "stem_activation",
        "block1a_project_activation",
        "block2b_add",
        "block3b_add",
        "block4c_add",
        "block5e_add",
        "block6h_add",
        "top_activation",
    )
    return Backbone(model, "block6a_expand_activation", stages)
