"""Whole training runs over real Ray Train workers, on drawn posters."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from cluster.errors import TrainingError
from cluster.nodes import connect
from cluster.settings import load_settings
from cluster.store import FolderStore
from tests.processes import titled
from training.bundle import load_index, load_model
from training.dataset import Card
from training.export import GRAPH_FILE
from training.registry import Registry
from training.runs import TrainOptions
from training.train import resume, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with connect(load_settings(), num_cpus=2):
        yield


def workers() -> list[psutil.Process]:
    return titled("RayTrainWorker")


def test_two_workers_train_a_model_that_is_registered_with_its_metrics_and_lineage(
    ray: None, dataset: tuple[FolderStore, Card], tmp_path: Path
):
    store, card = dataset
    lines: list[str] = []
    events: list[dict[str, object]] = []
    result = train(
        TrainOptions(architecture="cnn_small", workers=2, recipe={"epochs": 2}), store, lines.append, events.append
    )
    bundle = Registry(store).card(result.version)
    assert bundle.lineage["dataset_id"] == card.dataset_id
    assert bundle.genres == tuple(card.genres)
    assert bundle.reference is not None, "drift has something to be measured from"
    assert bundle.reference.posters == card.posters["validation"]
    assert set(bundle.metrics) == set(bundle.prior_metrics) >= {"macro_map", "micro_f1", "macro_f1", "top3_hit"}
    assert [line for line in lines if line.startswith("epoch 2/2")]
    report = json.loads(store.get(f"runs/{result.version}/report.json"))
    assert [row["epoch"] for row in report["history"]] == [1, 2]
    assert all({"what", "step", "steps"} <= set(event) for event in events)
    Image.open(io.BytesIO(store.get(f"runs/{result.version}/curves.png"))).load()
    assert list(store.list(f"runs/{result.version}/tensorboard/")), "TensorBoard has something to read"
    fetched = Registry(store).fetch(result.version, tmp_path)
    scores = load_model(tmp_path, fetched).predict(np.zeros((1, 96, 64, 3)), verbose=0)
    assert scores.shape == (1, len(card.genres))
    index = load_index(tmp_path, fetched)
    assert index is not None
    assert len(index) == sum(card.posters.values())
    assert [line for line in lines if line.startswith(f"index of {len(index)} posters")]


@pytest.mark.fault
def test_a_frozen_backbone_trains_its_head_from_features(ray: None, dataset: tuple[FolderStore, Card], tmp_path: Path):
    import keras

    store, _ = dataset
    weights = tmp_path / "mobilenet_v2_no_top.weights.h5"
    keras.applications.MobileNetV2(input_shape=(64, 48, 3), include_top=False, weights=None).save_weights(weights)
    lines: list[str] = []
    options = TrainOptions(
        architecture="mobilenet_v2", weights=str(tmp_path), recipe={"epochs": 3}, height_px=64, width_px=48, workers=2
    )
    result = train(options, store, lines.append)
    assert [line for line in lines if line.startswith("features of")]
    assert str(result.card.lineage["weights"]).startswith("mobilenet_v2_no_top.weights.h5 (")
    assert (result.card.height_px, result.card.width_px) == (64, 48)
    assert result.card.metrics["macro_map"] > 0
    again: list[str] = []
    changed = replace(options, recipe={"epochs": 2, "ema": 0.9, "loss": "focal", "heads": 2, "augmentation": "mixup"})
    train(changed, store, again.append)
    assert not [line for line in again if line.startswith("features of")], "the features of the first run are kept"


@pytest.mark.fault
@pytest.mark.parametrize("architecture", ["cnn_small@64x48", "mobilenet_v2@64x48"])
def test_what_is_trained_in_half_precision_is_served_in_float32(
    architecture: str, ray: None, dataset: tuple[FolderStore, Card], tmp_path: Path, weights_folder: Path
):
    store, _ = dataset
    recipe = {"epochs": 1, "precision": "mixed_bfloat16"}
    weights = str(weights_folder) if architecture.startswith("mobilenet") else "none"
    result = train(TrainOptions(architecture=architecture, weights=weights, recipe=recipe), store, print)
    fetched = Registry(store).fetch(result.version, tmp_path)
    assert GRAPH_FILE in fetched.files, "OpenVINO serves it"
    assert {layer.dtype_policy.name for layer in load_model(tmp_path, fetched).layers} == {"float32"}
    index = load_index(tmp_path, fetched)
    assert index is not None
    assert len(index)


@pytest.mark.fault
def test_a_killed_worker_costs_an_epoch_and_not_the_run(ray: None, dataset: tuple[FolderStore, Card]):
    store, _ = dataset
    lines: list[str] = []
    killed: list[psutil.Process] = []
    # Workers of a run before may take a moment to go.
    others = set(workers())

    def say(line: str) -> None:
        lines.append(line)
        # Ray learns of a checkpoint only when it polls, and takes one report of each worker at a time; a worker with a
        # second one waits. So the checkpoint of an epoch that is told may be unknown yet, but in epoch 5 that of epoch
        # 2 is known, however fast the machine, and the end is polls away, however slow this thread.
        if line.startswith("epoch 5/") and not killed:
            killed.append(next(worker for worker in workers() if worker not in others))
            killed[0].kill()

    result = train(TrainOptions(architecture="cnn_small", workers=2, recipe={"epochs": 30}), store, say)
    assert killed, lines
    assert [line for line in lines if line.startswith("going on from the checkpoint of epoch")], lines
    report = json.loads(store.get(f"runs/{result.version}/report.json"))
    assert [row["epoch"] for row in report["history"]] == list(range(1, 31))


@pytest.mark.fault
def test_a_run_whose_driver_is_killed_goes_on_with_resume(dataset: tuple[FolderStore, Card]):
    store, _ = dataset
    command = [sys.executable, "-c", "import onesheet; onesheet.main()", "train", "--store", store.url]
    begin = [*command, "--architecture", "cnn_small", "--epochs", "40", "--set", "ema=0.9"]
    driver = subprocess.Popen(begin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert driver.stderr is not None
    said = []
    for line in driver.stderr:
        said.append(line)
        # By then the checkpoint of an epoch before is known to Ray for sure.
        if line.startswith("epoch 5/"):
            break
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    run = next(line for line in said if line.startswith("run ")).split()[1].rstrip(":")
    assert not store.exists(f"models/{run}/bundle.json")

    again = subprocess.run(
        [*command, "--resume", run, "--json"], check=False, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert "going on from the checkpoint of epoch" in again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["version"] == run
    report = json.loads(store.get(f"runs/{run}/report.json"))
    assert [row["epoch"] for row in report["history"]] == list(range(1, 41))
    assert Registry(store).card(run).lineage["run"] == run

    ended = subprocess.run([*command, "--resume", run], check=False, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert f"run {run} has ended and its model is registered" in ended.stderr


def test_what_cannot_be_trained_is_said_before_a_worker_starts(
    ray: None, dataset: tuple[FolderStore, Card], tmp_path: Path
):
    store, _ = dataset

    def refused(**options: object) -> str:
        with pytest.raises(TrainingError) as error:
            train(TrainOptions(**{"architecture": "cnn_small", **options}), store, lambda line: None)  # type: ignore[arg-type]
        return str(error.value)

    assert "no architecture 'resnet'; there are chu_cnn, cnn_2x2_same" in refused(architecture="resnet")
    assert "a recipe has no 'epoch'" in refused(recipe={"epoch": 3})
    assert "takes no --weights" in refused(weights="imagenet")
    assert "--workers 0" in refused(workers=0)
    assert "need 3, and the cluster has 2; ask for fewer --workers" in refused(workers=3)
    assert "1 workers of 1 GPU need 1, and the cluster has 0" in refused(gpus_per_worker=1)
    assert "has no dataset 'ds-nope'" in refused(dataset_id="ds-nope")
    missing = refused(architecture="mobilenet_v2", weights=str(tmp_path / "no.weights.h5"))
    assert "no.weights.h5 is missing; give a .weights.h5 file, a folder of them, imagenet or none" in missing
    with pytest.raises(TrainingError, match="has no run nope; `onesheet train` names each run"):
        resume("nope", store, lambda line: None)
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    bad = refused(architecture="mobilenet_v2", weights=str(tmp_path / "bad.weights.h5"))
    assert "do not fit" in bad
    assert not [key for key in store.list("models/") if "mobilenet_v2-nope" in key]


@pytest.mark.fault
def test_a_named_run_that_has_ended_tells_its_result_and_stays_what_it_was(
    ray: None, dataset: tuple[FolderStore, Card], tmp_path: Path
):
    store, _ = dataset
    options = TrainOptions(architecture="cnn_small@48x32", recipe={"epochs": 1}, name="nightly-1")
    lines: list[str] = []
    first = train(options, store, lines.append)
    assert first.version == "nightly-1"
    assert train(options, store, lines.append) == first
    assert lines[-1] == "run nightly-1 has ended and its model is registered"
    with pytest.raises(TrainingError, match="run nightly-1 was begun with another recipe; choose another --name"):
        train(replace(options, recipe={"epochs": 2}), store, lines.append)
