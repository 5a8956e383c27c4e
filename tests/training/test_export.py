"""The export: OpenVINO scores as Keras does, whatever networks of ours are made of, or there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training.bundle import BundleCard, load_model, read_card, write_bundle
from training.embedding import Embedder
from training.export import GRAPH_FILE, ExportError, export, probe
from training.runtimes import OpenVino

CARD = BundleCard(
    version="v1",
    architecture="tiny",
    genres=("Drama", "Horror", "Comedy"),
    thresholds=(0.5, 0.5, 0.5),
    height_px=48,
    width_px=32,
)


def network(*, resized: bool = True) -> Any:
    """Convolution, BatchNorm, an antialiased resize inside, the mean with the mirror image: what ours have."""
    keras.utils.set_random_seed(1)
    image = keras.Input((48, 32, 3))
    x = keras.ops.image.resize(image, (24, 20), interpolation="bilinear", antialias=True) if resized else image
    x = keras.layers.Conv2D(8, 3, 2, "same")(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    inner = keras.Model(image, keras.layers.Dense(3, activation="sigmoid", kernel_initializer="glorot_normal")(x))
    both = [inner(image), inner(keras.ops.flip(image, axis=2))]
    model = keras.Model(image, keras.layers.Average()(both))
    rng = np.random.default_rng(0)
    model.set_weights([weight + 0.3 * rng.random(weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("resized", [True, False])
def test_openvino_scores_as_keras_does(resized: bool, tmp_path: Path) -> None:
    model = network(resized=resized)
    export(model, tmp_path)
    rng = np.random.default_rng(2)
    posters = (rng.random((5, 48, 32, 3)) * rng.integers(1, 256, (5, 1, 1, 3))).astype(np.uint8)
    expected = model.predict(posters.astype(np.float32), verbose=0)
    assert expected.std() > 0.01, "scores that are all alike show nothing"
    runtime = OpenVino(tmp_path / GRAPH_FILE)
    features = Embedder(model)(posters)
    for some in (posters[:1], posters):
        np.testing.assert_allclose(runtime(some), expected[: len(some)], atol=1e-4)
        np.testing.assert_allclose(runtime.embed(some), features[: len(some)], atol=1e-3)


def test_a_bundle_has_the_export_and_keras_scores_of_the_probe(tmp_path: Path) -> None:
    write_bundle(tmp_path, network(), CARD)
    card = read_card((tmp_path / "bundle.json").read_bytes())
    assert set(card.files) == {"model.keras", "README.md", "model.xml", "model.bin"}
    keras_scores = np.asarray(load_model(tmp_path, card)(probe(48, 32).astype(np.float32)))
    np.testing.assert_allclose(card.probe_scores, keras_scores, atol=1e-5)


def test_a_model_that_openvino_scores_otherwise_has_no_export(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Its scores are NaN, which agree with nothing.
    model = network()
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    with pytest.raises(ExportError, match="apart from Keras's"):
        export(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
    card = write_bundle(tmp_path, model, CARD)
    assert set(card.files) == {"model.keras", "README.md"}
    assert card.probe_scores == ()
    assert "TensorFlow, which is slower, will serve v1" in caplog.text


def test_the_probe_is_the_same_for_ever() -> None:
    pictures = probe(24, 16)
    assert pictures.shape == (2, 24, 16, 3)
    assert pictures.dtype == np.uint8
    assert int(pictures.astype(np.int64).sum()) == 246573
