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

from tests.training.parallel_worker import CASES, EPOCHS

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("parallel_worker.py")
ROOT = SCRIPT.parents[2]
ALONE_TOO = [name for name, case in CASES.items() if case.tolerance]

Ended = dict[str, dict[str, np.ndarray]]


def start(rank: int, world_size: int, output: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if world_size:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    command = [sys.executable, str(SCRIPT), str(rank), str(world_size), str(output)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Who → what it ended with."""
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
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, f"{who}: {errors.decode()[-2000:]}"
    return {who: dict(np.load(folder / f"{who}.npz")) for who in processes}


def of(ended: Ended, who: str, case: str, kind: str = "") -> dict[str, np.ndarray]:
    return {name: value for name, value in ended[who].items() if name.startswith(f"{case}/{kind}")}


@pytest.mark.parametrize("case", list(CASES))
def test_both_workers_end_with_identical_weights_and_logs(ended: Ended, case: str):
    first, second = of(ended, "first", case), of(ended, "second", case)
    assert first
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize("case", ALONE_TOO)
def test_two_workers_equal_plain_keras_on_the_same_global_batches(ended: Ended, case: str):
    alone = of(ended, "alone", case, "weight")
    assert alone
    for name, value in of(ended, "first", case, "weight").items():
        np.testing.assert_allclose(value, alone[name], atol=CASES[case].tolerance or 0, rtol=0, err_msg=name)
    assert ended["first"][f"{case}/updates"] == ended["alone"][f"{case}/updates"]


@pytest.mark.parametrize("case", [name for name in ALONE_TOO if CASES[name].full_recipe.accumulate_steps == 1])
def test_the_loss_of_an_epoch_is_that_over_all_workers_rows(ended: Ended, case: str):
    together, alone = (ended[who][f"{case}/log loss"] for who in ("first", "alone"))
    np.testing.assert_allclose(together, alone, rtol=1e-2 if "16" in case else 1e-5)


def test_metrics_are_those_over_all_workers_rows(ended: Ended):
    together, alone = of(ended, "first", "l2", "log"), of(ended, "alone", "l2", "log")
    assert len(together) == 3
    for name, values in together.items():
        np.testing.assert_allclose(values, alone[name], rtol=1e-5, err_msg=name)


def test_a_step_that_is_not_finite_on_one_worker_is_skipped_on_all(ended: Ended):
    for who in ("first", "second"):
        assert ended[who]["float16/updates"] == EPOCHS * 4 - 1
        assert ended[who]["float16/scale"] == 2.0**14
        assert all(np.isfinite(weight).all() for weight in of(ended, who, "float16", "weight").values())
