"""The bundle: what is written can be loaded, and nothing that was altered or runs code is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.bundle import (
    CARD_FILE,
    MODEL_FILE,
    README_FILE,
    BundleCard,
    BundleError,
    load_model,
    read_card,
    sha256_of,
    write_bundle,
)

CARD = BundleCard(
    version="v1",
    architecture="tiny",
    genres=("Comedy", "Drama", "Horror"),
    thresholds=(0.5, 0.4, 0.3),
    height_px=12,
    width_px=8,
    metrics={"macro_map": 0.31},
    prior_metrics={"macro_map": 0.1},
    lineage={"dataset_id": "d1", "epochs": 3},
)


def tiny_model(*, genres: int = 3, inner: Any = None) -> Any:
    import keras

    image = keras.Input((12, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    if inner is not None:
        features = inner(features)
    return keras.Model(image, keras.layers.Dense(genres, activation="sigmoid")(features))


def resealed(folder: Path, card: BundleCard) -> BundleCard:
    """The card as an attacker who can write the store would make it: its sha256 matches the altered file."""
    return card.model_copy(update={"files": {MODEL_FILE: sha256_of(folder / MODEL_FILE)}})


def test_a_written_bundle_loads_and_gives_the_same_scores(tmp_path: Path) -> None:
    model = tiny_model()
    card = write_bundle(tmp_path, model, CARD)
    read = read_card((tmp_path / CARD_FILE).read_bytes())
    assert read == card
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 3), np.uint8)
    np.testing.assert_allclose(load_model(tmp_path, read)(pixels), model(pixels), atol=1e-6)


def test_a_bundle_carries_its_model_card_sealed_like_the_model(tmp_path: Path) -> None:
    card = write_bundle(tmp_path, tiny_model(), CARD)
    assert {MODEL_FILE, README_FILE} < set(card.files)
    assert "macro mAP | 0.310" in (tmp_path / README_FILE).read_text(encoding="utf-8")
    (tmp_path / README_FILE).write_text("a better model", encoding="utf-8")
    with pytest.raises(BundleError, match=r"was altered: .*README\.md"):
        load_model(tmp_path, card)


def test_a_card_from_before_intervals_is_read() -> None:
    old = json.loads(CARD.model_dump_json(exclude={"intervals", "prior_intervals", "genre_metrics"}))
    assert read_card(json.dumps(old).encode()) == CARD


def test_a_tampered_model_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    card = write_bundle(tmp_path, tiny_model(), CARD)
    (tmp_path / MODEL_FILE).write_bytes(b"not a zip at all")
    with pytest.raises(BundleError, match=r"was altered: .*model\.keras does not match its sha256"):
        load_model(tmp_path, card)


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    card = write_bundle(tmp_path, tiny_model(), CARD)
    (tmp_path / MODEL_FILE).unlink()
    with pytest.raises(BundleError, match=r"incomplete: .*model\.keras is missing"):
        load_model(tmp_path, card)


def test_a_lambda_layer_is_refused_and_never_runs(tmp_path: Path) -> None:
    import keras

    trap = tmp_path / "trap"

    def spring(x: Any, path: str = str(trap)) -> Any:
        Path(path).write_text("the bundle ran code")
        return x

    card = write_bundle(tmp_path, tiny_model(inner=keras.layers.Lambda(spring)), CARD)
    trap.unlink()
    with pytest.raises(BundleError, match="Lambda layer, which would run code"):
        load_model(tmp_path, card)
    assert not trap.exists()


def test_a_class_outside_keras_is_refused(tmp_path: Path) -> None:
    import zipfile

    card = write_bundle(tmp_path, tiny_model(), CARD)
    path = tmp_path / MODEL_FILE
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Rescaling")
    layer |= {"class_name": "Popen", "module": "subprocess", "config": {"args": ["true"]}}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match="the model of bundle v1 is refused"):
        load_model(tmp_path, resealed(tmp_path, card))


def test_a_model_that_does_not_fit_its_card_is_refused_on_both_sides(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="its card names 3 genres"):
        write_bundle(tmp_path, tiny_model(genres=4), CARD)
    card = write_bundle(tmp_path, tiny_model(), CARD)
    with pytest.raises(BundleError, match=r"its card says \(20, 8, 3\)"):
        load_model(tmp_path, card.model_copy(update={"height_px": 20}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"thresholds": [0.5]}, "3 genres but 1 thresholds"),
        ({"thresholds": [0.5, 0.5, 1.5]}, r"thresholds\.2: .*less than or equal to 1"),
        ({"genres": ["Drama", "Drama", "War"]}, "a genre is named twice"),
        ({"version": "../production"}, "version: .*pattern"),
        ({"version": "latest"}, "version: "),
        ({"schema_version": 2}, "schema_version: "),
        ({"files": {"../../etc/passwd": "0" * 64}}, r"files\."),
        ({"surprise": 1}, "surprise: "),
    ],
)
def test_a_bad_card_is_refused_with_the_field_named(change: dict[str, Any], sentence: str) -> None:
    data = json.dumps(json.loads(CARD.model_dump_json()) | change).encode()
    with pytest.raises(BundleError, match=rf"bundle\.json cannot be read: .*{sentence}"):
        read_card(data)
