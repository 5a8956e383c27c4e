"""The published networks on VGG (Simonyan and Zisserman 2015) with a head of their own, faithful to the layer.

Their images are scaled to [0, 1], as they were published, not to what VGG saw on ImageNet. Without weights nothing is
frozen: convolutions that nobody trained are no features.
"""

from __future__ import annotations

from typing import Any

from training.architecture import BuildOptions, whole_network
from training.recipe import Recipe
from training.weights import application


@whole_network(
    summary="VGG16, all but its last 4 layers frozen, one dense layer of 1024",
    source="Misra, github.com/d-misra/Multi-label-movie-poster-genre-classification, Train-2",
    height_px=200,
    width_px=150,
    recipe=Recipe(
        epochs=50,
        batch_size=64,
        optimizer="rmsprop",
        learning_rate=1e-4,
        augmentation=("rotate", "zoom", "shift", "shear", "flip"),
    ),
    takes_weights=True,
    genres=28,
)
def vgg16_last4(options: BuildOptions) -> Any:
    """VGG16 without top, of which with weights the last 4 layers learn; Flatten; Dense 1024 with Dropout."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image, vgg = _vgg("VGG16", options)
    if options.weights != "none":
        for layer in vgg.layers[:-4]:
            layer.trainable = False
    x = layers.Flatten()(vgg.output)
    x = layers.Dense(1024, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    scores = layers.Dense(options.genres, activation="sigmoid", dtype="float32")(x)
    return keras.Model(image, scores)


@whole_network(
    summary="VGG19, global average pooling, one dense layer of 128",
    source="no paper, a network for posters at 128x128 with 25 genres",
    height_px=128,
    width_px=128,
    recipe=Recipe(epochs=20, batch_size=32, optimizer="adam", learning_rate=1e-3),
    takes_weights=True,
    genres=25,
)
def vgg19_gap(options: BuildOptions) -> Any:
    """VGG19 without top, global average pooling, Dense 128 with Dropout; L2 on the sigmoids.

    The source names no layer that is frozen, so all learn.
    """
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image, vgg = _vgg("VGG19", options)
    x = layers.GlobalAveragePooling2D()(vgg.output)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    scores = layers.Dense(
        options.genres, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(0.005), dtype="float32"
    )(x)
    return keras.Model(image, scores)


@whole_network(
    summary="a pretrained network fine-tuned on posters, here VGG16 with its two dense layers of 4096",
    source="Chu and Guo 2017, Movie Genre Classification based on Poster Images with Deep Neural Networks",
    height_px=224,
    width_px=224,
    recipe=Recipe(epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-4),
    takes_weights=True,
)
def chu_cnn(options: BuildOptions) -> Any:
    """The visual half of the network of Chu and Guo 2017, as far as its abstract specifies it.

    The abstract says: a pretrained convolutional network, fine-tuned on posters, gives the visual representation; what
    a detector finds is joined to it; the output is multi-label. The detector's half is left out here, since it is
    another network with labels of its own. Assumed, for want of the paper's text: that the network is VGG16 with its
    224x224 input and two dense layers of 4096 (Simonyan and Zisserman 2015), that all of it learns, and the recipe.
    """
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    image, vgg = _vgg("VGG16", options)
    x = layers.Flatten()(vgg.output)
    for _ in range(2):
        x = layers.Dense(4096, activation="relu")(x)
        x = layers.Dropout(0.5)(x)
    scores = layers.Dense(options.genres, activation="sigmoid", dtype="float32")(x)
    return keras.Model(image, scores)


def _vgg(name: str, options: BuildOptions) -> tuple[Any, Any]:
    """The image and, on top of it scaled to [0, 1], the layers of VGG16 or VGG19 without top."""
    import keras  # noqa: PLC0415

    image = keras.Input((options.height_px, options.width_px, 3))
    scaled = keras.layers.Rescaling(1 / 255)(image)
    return image, application(name, getattr(keras.applications, name), options, input_tensor=scaled)
