"""The doctor on this machine, on a real cluster, and on one that is not well."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cluster.doctor_commands import doctor
from cluster.errors import ClusterError
from cluster.job_server import JobServer
from cluster.nodes import LocalCluster, node_environment
from cluster.processes import Family
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server, free_ports

APP = typer.Typer()
APP.command("doctor")(doctor)


def look(*words: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(APP, [*words, "--json"], catch_exceptions=False)
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["is_well"] == (result.exit_code == 0)
    return result.exit_code, told["findings"]


def wrong(findings: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["check"], each["node"].split()[0]) for each in findings if each["level"] == "broken"}


def test_this_machine_alone(tmp_path: Path) -> None:
    code, found = look("--store", str(tmp_path / "store"))
    assert code == 0
    assert {"versions", "store", "ports", "disk", "memory"} <= {each["check"] for each in found}


def test_a_store_that_cannot_be_written_is_broken_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, found = look("--store", str(tmp_path / "file" / "store"))
    assert code == 1
    (bad,) = [each for each in found if each["level"] == "broken"]
    assert bad["check"] == "store"
    assert "cannot be written: Not a directory" in bad["what"]
    assert "ONESHEET_STORE" in bad["remedy"]


def test_a_cluster_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(ClusterError, match="no Ray cluster answers at"):
        look("--ray-address", f"127.0.0.1:{free_ports(1)[0]}")


@pytest.mark.slow
def test_a_cluster_of_one_node_is_well(ray_head: LocalCluster, tmp_path: Path) -> None:
    code, found = look("--ray-address", ray_head.address, "--store", str(tmp_path / "store"))
    assert code == 0, found
    assert {"versions", "store", "clock", "disk", "shared memory", "memory"} <= {
        each["check"] for each in found if each["node"].startswith(ray_head.address.partition(":")[0])
    }
    assert list((tmp_path / "store").rglob("*.*")) == [], "what was put there to be found is gone again"


@pytest.mark.fault
def test_a_node_of_other_versions_that_does_not_reach_the_store_is_named(
    ray_head: LocalCluster, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = fresh_bucket(moto_server, monkeypatch)
    other = tmp_path / "keras-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 0.0.1\n")
    (port,) = free_ports(1)
    with second_node(
        ray_head,
        PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
        AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{port}",
    ):
        code, found = look("--ray-address", ray_head.address, "--store", store)
    assert code == 1
    broken = [each for each in found if each["level"] == "broken"]
    assert [each["check"] for each in broken if "keras 0.0.1, not " in each["what"]] == ["versions"]
    # The job's nodes have no credentials of this test's server but by their environment, which the head has not.
    assert "store" in {each["check"] for each in broken}
    assert len({each["node"] for each in found}) == 3


@contextmanager
def second_node(head: LocalCluster, **environment: str) -> Iterator[None]:
    """Another raylet of the cluster on this machine."""
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={head.address}"),
        *("--num-cpus=1", "--disable-usage-stats", f"--dashboard-agent-listen-port={free_ports(1)[0]}"),
        "--object-store-memory=100000000",
    ]
    server = JobServer(head.dashboard_url)
    with Family(grace_s=3) as family:
        base = node_environment({**os.environ, **head.environment(), **environment})
        family.start(command, environment=base, log=head.logs / "second-node.log")
        deadline = time.monotonic() + 60
        while server.client._do_request("GET", "/api/v0/nodes").json()["data"]["result"]["total"] < 2:
            assert time.monotonic() < deadline, (head.logs / "second-node.log").read_text()
            time.sleep(0.5)
        yield
