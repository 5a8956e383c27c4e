"""From a bundle to its runtime: the export if there is one, TensorFlow if need be, never one that scores otherwise."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.runtimes import load_runtime
from tests.serving.conftest import Register, tiny_model
from training.bundle import BundleCard, BundleError, sha256_of, write_bundle
from training.export import GRAPH_FILE, WEIGHTS_FILE, probe
from training.registry import Registry
from training.runtimes import Images, OpenVino


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
    assert runtime.lanes == 4, "one call more than threads waits within OpenVINO"
    pictures = np.random.default_rng(1).integers(0, 256, (60, 24, 16, 3), np.uint8)
    alone = [runtime(picture[None]) for picture in pictures]
    with ThreadPoolExecutor(6) as threads:
        beside = list(threads.map(lambda picture: runtime(picture[None]), pictures))
    np.testing.assert_allclose(beside, alone, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_threads_that_compute_give_way_to_those_that_read_requests(bundle: tuple[Path, BundleCard]) -> None:
    def priorities() -> dict[int, int]:
        threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        return {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    before = priorities()
    runtime = load_runtime(*bundle, threads=2)
    after = priorities()
    assert {after[thread] for thread in after.keys() - before.keys()} == {min(own + 10, 19)}
    assert {thread: after[thread] for thread in before if thread in after} == {
        thread: priority for thread, priority in before.items() if thread in after
    }
    assert runtime.lanes == 3


def test_a_call_that_follows_a_meeting_is_taken_for_one_of_many(
    bundle: tuple[Path, BundleCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = load_runtime(*bundle, threads=2)
    assert isinstance(runtime, OpenVino)
    clock = [100.0]
    by: list[str] = []
    monkeypatch.setattr("training.runtimes.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def remembered(name: str) -> Callable[[Images, int], Any]:
        model = getattr(runtime, name)

        def called(images: Images, output: int) -> Any:
            by.append(name)
            return model(images, output)

        return called

    for name in ("_alone", "_beside"):
        monkeypatch.setattr(runtime, name, remembered(name))

    def ask(*, meets: bool = False) -> None:
        runtime._under_way += meets
        runtime(probe(24, 16))
        runtime._under_way -= meets

    ask()
    ask(meets=True)
    ask()
    clock[0] += 1
    ask()
    assert by == ["_alone", "_beside", "_beside", "_alone"]


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
