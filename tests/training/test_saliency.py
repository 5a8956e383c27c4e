"""Heat maps: where a network's answer hangs on one corner by construction, the heat is in that corner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cluster.errors import TrainingError
from training.saliency import HeatMaps, heat_map

HEIGHT, WIDTH = 48, 32
POSTER = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def backbone(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((height, width, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(8, 3, strides=2, padding="same"),
            keras.layers.ReLU(),
        ]
    )


def corner_head(maps: Any, corner: str) -> Any:
    """A head of one genre that reads the 3 x 3 places of one corner, and flattens like the published networks."""
    import keras

    rows, columns = maps.shape[1:3]
    reads = np.zeros(maps.shape[1:], np.float32)
    reads[slice(3) if "upper" in corner else slice(rows - 3, rows)] = 1
    across = np.zeros_like(reads)
    across[:, slice(3) if "left" in corner else slice(columns - 3, columns)] = 1
    dense = keras.layers.Dense(1, activation="sigmoid")
    scores = dense(keras.layers.Flatten()(maps))
    dense.set_weights([(reads * across).reshape(-1, 1), np.zeros(1, np.float32)])
    return scores


def heat_in(corner: str, heat: Any) -> float:
    """The share of the heat in a quarter of the poster."""
    assert heat.shape == (HEIGHT, WIDTH)
    assert heat.dtype == np.float32
    assert (float(heat.min()), float(heat.max())) == (0, 1)
    rows = slice(HEIGHT // 2) if "upper" in corner else slice(HEIGHT // 2, HEIGHT)
    columns = slice(WIDTH // 2) if "left" in corner else slice(WIDTH // 2, WIDTH)
    return float(heat[rows, columns].sum() / heat.sum())


@pytest.mark.parametrize("corner", ["upper left", "lower right"])
@pytest.mark.parametrize("kind", ["plain", "nested"])
def test_the_heat_is_in_the_corner_that_the_answer_hangs_on(kind: str, corner: str) -> None:
    import keras

    image = keras.Input((HEIGHT, WIDTH, 3))
    features = image
    if kind == "nested":
        features = backbone()(image)
    else:
        for layer in backbone().layers:
            features = layer(features)
    model = keras.Model(image, corner_head(features, corner))
    assert heat_in(corner, heat_map(model, POSTER, 0)) > 0.95


def test_backbones_of_several_sizes_over_the_poster_and_its_mirror_agree_on_the_corner() -> None:
    """The left corner of the poster is the right one of its mirror image: each head reads what shows the same place."""
    import keras

    image = keras.Input((HEIGHT, WIDTH, 3))
    small, large = backbone(40, 32, seed=1), backbone(96, 64, seed=2)
    scores = []
    for trunk, size in ((small, (40, 32)), (large, (96, 64))):
        resized = keras.layers.Resizing(*size)(image)
        scores.append(corner_head(trunk(resized), "upper left"))
        scores.append(corner_head(trunk(keras.ops.flip(resized, axis=2)), "upper right"))
    inner = keras.Model(image, keras.layers.Average()(scores))
    outer = keras.Input((HEIGHT, WIDTH, 3))
    maps = HeatMaps(keras.Model(outer, inner(outer)))
    assert heat_in("upper left", maps(POSTER[None], [0])[0]) > 0.9
    assert sorted(maps._mirrored or []) == [False, False, True, True]


def test_a_genre_of_several_gets_its_own_map_and_a_batch_gives_each_poster_its_own() -> None:
    import keras

    image = keras.Input((HEIGHT, WIDTH, 3))
    features = backbone()(image)
    corners = ["upper left", "lower right"]
    model = keras.Model(image, keras.layers.Concatenate()([corner_head(features, corner) for corner in corners]))
    maps = HeatMaps(model)
    posters = np.stack([POSTER, 255 - POSTER] * 5)
    found = maps(posters, [0, 1] * 5)
    np.testing.assert_allclose(found[1], heat_map(model, posters[1], 1), atol=1e-5)
    for place, corner in enumerate(corners * 5):
        assert heat_in(corner, found[place]) > 0.95


def test_poolings_beside_each_other_share_the_last_maps() -> None:
    """Mean, max and halves, and a layer in the middle, as onesheet's head pools them."""
    import keras

    image = keras.Input((HEIGHT, WIDTH, 3))
    trunk = backbone()
    both = keras.Model(trunk.inputs, [trunk.layers[1].output, trunk.layers[-1].output])
    middle, last = both(image)
    pooled = [
        keras.layers.GlobalAveragePooling2D()(last),
        keras.layers.GlobalMaxPooling2D()(last),
        keras.ops.mean(last[:, : last.shape[1] // 2], axis=(1, 2)),
        keras.layers.GlobalAveragePooling2D()(middle),
    ]
    model = keras.Model(image, keras.layers.Dense(2, activation="sigmoid")(keras.layers.Concatenate()(pooled)))
    maps = HeatMaps(model)
    assert maps(POSTER[None], [1]).shape == (1, HEIGHT, WIDTH)
    assert maps._mirrored == [False]


def test_a_network_without_convolutions_shows_the_pixels_that_count() -> None:
    import keras

    image = keras.Input((HEIGHT, WIDTH, 3))
    color = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(3, activation="sigmoid")
    model = keras.Model(image, dense(color))
    dense.set_weights([8 * np.eye(3, dtype=np.float32), np.full(3, -4, np.float32)])
    poster = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    poster[: HEIGHT // 2, : WIDTH // 2, 0] = 255
    assert heat_in("upper left", heat_map(model, poster, 0)) > 0.95
    assert not heat_map(model, poster, 2).any()


def test_a_poster_of_another_size_is_refused_in_words() -> None:
    import keras

    model = keras.Sequential([backbone(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
    with pytest.raises(TrainingError, match=r"input \(48, 32, 3\), not \(32, 48, 3\)"):
        heat_map(model, POSTER.transpose(1, 0, 2), 0)
