"""The architectures, layer by layer: their parameters, their weights, and one of a third party."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cluster.errors import TrainingError
from onesheet import app
from training.architecture import Architecture, BuildOptions, find, names
from training.network import build_network, count_parameters
from training.recipe import Recipe

TINY = {"height_px": 64, "width_px": 48}
# keras.applications' name, and the scaling that a plain network without top wants outside.
APPLICATIONS = {
    "mobilenet_v2": ("MobileNetV2", True),
    "mobilenet_v3_small": ("MobileNetV3Small", False),
    "mobilenet_v3_large": ("MobileNetV3Large", False),
    "efficientnet_v2_b0": ("EfficientNetV2B0", False),
    "convnext_tiny": ("ConvNeXtTiny", False),
}
BACKBONES = [name for name in names() if find(name).is_backbone]


def tiny(weights: Path | str = "none") -> BuildOptions:
    return BuildOptions(genres=3, height_px=64, width_px=48, weights=str(weights))


def posters(height_px: int, width_px: int, count: int = 2) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, height_px, width_px, 3)).astype("float32")


@pytest.mark.parametrize(
    ("name", "genres", "parameters"),
    [
        # 448 + 4,640 + 18,496 + 73,856 of convolutions, 4 x 240 of BatchNorm; 350 ends as 20x20x128 = 51,200, so
        # 6,553,728 + 512, then 16,512 + 512, then 128 x 25 + 25.
        ("cnn_4block_bn", 25, 6_672_889),
        # 896 + 9,248 + 18,496 + 36,928; 150x100 ends as 37x25x64 = 59,200, so 7,577,728; then 128 x 29 + 29.
        ("cnn_2x2_same", 29, 7_647_037),
        # 1,216 + 12,832 + 51,264 + 102,464; 200x150 ends as 8x5x64 = 2,560, so 327,808; then 8,256, then 64 x 28 + 28.
        ("cnn_5x5", 28, 505_660),
        # VGG16's 14,714,688; 200x150 ends as 6x4x512 = 12,288, so 12,583,936; then 1,024 x 28 + 28.
        ("vgg16_last4", 28, 27_327_324),
        # VGG19's 20,024,384; 512 x 128 + 128, then 128 x 25 + 25.
        ("vgg19_gap", 25, 20_093_273),
        # VGG16's 14,714,688; 7x7x512 = 25,088, so 102,764,544; then 16,781,312, then 4,096 x 25 + 25.
        ("chu_cnn", 25, 134_362_969),
    ],
)
def test_a_published_network_has_the_parameters_that_its_layers_give(name: str, genres: int, parameters: int):
    architecture = find(name)
    assert count_parameters(name, genres=genres) == parameters
    assert architecture.published_genres in (genres, None)
    assert architecture.published_parameters in (parameters, None)


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "optimizer", "learning_rate", "size"),
    [
        ("cnn_4block_bn", 5, 32, "adam", 1e-3, (350, 350)),
        ("cnn_2x2_same", 4, 16, "adam", 1e-3, (150, 100)),
        ("cnn_5x5", 30, 64, "adam", 1e-3, (200, 150)),
        ("vgg16_last4", 50, 64, "rmsprop", 1e-4, (200, 150)),
        ("vgg19_gap", 20, 32, "adam", 1e-3, (128, 128)),
    ],
)
def test_a_published_network_brings_its_recipe_and_its_input(
    name: str, epochs: int, batch_size: int, optimizer: str, learning_rate: float, size: tuple[int, int]
):
    architecture = find(name)
    recipe = architecture.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.learning_rate) == (
        epochs,
        batch_size,
        optimizer,
        learning_rate,
    )
    assert (architecture.height_px, architecture.width_px) == size
    assert set(recipe.augmentation) == (
        {"rotate", "zoom", "shift", "shear", "flip"} if name == "vgg16_last4" else set()
    )


def test_vgg16_keeps_what_it_knows_but_for_its_last_four_layers(tmp_path: Path):
    import keras

    weights = tmp_path / "vgg16_last4_no_top.weights.h5"
    plain = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 48, 3))
    plain.save_weights(weights)
    built = find("vgg16_last4").build(tiny(weights))
    learning = [layer.name for layer in built.layers if layer.trainable and layer.weights]
    assert learning[:-2] == ["block5_conv1", "block5_conv2", "block5_conv3"]
    loaded = built.get_layer("block5_conv3").get_weights()[0]
    np.testing.assert_array_equal(loaded, plain.get_layer("block5_conv3").get_weights()[0])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_has_the_layers_that_it_names_in_the_order_of_its_stages(name: str):
    import keras

    with keras.StatelessScope(initialize_variables=False):
        backbone = find(name).build(tiny())
    layers = [layer.name for layer in backbone.model.layers]
    places = [layers.index(stage) for stage in backbone.stages]
    assert places == sorted(places)
    assert places[-1] == len(layers) - 1
    # A 16th of the image's side, in the middle of the network's depth.
    assert backbone.model.get_layer(backbone.middle).output.shape[1:3] == (4, 3)
    assert backbone.model.output.shape[1:3] in ((2, 2), (2, 1))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.fault if name != "mobilenet_v2" else ()) for name in APPLICATIONS]
)
def test_a_plain_networks_weights_load_and_the_served_model_opens_alone(name: str, tmp_path: Path):
    import keras

    attribute, wants_scaled = APPLICATIONS[name]
    plain = getattr(keras.applications, attribute)(include_top=False, weights=None, input_shape=(64, 48, 3))
    plain.save_weights(tmp_path / f"{name}_no_top.weights.h5")
    images = posters(**TINY)
    maps = np.asarray(plain(images / 127.5 - 1 if wants_scaled else images, training=False))
    recipe = Recipe(pooling=("mean", "middle"))
    network = build_network(name, genres=3, recipe=recipe, weights=str(tmp_path), **TINY)
    features = np.asarray(network.trunks[0].model(images))
    np.testing.assert_allclose(features[:, : maps.shape[-1]], maps.mean(axis=(1, 2)), rtol=1e-3, atol=1e-4)

    network.model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(opened(images), network.model(images), rtol=1e-5, atol=1e-6)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert "training." not in archive.read("config.json").decode()


def test_efficientnet_lite_is_the_network_that_its_weights_are_for(real_data: Path):
    weights = real_data / "weights" / "efficientnet_lite2_no_top.weights.h5"
    reference = real_data / "weights" / "efficientnet_lite.py"
    if not weights.is_file() or not reference.is_file():
        pytest.skip(f"no EfficientNet-Lite weights in {weights.parent}")
    spec = importlib.util.spec_from_file_location("reference_lite", reference)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    expected = module.EfficientNetLite("lite2", weights=str(weights), input_shape=(96, 64, 3))
    built = find("efficientnet_lite2").build(BuildOptions(genres=3, height_px=96, width_px=64, weights=str(weights)))
    images = posters(96, 64)
    np.testing.assert_allclose(built.model(images, training=False), expected(images, training=False), atol=1e-5)
    assert [layer.name for layer in built.model.layers] == [layer.name for layer in expected.layers]


def test_weights_that_do_not_fit_are_said_in_one_sentence(tmp_path: Path):
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    options = tiny(tmp_path / "bad.weights.h5")
    for name in ("mobilenet_v2", "efficientnet_lite0", "vgg19_gap"):
        with pytest.raises(TrainingError, match=r"bad.weights.h5 do not fit .* without top: .+$"):
            find(name).build(options)
    find("efficientnet_lite0").build(tiny()).model.save_weights(tmp_path / "lite0.weights.h5")
    with pytest.raises(TrainingError, match="do not fit efficientnet_lite2 without top"):
        find("efficientnet_lite2").build(tiny(tmp_path / "lite0.weights.h5"))
    with pytest.raises(TrainingError, match="has no weights of efficientnet_lite2; give --weights FILE or none"):
        find("efficientnet_lite2").build(tiny("imagenet"))


THIRD_PARTY = """
from training.architecture import whole_network
from training.recipe import Recipe


