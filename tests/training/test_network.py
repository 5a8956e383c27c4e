"""Networks put together of parts: what is trained, what is served, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cluster.errors import TrainingError
from training.architecture import BuildOptions, Network, find
from training.network import build_network, count_parameters
from training.parts import default_recipe, input_size, parts_of, weights_files
from training.pooling import POOLINGS, FeatureMaps, joined, pooled
from training.preprocessing import to_pixels
from training.recipe import RICH, Recipe

BACKBONE = """
from training.architecture import Backbone, BuildOptions, backbone
from training.recipe import Recipe
from training.weights import load_weights


@backbone(summary="three layers", source="these tests", height_px=64, width_px=48, recipe=Recipe(epochs=3))
def small(options: BuildOptions) -> Backbone:
    import keras
    from keras import layers

    image = keras.Input((options.height_px, options.width_px, 3))
    x = layers.Rescaling(1 / 255)(image)
    for stage in range(3):
        x = layers.Conv2D(4, 3, 2, "same", name=f"conv{stage}")(x)
        x = layers.BatchNormalization(name=f"bn{stage}")(x)
        x = layers.ReLU(name=f"relu{stage}")(x)
    model = keras.Model(image, x)
    load_weights("small", model, options)
    return Backbone(model, "relu1", ("relu0", "relu1", "relu2"))


@backbone(summary="wrong", source="these tests", height_px=64, width_px=48, recipe=Recipe())
def wrong(options: BuildOptions) -> Backbone:
    return Backbone(small.build(options).model, "relu7", ("relu2",))
"""
SMALL = "backbones_of_tests:small"
TWO = f"{SMALL}@64x48+{SMALL}@96x64"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the weights of `small`, which lies on the path of modules meanwhile."""
    folder = tmp_path_factory.mktemp("backbones")
    (folder / "backbones_of_tests.py").write_text(BACKBONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import keras

        keras.utils.set_random_seed(1)
        built = find(SMALL).build(BuildOptions(genres=3, height_px=64, width_px=48)).model
        # Statistics that differ from those of a fresh BatchNorm.
        built.set_weights([np.abs(value) + 0.1 if value.ndim == 1 else value for value in built.get_weights()])
        built.save_weights(folder / "small_no_top.weights.h5")
        yield folder


def posters(height_px: int = 96, width_px: int = 64, count: int = 4) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, height_px, width_px, 3)).astype("uint8")


def built(expression: str, weights: Path | str, **recipe: Any) -> Network:
    return build_network(expression, genres=3, recipe=Recipe(**recipe), weights=str(weights))


def paths(model: Any) -> set[str]:
    return {variable.path for variable in model.trainable_variables}


def test_an_expression_names_parts_and_their_sizes():
    (part,) = parts_of("mobilenet_v2")
    assert (part.architecture.name, part.height_px, part.width_px) == ("mobilenet_v2", 224, 160)
    parts = parts_of("efficientnet_lite2@544x368 + efficientnet_lite2@384x256+mobilenet_v2@448x320")
    assert [part.label for part in parts] == [
        "efficientnet_lite2@544x368",
        "efficientnet_lite2@384x256",
        "mobilenet_v2@448x320",
    ]
    assert input_size("mobilenet_v2@448x320+efficientnet_lite2@544x368") == (544, 368)
    assert input_size("mobilenet_v2+efficientnet_lite2", height_px=300, width_px=200) == (300, 200)
    assert default_recipe("efficientnet_lite2+mobilenet_v2").pooling == RICH


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("resnet", "no architecture 'resnet'; there are chu_cnn"),
        ("", "a name is missing"),
        ("mobilenet_v2+", "a name is missing"),
        ("mobilenet_v2@448", "'448' is no size; write HEIGHTxWIDTH"),
        ("mobilenet_v2@16x16", "16x16 is too small; give at least 32 px a side"),
        ("mobilenet_v2+mobilenet_v2@224x160", "mobilenet_v2@224x160 is there twice"),
        ("mobilenet_v2+cnn_5x5", "cnn_5x5 has a head of its own; only backbones can be joined"),
    ],
)
def test_an_expression_that_says_nothing_is_refused_with_a_reason(expression: str, sentence: str):
    with pytest.raises(TrainingError) as error:
        parts_of(expression)
    assert sentence in str(error.value)


