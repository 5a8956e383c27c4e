"""Two real processes train together, and a third alone with plain Keras on the same global batches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.parallel_worker import CASES

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("parallel_worker.py")
ROOT = SCRIPT.parents[2]


def start(rank: int, world_size: int, output: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if world_size:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    command = [sys.executable, str(SCRIPT), str(rank), str(world_size), str(output)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Who → the weights that it ended with."""
    folder = tmp_path_factory.mktemp("parallel")
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    processes = {
        "first": start(0, 2, folder / "first.npz", ports),
        "second": start(1, 2, folder / "second.npz", ports),
        "alone": start(0, 0, folder / "alone.npz", ports),
    }
    for who, process in processes.items():
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, f"{who}: {errors.decode()[-2000:]}"
    return {who: dict(np.load(folder / f"{who}.npz")) for who in processes}


def weights(ended: dict[str, dict[str, np.ndarray]], who: str, case: str) -> list[np.ndarray]:
    return [value for name, value in ended[who].items() if name.startswith(f"{case}/")]


@pytest.mark.parametrize("case", [*CASES, "batch_norm"])
def test_both_workers_end_with_identical_weights(ended: dict[str, dict[str, np.ndarray]], case: str):
    first, second = weights(ended, "first", case), weights(ended, "second", case)
    assert first
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", list(CASES))
def test_two_workers_equal_plain_keras_on_the_same_global_batches(ended: dict[str, dict[str, np.ndarray]], case: str):
    for together, alone in zip(weights(ended, "first", case), weights(ended, "alone", case), strict=True):
        np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)
