"""From a bundle to its runtime: the export if there is one, TensorFlow if need be, never one that scores otherwise."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.runtimes import load_runtime
from tests.serving.conftest import Register, tiny_model
from training.bundle import BundleCard, BundleError, sha256_of, write_bundle
from training.export import GRAPH_FILE, WEIGHTS_FILE, probe
from training.registry import Registry
from training.runtimes import OpenVino


@pytest.fixture
def bundle(registry: Registry, register: Register, tmp_path: Path) -> tuple[Path, BundleCard]:
    register("v1")
    folder = tmp_path / "fetched"
    return folder, registry.fetch("v1", folder)


def without_export(folder: Path, card: BundleCard) -> BundleCard:
    for name in (GRAPH_FILE, WEIGHTS_FILE):
        (folder / name).unlink()
    left = {name: sha256 for name, sha256 in card.files.items() if name not in (GRAPH_FILE, WEIGHTS_FILE)}
    return card.model_copy(update={"files": left, "probe_scores": ()})


def resealed(folder: Path, card: BundleCard) -> BundleCard:
    return card.model_copy(update={"files": {name: sha256_of(folder / name) for name in card.files}})


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_each_runtime_scores_as_keras_does(bundle: tuple[Path, BundleCard], name: str) -> None:
    runtime = load_runtime(*bundle, name)  # type: ignore[arg-type]
    assert runtime.name == name
    pictures = probe(24, 16)
    expected = tiny_model()(pictures.astype(np.float32)).numpy()
    np.testing.assert_allclose(runtime(pictures), expected, atol=1e-3)
    np.testing.assert_allclose(runtime(pictures[:1]), expected[:1], atol=1e-3)


def test_calls_beside_each_other_score_as_one_alone(bundle: tuple[Path, BundleCard]) -> None:
    runtime = load_runtime(*bundle, threads=3)
    assert runtime.lanes == 3
    pictures = np.random.default_rng(1).integers(0, 256, (60, 24, 16, 3), np.uint8)
    alone = [runtime(picture[None]) for picture in pictures]
    with ThreadPoolExecutor(6) as threads:
        beside = list(threads.map(lambda picture: runtime(picture[None]), pictures))
    np.testing.assert_allclose(beside, alone, atol=1e-5)


def test_an_error_of_one_call_does_not_make_the_next_one_think_it_is_not_alone(
    bundle: tuple[Path, BundleCard],
) -> None:
    runtime = load_runtime(*bundle)
    assert isinstance(runtime, OpenVino)
    with pytest.raises(RuntimeError):
        runtime(np.zeros((1, 5, 5, 3), np.uint8))
    assert runtime._under_way == 0


def test_a_bundle_of_before_is_exported_when_it_is_loaded(bundle: tuple[Path, BundleCard]) -> None:
    folder, card = bundle
    assert load_runtime(folder, without_export(folder, card)).name == "openvino"
    assert (folder / GRAPH_FILE).is_file()


def test_without_openvino_tensorflow_runs_it_and_the_log_says_how_to_mend_that(
    bundle: tuple[Path, BundleCard], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert load_runtime(*bundle).name == "tensorflow"
    assert "pip install openvino" in caplog.text


def test_an_export_that_scores_otherwise_than_keras_did_is_refused(
    bundle: tuple[Path, BundleCard], tmp_path: Path
) -> None:
    folder, card = bundle
    model = tiny_model()
    model.set_weights([weight * 1.1 for weight in model.get_weights()])
    other = write_bundle(tmp_path / "other", model, card.model_copy(update={"files": {}, "probe_scores": ()}))
    assert other.probe_scores != card.probe_scores
    for name in (GRAPH_FILE, WEIGHTS_FILE):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(BundleError, match="apart from those that it was registered with"):
        load_runtime(folder, resealed(folder, card))


def test_an_export_that_cannot_be_read_is_refused(bundle: tuple[Path, BundleCard]) -> None:
    folder, card = bundle
    (folder / GRAPH_FILE).write_text("<no graph/>")
    with pytest.raises(BundleError, match="the export of bundle v1 is refused"):
        load_runtime(folder, resealed(folder, card))


def test_a_model_that_scores_nan_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.set_weights([weight * float("nan") for weight in model.get_weights()])
    card = BundleCard(
        version="v1", architecture="tiny", genres=("a", "b", "c"), thresholds=(0.5,) * 3, height_px=24, width_px=16
    )
    with pytest.raises(BundleError, match="scores a test picture as"):
        load_runtime(tmp_path, write_bundle(tmp_path, model, card))
