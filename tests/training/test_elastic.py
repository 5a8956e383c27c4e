"""A run that begins with what there is, and grows with the cluster."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from cluster.nodes import local_cluster, node_environment
from cluster.store import FolderStore
from tests.processes import titled
from training.dataset import Card

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(400)]


def count_workers() -> int:
    """Of the clusters that this process has started."""
    return len(titled("RayTrainWorker", psutil.Process().children(recursive=True)))


def test_a_run_of_one_worker_becomes_one_of_two_as_a_node_joins(dataset: tuple[FolderStore, Card]):
    store, _ = dataset
    with local_cluster(num_cpus=1) as cluster:
        environment = node_environment({**os.environ, **cluster.environment()})
        workers = ("--workers", "1", "--max-workers", "2")
        command = [sys.executable, "-c", "import onesheet; onesheet.main()", "train", "--store", store.url, *workers]
        # Ray Train looks once a minute whether it may grow.
        command += ["--architecture", "cnn_small", "--epochs", "2000"]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
        node: subprocess.Popen[bytes] | None = None
        said: list[str] = []
        try:
            assert run.stderr is not None
            for line in run.stderr:
                said.append(line)
                if line.startswith("epoch 2/") and node is None:
                    assert count_workers() == 1
                    join = ["ray", "start", f"--address={cluster.address}", "--num-cpus=1", "--block"]
                    node = subprocess.Popen(join, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
                has_grown = any(line.startswith("going on from the checkpoint of epoch") for line in said)
                if has_grown and line.startswith("epoch ") and count_workers() == 2:
                    break
            else:
                pytest.fail(f"it ended with one worker: {''.join(said[-10:])}")
        finally:
            run.terminate()
            run.communicate()
            if node:
                node.terminate()
                node.wait()
