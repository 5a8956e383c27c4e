"""Each augmentation inside a tf.data pipeline: what it changes, and what it must leave."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf

from training.augmentation import augment, augment_features
from training.recipe import Augmentation, Recipe

HEIGHT, WIDTH, BATCH, ROWS = 48, 32, 4, 12
NAMES = list(get_args(Augmentation))


def posters() -> np.ndarray[Any, Any]:
    """Dark at the top and bright at the bottom, red at the left and blue at the right."""
    down, right = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([40 + 3 * down + 50 * (right < 8), 40 + 3 * down, 40 + 3 * down + 50 * (right >= 24)], axis=-1)
    return np.repeat(image[None].astype(np.uint8), ROWS, axis=0)


def batches(images: Any = None, weights: Any = None) -> Any:
    labels = np.eye(ROWS, dtype=np.float32)
    weights = np.ones(ROWS, np.float32) if weights is None else weights
    return tf.data.Dataset.from_tensor_slices((posters() if images is None else images, labels, weights)).batch(BATCH)


def augmented(*names: str, source: Any = None, seed: int = 3) -> tuple[np.ndarray[Any, Any], ...]:
    """All augmented images, labels and weights."""
    recipe = Recipe().changed({"augmentation": names})
    changed = augment(source or batches(), recipe, height_px=HEIGHT, width_px=WIDTH, seed=seed)
    return tuple(np.concatenate(part) for part in zip(*changed.as_numpy_iterator(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_an_augmentation_changes_posters_within_their_range_and_keeps_them_upright(name: str):
    # Posters that differ, for mixup.
    source = batches(np.clip(posters() * np.linspace(0.6, 1.0, ROWS)[:, None, None, None], 0, 255).astype(np.uint8))
    images, labels, weights = augmented(name, source=source)
    before = np.concatenate([batch[0] for batch in source.as_numpy_iterator()])
    assert images.shape == (ROWS, HEIGHT, WIDTH, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    assert np.abs(images - before).max() > 1
    upper, lower = images[:, : HEIGHT // 2].mean(axis=(1, 2, 3)), images[:, HEIGHT // 2 :].mean(axis=(1, 2, 3))
    assert (upper < lower).all()
    np.testing.assert_array_equal(weights, 1)
    if name != "mixup":
        np.testing.assert_array_equal(labels, np.eye(ROWS))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_batches_and_another_seed_others(name: str):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (ROWS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    first, again, other = (augmented(name, source=batches(images), seed=seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_posters_of_a_batch_and_batches_of_a_run_are_augmented_differently():
    recipe = Recipe(augmentation=("crop",))
    changed = augment(batches(), recipe, height_px=HEIGHT, width_px=WIDTH, seed=1)
    two_epochs = np.concatenate([images for _ in range(2) for images, _, _ in changed.as_numpy_iterator()])
    assert len(np.unique(two_epochs.reshape(2 * ROWS, -1), axis=0)) == 2 * ROWS


def test_flip_mirrors_whole_posters_and_only_left_to_right():
    images, _, _ = augmented("flip")
    plain, mirrored = posters()[0], posters()[0][:, ::-1]
    kinds = [np.array_equal(image, plain) + 2 * np.array_equal(image, mirrored) for image in images]
    assert set(kinds) == {1, 2}


def test_mixup_mixes_labels_as_it_mixes_images():
    shades = np.linspace(0, 220, ROWS).astype(np.uint8)
    images, labels, _ = augmented(
        "mixup", source=batches(np.broadcast_to(shades[:, None, None, None], posters().shape))
    )
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), labels @ shades, atol=0.5)
    assert (labels.max(axis=1) < 0.999).any()
    assert (np.diag(labels) >= 0.5).all(), "at least half of each poster stays"


def test_mixup_takes_nothing_from_rows_that_only_fill_a_batch():
    weights = np.tile(np.array([1, 1, 0, 0], np.float32), ROWS // 4)
    for seed in range(4):
        _, labels, after = augmented("mixup", source=batches(weights=weights), seed=seed)
        np.testing.assert_array_equal(after, weights)
        assert (labels[weights > 0][:, weights == 0] == 0).all()


def test_features_of_a_poster_are_mixed_as_posters_are():
    weights = np.tile(np.array([1, 1, 1, 0], np.float32), ROWS // 4)
    numbers = np.arange(ROWS * 5, dtype=np.float32).reshape(ROWS, 5)
    source = batches(numbers, weights)
    mixed = augment_features(source, Recipe(augmentation=("mixup",)), seed=3)
    assert mixed.element_spec[0].shape[1:] == (5,)
    features, labels, after = (np.concatenate(part) for part in zip(*mixed.as_numpy_iterator(), strict=True))
    np.testing.assert_allclose(features, labels @ numbers, rtol=1e-5)
    np.testing.assert_array_equal(after, weights)
    assert (labels[weights > 0].max(axis=1) < 0.999).any()
    assert (labels[weights > 0][:, weights == 0] == 0).all()
    assert augment_features(source, Recipe(), seed=3) is source


def test_augmentations_go_one_after_the_other():
    images, labels, _ = augmented(*NAMES)
    assert images.shape == (ROWS, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)


def test_no_augmentation_hands_the_batches_on():
    source = batches()
    assert augment(source, Recipe(), height_px=HEIGHT, width_px=WIDTH, seed=0) is source