def test_weights_are_found_by_architecture(tmp_path: Path):
    file = tmp_path / "mobilenet_v2_no_top.weights.h5"
    file.touch()
    assert weights_files("mobilenet_v2@448x320+mobilenet_v2", str(file)) == {"mobilenet_v2": file}
    assert weights_files("mobilenet_v2", str(tmp_path)) == {"mobilenet_v2": file}
    assert weights_files("mobilenet_v2+efficientnet_lite2", "imagenet") == {}
    assert weights_files("cnn_5x5", "none") == {}
    for expression, weights, sentence in (
        ("mobilenet_v2+efficientnet_lite2", tmp_path, "efficientnet_lite2_no_top.weights.h5 is missing"),
        ("mobilenet_v2+efficientnet_lite2", file, "mobilenet_v2 and efficientnet_lite2 need a file each"),
        ("mobilenet_v2", tmp_path / "nope.h5", "nope.h5 is missing; give a .weights.h5 file"),
        ("cnn_5x5", file, "cnn_5x5 is trained from scratch and takes no --weights"),
    ):
        with pytest.raises(TrainingError) as error:
            weights_files(expression, str(weights))
        assert sentence in str(error.value)


def test_frozen_trunks_of_two_sizes_are_served_as_one_model_that_opens_alone(weights: Path, tmp_path: Path):
    import keras

    network = built(TWO, weights, pooling=RICH, mirror=True, heads=2, hidden_units=5, l2=0.1)
    images = posters()
    scores = network.model(images)
    assert (scores.shape, scores.dtype) == ((4, 3), "float32")
    # mean, max, upper, lower of 4 channels and 4 of the middle, twice.
    split = [trunk.split(trunk.model(images)) for trunk in network.trunks]
    features = np.concatenate([parts[pooling] for parts in split for pooling in RICH], axis=1)
    assert features.shape == (4, 40)
    np.testing.assert_allclose(network.trained(features), scores, atol=1e-6)
    np.testing.assert_allclose(network.model(images[:, :, ::-1]), scores, atol=1e-6)

    network.model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(opened(images), scores, atol=1e-6)