@whole_network(summary="one layer", source="its author", height_px=40, width_px=32, recipe=Recipe(epochs=2))
def my_network(options):
    import keras

    image = keras.Input((options.height_px, options.width_px, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(options.genres, activation="sigmoid")(pooled))


def not_one(options):
    return None
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_architectures.py").write_text(THIRD_PARTY)
    monkeypatch.syspath_prepend(tmp_path)
    return "their_architectures:my_network"


def test_a_third_party_adds_an_architecture_in_one_file_with_one_function(third_party: str):
    assert isinstance(find(third_party), Architecture)
    network = build_network(third_party, genres=4, recipe=Recipe(), weights="none")
    assert network.model(posters(40, 32)).shape == (2, 4)
    assert network.trained is network.model
    with pytest.raises(TrainingError, match="put @whole_network or @backbone above the function"):
        find("their_architectures:not_one")
    with pytest.raises(TrainingError, match="cannot be loaded: "):
        find("no_such_module:network")


def shown(*words: str, store: Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["architectures", *words, "--store", str(store), "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return found


def test_one_architecture_is_shown_with_its_recipe_and_its_parameters(third_party: str, tmp_path: Path):
    published = shown("cnn_5x5", store=tmp_path / "store")
    assert (published["parameters"], published["published_parameters"]) == (505_465, 505_660)
    assert (published["genres"], published["published_genres"]) == (25, 28)
    assert published["recipe"] == find("cnn_5x5").recipe.model_dump(mode="json")
    assert shown(third_party, store=tmp_path / "store")["parameters"] == 3 * 25 + 25


@pytest.mark.slow
def test_all_architectures_are_listed_for_a_datasets_genres(dataset: tuple[Any, Any]):
    store, card = dataset
    found = shown(store=Path(store.url))
    assert found["genres"] == len(card.genres)
    rows = {row["name"]: row for row in found["architectures"]}
    assert list(rows) == names()
    assert rows["cnn_5x5"]["parameters"] == 505_660 + 65 * (len(card.genres) - 28)
    assert rows["vgg16_last4"]["takes_weights"]
    assert all(row["source"] and row["height_px"] >= row["width_px"] for row in rows.values())
