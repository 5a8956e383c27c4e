"""MobileNetV2 as a backbone (Sandler et al. 2018), frozen or fine-tuned, with one sigmoid a genre on top."""

from __future__ import annotations

from cluster.errors import TrainingError
from training.architecture import Architecture, BuildOptions, Network


def build(options: BuildOptions) -> Network:
    """The convolutional part, mean-pooled, then the head. With weights it is frozen unless `fine_tune` is set."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    base = keras.applications.MobileNetV2(
        input_shape=(options.height_px, options.width_px, 3),
        include_top=False,
        pooling="avg",
        weights="imagenet" if options.weights == "imagenet" else None,
    )
    if options.weights not in ("none", "imagenet"):
        try:
            base.load_weights(options.weights)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise TrainingError(f"weights {options.weights} do not fit MobileNetV2 without top: {reason}") from error
    is_frozen = options.weights != "none" and not options.fine_tune
    base.trainable = not is_frozen
    # Inference mode while frozen, so that BatchNorm keeps the statistics that came with the weights.
    pooled = base(layers.Rescaling(1 / 127.5, offset=-1)(image), training=False if is_frozen else None)
    backbone = keras.Model(image, pooled, name="backbone")

    features = keras.Input(backbone.output_shape[1:])
    x = layers.BatchNormalization(momentum=0.9)(features)
    x = layers.Dropout(0.8)(x)
    # Small first scores: without them the first steps unlearn what a fine-tuned backbone knows.
    initial = keras.initializers.RandomNormal(stddev=0.01)
    scores = layers.Dense(options.genres, activation="sigmoid", kernel_initializer=initial, dtype="float32")(x)
    head = keras.Model(features, scores, name="head")

    model = keras.Model(image, head(backbone(image)), name="mobilenet_v2")
    return Network(model, backbone, head) if is_frozen else Network(model)


ARCHITECTURE = Architecture(
    name="mobilenet_v2",
    summary="MobileNetV2 mean-pooled; with weights frozen or, with --fine-tune, trained too",
    source="Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    height_px=224,
    width_px=160,
    epochs=40,
    batch_size=64,
    learning_rate=1e-3,
    takes_weights=True,
    build=build,
)