def test_of_frozen_trunks_only_the_head_learns_and_batchnorm_keeps_its_statistics(weights: Path):
    network = built(TWO, weights)
    assert paths(network.model) == paths(network.trained)
    assert network.model.trainable_variables
    before = [value.numpy() for value in network.trunks[0].model.variables]
    as_trained = network.trunks[0].model(posters(), training=True)
    np.testing.assert_array_equal(as_trained, network.trunks[0].model(posters(), training=False))
    for value, old in zip(network.trunks[0].model.variables, before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_a_trunks_key_names_all_that_its_features_come_from(weights: Path, tmp_path: Path):
    def key(expression: str = f"{SMALL}@64x48", folder: Path = weights, **recipe: Any) -> str:
        return built(expression, folder, **recipe).trunks[0].key

    assert key() == key(dropout=0.1, heads=3) == key(pooling=("mean", "max"))
    assert key(mirror=True).startswith("backbones_of_tests.small@64x48-in64x48-")
    other = find(SMALL).build(BuildOptions(genres=3, height_px=64, width_px=48)).model
    other.save_weights(tmp_path / "small_no_top.weights.h5")
    keys = [key(), key(f"{SMALL}@64x64"), key(TWO), key(mirror=True), key(folder=tmp_path)]
    assert len(set(keys)) == len(keys)
    assert all(set("/: ").isdisjoint(each) for each in keys)


def test_without_weights_everything_learns(weights: Path):
    network = built(SMALL, "none", trainable="head")
    assert not network.trunks
    assert network.trained is network.model
    assert len(paths(network.trained)) == 3 * 4 + 4


def test_fine_tuning_leaves_batchnorm_as_it_came(weights: Path):
    network = built(SMALL, weights, trainable="all", mirror=True)
    learning = paths(network.trained)
    assert {path.partition("/")[2] for path in learning if "small" in path} == {
        f"conv{stage}/{kind}" for stage in range(3) for kind in ("kernel", "bias")
    }
    assert network.model is not network.trained
    network.trained.compile(optimizer="sgd", loss="binary_crossentropy")
    statistics = [value.numpy() for value in network.trained.variables if "bn" in value.path]
    kernel = next(value for value in network.trained.variables if value.path.endswith("conv0/kernel"))
    before = kernel.numpy()
    network.trained.train_on_batch(posters(64, 48), np.eye(4, 3, dtype="float32"))
    assert np.abs(kernel.numpy() - before).max() > 0
    for value, old in zip((v for v in network.trained.variables if "bn" in v.path), statistics, strict=True):
        np.testing.assert_array_equal(value, old)


def test_the_last_layers_learn_and_no_others(weights: Path):
    # relu2, bn2 and conv2 are the last three; a fourth is relu1, which has nothing to learn.
    for count in (3, 4):
        learning = {path for path in paths(built(SMALL, weights, trainable=count).trained) if "small" in path}
        assert {path.partition("/")[2] for path in learning} == {"conv2/kernel", "conv2/bias"}


def test_each_stage_below_the_top_learns_at_a_share_of_the_one_above(weights: Path):
    network = built(TWO, weights, trainable="all", layer_decay=0.5)
    for place in ("64x48", "96x64"):
        for stage, rate in ((0, 0.25), (1, 0.5)):
            assert network.rates[f"backbones_of_tests_small_{place}/conv{stage}/kernel"] == rate
    assert set(network.rates) <= paths(network.trained)
    assert not [path for path in network.rates if "conv2" in path or "dense" in path]
    assert built(SMALL, weights, trainable="all").rates == {}
    assert built(SMALL, weights, layer_decay=0.5).rates == {}


@pytest.mark.parametrize("recipe", [{}, {"trainable": "all"}, {"trainable": "all", "heads": 2, "mirror": True}])
def test_scores_are_float32_in_mixed_precision(weights: Path, recipe: dict[str, Any]):
    import keras

    plain = built(SMALL, weights)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = built(SMALL, weights, **recipe)
    finally:
        keras.config.set_dtype_policy("float32")
    assert network.model(posters(64, 48)).dtype == "float32"
    for trunk in network.trunks:
        assert trunk.key == f"{plain.trunks[0].key}-mixed_bfloat16"
        assert trunk.model(posters(64, 48)).dtype == "float32"


def test_pooling_sees_the_whole_the_halves_the_middle_layer_and_the_stages():
    drawn = np.random.default_rng(0)
    top, middle, early, late = (
        drawn.normal(size=(2, *shape)).astype("float32") for shape in ((5, 3, 4), (7, 6, 2), (9, 8, 3), (7, 6, 2))
    )
    expected = {
        "mean": top.mean((1, 2)),
        "max": top.max((1, 2)),
        "upper": top[:, :3].mean((1, 2)),
        "lower": top[:, 2:].mean((1, 2)),
        "middle": middle.mean((1, 2)),
        "stages": np.concatenate(
            [way(maps, axis=(1, 2)) for maps in (early, late) for way in (np.mean, np.max, np.std)], 1
        ),
    }
    found = pooled(FeatureMaps(top, middle, [early, late]), POOLINGS)
    assert list(found) == list(expected) == list(POOLINGS)
    for kind, features in found.items():
        np.testing.assert_allclose(features, expected[kind], atol=1e-6)
    np.testing.assert_allclose(joined(list(found.values())), np.concatenate(list(expected.values()), axis=1), atol=1e-6)
    assert list(pooled(FeatureMaps(top, middle, [early]), ("lower", "max"))) == ["lower", "max"]


def test_a_head_starts_small_and_averages_its_heads(weights: Path):
    network = built(SMALL, weights, heads=3, l2=0.5)
    features = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    assert np.abs(network.trained(features) - 0.5).max() < 0.05
    kernels = [value for value in network.trained.trainable_variables if value.path.endswith("kernel")]
    assert len(kernels) == 3
    penalty = sum(float(np.square(kernel).sum()) for kernel in kernels) * 0.5
    np.testing.assert_allclose(float(sum(network.trained.losses)), penalty / 3, rtol=1e-5)
    assert network.each_head is not None
    each = np.asarray(network.each_head(features))
    assert each.shape == (6, 3, 3)
    np.testing.assert_allclose(each.mean(axis=1), network.trained(features), atol=1e-6)
    assert np.abs(each[:, 0] - each[:, 1]).max() > 1e-3
    assert built(SMALL, weights).each_head is None


def test_heads_on_a_backbone_that_learns_with_them_are_the_scores_mean(weights: Path):
    network = built(SMALL, weights, heads=2, trainable="all", dropout=0)
    assert network.each_head is not None
    each = np.asarray(network.each_head(posters(64, 48)))
    np.testing.assert_allclose(each.mean(axis=1), network.trained(posters(64, 48)), atol=1e-6)
    assert paths(network.each_head) == paths(network.trained)


def test_what_changes_images_is_no_augmentation_of_features_that_are_computed_once(weights: Path):
    with pytest.raises(TrainingError, match=r"augmentation flip, crop changes images, .+ \(trainable=all\)$"):
        built(SMALL, weights, augmentation=("flip", "mixup", "crop"))
    assert built(SMALL, weights, augmentation=("mixup",)).trunks
    assert not built(SMALL, weights, augmentation=("flip",), trainable="all").trunks


def test_the_input_may_differ_from_a_networks_own_size(weights: Path):
    def shapes(expression: str, **size: int) -> tuple[Any, Any]:
        network = build_network(expression, genres=3, recipe=Recipe(mirror=True), weights="none", **size)
        return network.model.input_shape[1:3], network.trained.input_shape[1:3]

    assert shapes(SMALL, height_px=80, width_px=56) == ((80, 56), (80, 56))
    assert shapes(f"{SMALL}@64x48", height_px=80, width_px=56) == ((80, 56), (80, 56))
    assert shapes("cnn_small@64x48", height_px=80, width_px=56) == ((80, 56), (80, 56))
    # A part with a size of its own has the parameters of that size whatever the input's.
    small = build_network("cnn_2x2_same@32x32", genres=3, recipe=Recipe(), weights="none", height_px=64, width_px=64)
    assert small.model.count_params() == count_parameters("cnn_2x2_same@32x32", genres=3)


def test_a_part_sees_what_it_would_see_alone(weights: Path):
    drawn = np.linspace(0, 255, 128 * 96 * 3).reshape(128, 96, 3) + np.random.default_rng(0).normal(0, 40, (128, 96, 3))
    poster = Image.fromarray(drawn.clip(0, 255).astype("uint8"))

    def features(height_px: int, width_px: int) -> Any:
        recipe = Recipe(pooling=RICH)
        size = {"height_px": height_px, "width_px": width_px}
        network = build_network(f"{SMALL}@64x48", genres=3, recipe=recipe, weights=str(weights), **size)
        return np.asarray(network.trunks[0].model(to_pixels(poster, **size)[None]))

    np.testing.assert_allclose(features(128, 96), features(64, 48), atol=0.01)
    assert np.ptp(features(64, 48)) > 0.1


def test_what_cannot_be_built_is_said_in_one_sentence(weights: Path):
    with pytest.raises(TrainingError, match=r"cnn_5x5 cannot be built at 64x48: .+$"):
        build_network("cnn_5x5", genres=3, recipe=Recipe(), weights="none", height_px=64, width_px=48)
    with pytest.raises(TrainingError, match="wrong has no layer 'relu7', which its Backbone names"):
        built("backbones_of_tests:wrong", weights / "small_no_top.weights.h5")
    with pytest.raises(TrainingError, match="8x48 is too small"):
        build_network("cnn_5x5", genres=3, recipe=Recipe(), weights="none", height_px=8, width_px=48)
