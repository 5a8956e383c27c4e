"""A model's vectors: the same of images and of kept features, before it is saved and after, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import settle
from training.architecture import names
from training.embedding import Embedder
from training.network import build_network
from training.parts import default_recipe

SIZE = {"height_px": 64, "width_px": 48}
# Blocks of colour, each poster of another brightness: to an untrained network, noise is all alike.
BLOCKS = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3)) * np.linspace(0.2, 1, 5).reshape(5, 1, 1, 1)
POSTERS = BLOCKS.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def network(expression: str, weights: Path | None = None, **changes: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    recipe = default_recipe(expression).changed(changes)
    return build_network(expression, genres=4, recipe=recipe, weights=str(weights) if weights else "none", **SIZE)


@pytest.mark.parametrize(
    ("changes", "parts_of_head"),
    [({"pooling": "mean,max"}, 2 * 1280), ({"heads": 2, "hidden_units": 8}, 2 * 8)],
)
def test_a_head_sees_in_kept_features_what_the_saved_model_sees_in_the_posters(
    weights_folder: Path, tmp_path: Path, changes: dict[str, Any], parts_of_head: int
) -> None:
    import keras

    built = network("mobilenet_v2@64x48", weights_folder, mirror=True, **changes)
    [trunk] = built.trunks
    kept = trunk.split(trunk.model(POSTERS.astype(np.float32), training=False).numpy())
    of_features = Embedder(built.trained)(np.concatenate([kept[pooling] for pooling in trunk.poolings], axis=1))
    built.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    of_posters = Embedder(loaded)(POSTERS)
    assert of_posters.dtype == np.float32
    assert of_posters.shape == (5, parts_of_head)
    assert of_features == pytest.approx(of_posters, abs=2e-3)
    assert np.ptp(of_posters, axis=0).max() > 0.1, "vectors that are all alike prove nothing"


def test_a_mirrored_network_reads_the_poster_and_its_mirror_image() -> None:
    plain, mirrored = (network("cnn_small", mirror=mirror) for mirror in (False, True))
    mirrored.trained.set_weights(plain.trained.get_weights())
    vectors = Embedder(plain.model)(POSTERS)
    of_both = Embedder(mirrored.model)(POSTERS)
    turned = Embedder(plain.model)(POSTERS[:, :, ::-1])
    assert of_both == pytest.approx(np.concatenate([vectors, turned], axis=1), abs=1e-4)


def test_a_head_without_dense_layers_reads_its_maps() -> None:
    import keras

    image = keras.Input((64, 48, 3))
    maps = keras.layers.Conv2D(7, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    scores = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(scores))
    expected = keras.Model(image, scores)(POSTERS.astype(np.float32)).numpy()
    assert Embedder(model)(POSTERS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.fault
@pytest.mark.parametrize("name", names())
def test_every_architecture_has_vectors_that_tell_posters_apart(name: str) -> None:
    # Four valid convolutions of 5x5 need so many pixels; the model enlarges what it is given.
    built = network(f"{name}@128x96")
    settle(built.model)
    vectors = Embedder(built.model)(POSTERS)
    assert vectors.shape[0] == len(POSTERS)
    assert 4 <= vectors.shape[1] <= 65_536
    assert np.isfinite(vectors).all()
    assert (vectors.std(axis=0) > 0).any()
