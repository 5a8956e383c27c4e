"""`onesheet cluster …`, as it is typed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.testbed.bed import Bed, attach
from cluster.testbed.record import folder_of, names
from tests.processes import running

ROOT = Path(__file__).resolve().parents[3]
_OWNER = """
import sys, time
from cluster.testbed.start import Wanted, running_bed
with running_bed(Wanted(nodes=2), sys.argv[1]) as bed:
    print("up", flush=True)
    time.sleep(1000)
"""


def onesheet(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onesheet", "cluster", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=200)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def name() -> Iterator[str]:
    """Of a cluster that is gone after the test, whatever happens in it."""
    made = f"c{secrets.token_hex(4)}"
    yield made
    onesheet("down", "--name", made)


def trace(bed: Bed, started: set[psutil.Process]) -> list[str]:
    """What there still is of a testbed."""
    interfaces = [name for name in psutil.net_if_addrs() if name == f"onesheet{bed.record.network}"]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{bed.record.name}/" in line]
    return [*running(started).values(), *interfaces, *mounts, *(name for name in names() if name == bed.record.name)]


def test_what_is_not_there_is_said_in_one_sentence_and_removed_without_an_error(name: str) -> None:
    for words in (["status"], ["kill", "worker1"], ["start", "head"], ["cut", "worker1"], ["fill", "worker1"]):
        done = onesheet(*words, "--name", name)
        assert done.returncode == 1
        assert f"no cluster '{name}' was started here" in done.stderr
    assert result(onesheet("down", "--name", name, "--json")) == {"removed": []}
    assert "is no name for a cluster" in onesheet("up", "--name", "A B").stderr
    assert "give it as NAME=VALUE" in onesheet("up", "--name", name, "--env", "KEY").stderr
    assert "Ray needs 80" in onesheet("up", "--name", name, "--object-store-mb", 10).stderr
    assert not folder_of(name).exists(), "nothing is left of what did not start"


@pytest.mark.slow
@pytest.mark.fault
def test_a_cluster_is_started_looked_at_hurt_and_removed_whole(name: str) -> None:
    at = ("--name", name)
    told = result(
        onesheet("up", "--nodes", 3, "--disk-mb", 64, *at, "--env", "ONESHEET_CONTACT=http://{host}/", "--json")
    )
    bed = attach(name)
    started = set.union(*(bed.processes(node.name) for node in bed.record.nodes))
    assert [node["node"] for node in told["nodes"]] == ["head", "worker1", "worker2"]
    assert told["environment"]["ONESHEET_RAY_ADDRESS"] == bed.address
    assert bed.record.environment == {"ONESHEET_CONTACT": f"http://{bed.host}/"}
    again = onesheet("up", *at)
    assert again.returncode == 1
    assert "is there already; remove it first" in again.stderr

    assert onesheet("kill", "worker1", *at).returncode == 0
    assert "no node 'worker9'; there are head, worker1, worker2" in onesheet("kill", "worker9", *at).stderr
    assert "worker2 runs already" in onesheet("start", "worker2", *at).stderr
    has_network = bed.record.network is not None
    if has_network:
        assert "the head is this machine itself" in onesheet("cut", "head", *at).stderr
        assert "mended" in onesheet("cut", "worker2", "--seconds", 1, *at).stderr
        assert "emptied" in onesheet("fill", "worker2", "--seconds", 0, *at).stderr
    deadline = time.monotonic() + 90
    while (rows := {row["node"]: row for row in result(onesheet("status", *at, "--json"))["nodes"]})["worker1"][
        "alive"
    ]:
        assert time.monotonic() < deadline
    assert rows["worker1"]["processes"] == 0
    assert rows["worker2"]["alive"]
    assert rows["worker2"]["cut"] == []
    assert onesheet("start", "worker1", *at).returncode == 0
    assert set(bed.ray_nodes()) == {"head", "worker1", "worker2"}

    started |= set.union(*(bed.processes(node.name) for node in bed.record.nodes))
    assert result(onesheet("down", *at, "--json")) == {"removed": [name]}
    assert trace(bed, started) == []
    assert result(onesheet("down", *at, "--json")) == {"removed": []}


@pytest.mark.slow
@pytest.mark.fault
def test_nodes_at_one_address_work_together_and_say_what_they_cannot(name: str) -> None:
    at = ("--name", name)
    result(onesheet("up", "--plain", "--nodes", 2, *at, "--json"))
    bed = attach(name)
    started = set.union(*(bed.processes(node.name) for node in bed.record.nodes))
    assert len({node.address for node in bed.record.nodes}) == 1
    assert set(bed.ray_nodes()) == {"head", "worker1"}
    done = onesheet("cut", "worker1", *at)
    assert done.returncode == 1
    assert "has no network of its own to cut" in done.stderr
    heads = bed.processes("head")
    bed.kill("worker1")
    assert not bed.processes("worker1")
    assert heads <= bed.processes("head"), "the other node's processes run on"
    assert result(onesheet("down", *at, "--json")) == {"removed": [name]}
    assert trace(bed, started) == []


@pytest.mark.slow
@pytest.mark.fault
def test_a_cluster_is_gone_when_its_owner_is_killed(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", _OWNER, name], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"up\n"
        bed = attach(name)
        started = set.union(*(bed.processes(node.name) for node in bed.record.nodes))
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while left := trace(bed, started):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
