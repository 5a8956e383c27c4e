"""Runs are followed by the real MLflow and Weights & Biases, on this machine alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from cluster.errors import TrainingError
from cluster.store import FolderStore
from training.tracking import Tracking

METRICS = {"loss": 0.25, "validation_macro_map": 0.3}


def follow(kind: str, store: FolderStore, folder: Path) -> None:
    picture = folder / "curves.png"
    picture.write_bytes(b"a picture")
    with Tracking(kind, store, "run-1", {"architecture": "cnn_small", "epochs": 2}) as tracked:
        tracked.epoch(1, METRICS)
        tracked.epoch(2, {**METRICS, "loss": 0.2})
        tracked.end({"macro_map": 0.31}, [picture])


def events(data: bytes) -> list[Event]:
    """TensorBoard's records: a length, its checksum, an Event, its checksum."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        found.append(Event.FromString(data[at + 12 : at + 12 + size]))
        at += 12 + size + 4
    return found


def test_tensorboard_finds_each_epoch_in_the_store(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    follow("none", store, tmp_path)
    (key,) = store.list("runs/run-1/tensorboard/")
    values = {(e.step, v.tag): v.simple_value for e in events(store.get(key)) for v in e.summary.value}
    assert values[1, "loss"] == pytest.approx(0.25)
    assert values[2, "loss"] == pytest.approx(0.2)
    assert values[0, "test/macro_map"] == pytest.approx(0.31)


@pytest.mark.fault
def test_mlflow_gets_parameters_metrics_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    follow("mlflow", FolderStore(tmp_path / "store"), tmp_path)
    (run,) = mlflow.search_runs(experiment_names=["onesheet"], output_format="list")
    assert run.info.run_name == "run-1"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"architecture": "cnn_small", "epochs": "2"}
    assert run.data.metrics["loss"] == pytest.approx(0.2)
    assert run.data.metrics["test_macro_map"] == pytest.approx(0.31)
    with pytest.raises(RuntimeError), Tracking("mlflow", FolderStore(tmp_path / "store"), "run-2", {}):
        raise RuntimeError("the run failed")
    failed = mlflow.search_runs(experiment_names=["onesheet"], output_format="list")[0]
    assert (failed.info.run_name, failed.info.status) == ("run-2", "FAILED")


@pytest.mark.fault
def test_weights_and_biases_gets_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    follow("wandb", FolderStore(tmp_path / "store"), tmp_path)
    (kept,) = tmp_path.glob("wandb/offline-run-*-run-1/run-run-1.wandb")
    assert kept.stat().st_size > 0
    assert list(tmp_path.glob("wandb/offline-run-*-run-1/files/curves.png"))


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(TrainingError, match=f"tracking by {kind} needs its package: pip install"):
        Tracking(kind, FolderStore(tmp_path / "store"), "run-1", {})
