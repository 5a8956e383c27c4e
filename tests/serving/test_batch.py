"""Genres of many posters at once: a real Ray, a real S3 server, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.errors import ClusterError, ServingError
from cluster.nodes import connect
from cluster.settings import load_settings
from cluster.store import FolderStore, Store, open_store
from serving import batch
from serving.batch import predict_all
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server
from tests.serving.conftest import Poster, register_tiny
from training.registry import Registry

pytestmark = pytest.mark.slow


@pytest.fixture
def many(tmp_path: Path, poster: Poster) -> Path:
    """Thirty posters by their colours, with one file that is none and one that is no picture by its name."""
    folder = tmp_path / "posters"
    for number in range(10):
        for color in ("red", "lime", "blue"):
            (folder / color).mkdir(parents=True, exist_ok=True)
            (folder / color / f"{number}.jpg").write_bytes(poster(color))
    (folder / "broken.png").write_bytes(b"hello")
    (folder / "notes.txt").write_bytes(b"hello")
    return folder


@pytest.fixture
def production(tmp_path: Path) -> Registry:
    registry = Registry(FolderStore(tmp_path / "store"))
    for version in ("v1", "v2"):
        register_tiny(registry, tmp_path / version, version, has_index=True)
    # No batch asks for the index.
    registry.store.put("models/v1/index.npy", b"altered")
    registry.promote("v1")
    return registry


def read(output: Store) -> pd.DataFrame:
    parts = [pd.read_parquet(output.open(key)) for key in output.list("part-")]
    return pd.concat(parts).set_index("poster")


def test_every_picture_has_a_row_and_a_finished_batch_is_left_alone(
    production: Registry, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_POSTERS_A_PART", 7)
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    how: dict[str, Any] = {"input_url": str(many), "output_url": str(tmp_path / "out.parquet"), "max_pixels": 100_000}
    with connect(load_settings(ray_address="local"), num_cpus=2):
        with pytest.raises(ClusterError, match="a worker of 1 CPU and 1 GPU does not fit"):
            predict_all(production, None, say=said.append, gpus_per_worker=1, **how)
        totals = predict_all(
            production, None, say=said.append, progress=lambda *step: steps.append(step), cpus_per_worker=2, **how
        )
        assert (totals.posters, totals.refused, totals.parts, totals.made) == (31, 1, 5, 5)
        assert steps[0] == (0, 5)
        assert steps[-1] == (5, 5)
        table = pd.read_parquet(tmp_path / "out.parquet").set_index("poster")
        assert len(table) == 31
        assert table.loc["red/3.jpg", "predicted"].tolist() == ["Red"]
        assert table.loc["red/3.jpg", "Red"] > 0.9
        assert table.loc["broken.png", "reason"] == "not_an_image"
        assert table.loc["broken.png", ["Red", "Green", "Blue"]].isna().all()
        assert json.loads((tmp_path / "out.parquet" / "_summary.json").read_text())["version"] == "v1"

        production.promote("v2")
        (tmp_path / "out.parquet" / "part-00000-0002.parquet").unlink()
        again = predict_all(production, None, say=said.append, **how)
        assert again.made == 1, "what is there is not made again"
        assert json.loads((tmp_path / "out.parquet" / "_summary.json").read_text())["version"] == "v1"
        with pytest.raises(ServingError, match=r"holds the genres of .* by v1; give another --output"):
            predict_all(production, "v2", say=said.append, **how)
        nowhere = {**how, "input_url": str(tmp_path / "v1"), "output_url": str(tmp_path / "none")}
        with pytest.raises(ServingError, match="has no pictures"):
            predict_all(production, None, say=said.append, **nowhere)
    assert "31 posters" in said[0]


@pytest.mark.fault
def test_a_batch_that_is_killed_is_gone_on_with_in_object_storage(
    production: Registry, poster: Poster, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_url = fresh_bucket(moto_server, monkeypatch)
    posters = open_store(f"{s3_url}/posters")
    for number in range(2500):
        posters.put(f"{number:04}.jpg", poster(("red", "lime", "blue")[number % 3]))
    command = [sys.executable, "-m", "onesheet", "predict", "--input", posters.url, "--output", f"{s3_url}/out.parquet"]
    command += ["--store", production.store.url, "--json"]
    output = open_store(f"{s3_url}/out.parquet")
    environment = {**os.environ, "ONESHEET_RAY_ADDRESS": "local"}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while not list(output.list("part-")):
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["posters"] == 2500
    assert told["made"] < told["parts"] == 3
    table = read(output)
    assert len(table) == 2500
    assert not table.index.has_duplicates
    for number in (0, 1, 2, 2499):
        assert list(table.loc[f"{number:04}.jpg", "predicted"]) == [("Red", "Green", "Blue")[number % 3]]
