"""Augmentation of a worker's batches by Keras's own layers, in ways that leave a poster a poster.

Nothing turns a poster upside down, and all of it stays small: a title at the edge is a sign of a genre too.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from training.recipe import Augmentation, Recipe

# The smallest share of a poster's height and width that `crop` leaves.
SMALLEST_CROP = 0.7


def augment(batches: Any, recipe: Recipe, *, height_px: int, width_px: int, seed: int) -> Any:
    """The batches with the recipe's augmentations, one after the other as it names them; mixup is always the last.

    batches: a tf.data.Dataset of (uint8 [batch, height_px, width_px, 3], float32 labels [batch, genres], float32
    weights [batch]). Yields the same with float32 images, from 0 to 255 as before, and labels mixed by mixup. The same
    seed gives the same batches; batches are augmented one after the other, each on all threads.
    """
    names = list(dict.fromkeys(recipe.augmentation))
    if not names:
        return batches
    steps = [_layer(name, height_px=height_px, width_px=width_px, seed=seed + at) for at, name in enumerate(names)]
    mixup = _mixup(seed + len(names)) if "mixup" in names else None

    def change(images: Any, labels: Any, weights: Any) -> Any:
        images = tf.cast(images, tf.float32)
        for step in steps:
            images = step(images, training=True) if step else images
        if mixup:
            images, labels = _mix(mixup, images, labels, weights)
        images = tf.ensure_shape(tf.clip_by_value(images, 0.0, 255.0), (None, height_px, width_px, 3))
        return images, labels, weights

    # One call at a time: the layers draw from a generator each, and the order of the draws is the order of the batches.
    return batches.map(change, num_parallel_calls=1, deterministic=True).prefetch(tf.data.AUTOTUNE)


def augment_features(batches: Any, recipe: Recipe, *, seed: int) -> Any:
    """As `augment`, of what frozen backbones see in the posters: float32 [batch, F] in place of images, mixup alone."""
    if "mixup" not in recipe.augmentation:
        return batches
    mixup = _mixup(seed)

    def change(features: Any, labels: Any, weights: Any) -> Any:
        # Keras's layer mixes images alone: these have one pixel.
        pixels, labels = _mix(mixup, features[:, None, None, :], labels, weights)
        return tf.ensure_shape(pixels[:, 0, 0, :], features.shape), labels, weights

    return batches.map(change, num_parallel_calls=1, deterministic=True)


def _mixup(seed: int) -> Any:
    return keras.layers.MixUp(alpha=0.2, seed=seed)


def _layer(name: Augmentation, *, height_px: int, width_px: int, seed: int) -> Any:
    layers = keras.layers
    # Keras's own choice, to reflect, writes the titles at the edge a second time, upside down.
    edges = {"fill_mode": "nearest", "seed": seed}
    if name == "flip":
        return layers.RandomFlip("horizontal", seed=seed)
    if name == "crop":
        return RandomResizedCrop(height_px, width_px, seed=seed)
    if name == "color":
        return layers.RandomColorJitter(
            value_range=(0, 255),
            brightness_factor=0.2,
            contrast_factor=0.2,
            saturation_factor=(0.3, 0.7),
            hue_factor=0.05,
            seed=seed,
        )
    if name == "rotate":
        return layers.RandomRotation(10 / 360, **edges)
    if name == "zoom":
        return layers.RandomZoom(0.2, **edges)
    if name == "shift":
        return layers.RandomTranslation(0.1, 0.1, **edges)
    if name == "shear":
        return layers.RandomShear(0.1, 0.1, **edges)
    if name == "randaugment":
        return RandomAugment(seed=seed)
    return None


class RandomAugment:
    """RandAugment, Cubuk et al. 2020: two operations a batch, drawn from Keras's layers, each at a mild strength.

    Not keras.layers.RandAugment: it gives one factor to all, which for rotation is a share of a whole turn (at its
    default of 0.5 posters stand on their heads), which makes posterization the harsher the smaller it is, and at which
    solarization gives negatives; and it computes all eleven operations for each that it uses.
    """

    def __init__(self, *, seed: int) -> None:
        layers = keras.layers
        edges = {"fill_mode": "nearest", "seed": seed}
        pixels = {"value_range": (0, 255), "seed": seed}
        self._operations = [
            layers.RandomShear(0.1, 0.1, **edges),
            layers.RandomTranslation(0.1, 0.1, **edges),
            layers.RandomRotation(15 / 360, **edges),
            layers.RandomBrightness(0.2, **pixels),
            layers.RandomColorDegeneration(0.5, **pixels),
            layers.RandomContrast(0.3, **pixels),
            layers.RandomSharpness(0.5, **pixels),
            layers.RandomPosterization((4, 8), **pixels),
            layers.AutoContrast(value_range=(0, 255)),
            layers.Equalization(value_range=(0, 255)),
        ]
        self._random = tf.random.Generator.from_seed(seed)

    def __call__(self, images: Any, training: bool = True) -> Any:
        for _ in range(2):
            drawn = self._random.uniform((), 0, len(self._operations), dtype=tf.int32)
            images = tf.switch_case(drawn, [functools.partial(self._apply, op, images) for op in self._operations])
        return images

    @staticmethod
    def _apply(operation: Any, images: Any) -> Any:
        return tf.ensure_shape(tf.cast(operation(images, training=True), tf.float32), images.shape)


class RandomResizedCrop:
    """Crops each poster to a part of its own and scales it back up; Keras 3.15 has no layer that does.

    The part is 0.7 to 1 of the height and as much of the width up to a tenth more or less, so letters keep their shape.
    """

    def __init__(self, height_px: int, width_px: int, *, seed: int) -> None:
        self._size = (height_px, width_px)
        self._random = tf.random.Generator.from_seed(seed)

    def __call__(self, images: Any, training: bool = True) -> Any:
        count = tf.shape(images)[0]
        height = self._random.uniform((count,), SMALLEST_CROP, 1.0)
        width = tf.clip_by_value(height * self._random.uniform((count,), 0.9, 1.1), SMALLEST_CROP, 1.0)
        top = self._random.uniform((count,)) * (1 - height)
        left = self._random.uniform((count,)) * (1 - width)
        boxes = tf.stack([top, left, top + height, left + width], axis=1)
        return tf.image.crop_and_resize(images, boxes, tf.range(count), self._size)


def _mix(mixup: Any, images: Any, labels: Any, weights: Any) -> tuple[Any, Any]:
    """Mixup, Zhang et al. 2018; a row of weight 0 only fills the batch, and is mixed into no other.

    Each row keeps at least half of itself: the same pairs otherwise, but in half of them a row would stand for its
    partner, and the rows of an epoch would be a draw with replacement. On frozen features that costs 0.005 of mAP.
    """
    data = {"images": images, "labels": labels}
    mixup.backend.set_backend("tensorflow")
    try:
        drawn = mixup.get_random_transformation(data)
        counts = tf.gather(weights, drawn["permutation_order"]) > 0
        own = tf.maximum(drawn["mix_weight"], 1 - drawn["mix_weight"])
        drawn["mix_weight"] = tf.where(counts, own, tf.ones_like(own))
        return mixup.transform_images(images, drawn), mixup.transform_labels(labels, drawn)
    finally:
        mixup.backend.reset()
