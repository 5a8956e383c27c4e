"""ConvNeXt-Tiny (Liu et al. 2022) as a backbone."""

from __future__ import annotations

from training.architecture import Backbone, BuildOptions, backbone
from training.recipe import RICH, Recipe
from training.weights import application


@backbone(
    summary="ConvNeXt-Tiny, 27.8 M parameters: for machines with GPUs",
    source="Liu et al. 2022, A ConvNet for the 2020s",
    height_px=288,
    width_px=192,
    recipe=Recipe(epochs=40, batch_size=64, learning_rate=1e-3, dropout=0.8, pooling=RICH),
)
def convnext_tiny(options: BuildOptions) -> Backbone:
    """keras.applications' ConvNeXtTiny; its middle layer ends the third of its four stages."""
    import keras  # noqa: PLC0415

    model = application(
        "convnext_tiny",
        keras.applications.ConvNeXtTiny,
        options,
        input_shape=(options.height_px, options.width_px, 3),
    )
    names = [layer.name for layer in model.layers]
    # A stage ends where the image is made smaller; blocks add up in layers without names of their own.
    ends = [names[names.index(f"convnext_tiny_downsampling_block_{stage}") - 1] for stage in range(3)]
    return Backbone(model, ends[-1], (*ends, names[-1]))
