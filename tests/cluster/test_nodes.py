"""Ray nodes: joined, started, and gone without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.errors import ClusterError
from cluster.job_server import job_client
from cluster.nodes import LocalCluster, connect, local_cluster, node_environment
from cluster.settings import load_settings
from tests.processes import running, titled, wait_until_gone
from tests.s3_servers import free_ports

_OWNER = """
import time
from cluster.nodes import local_cluster
with local_cluster(num_cpus=1) as cluster:
    print(cluster.logs.parent.parent, flush=True)
    time.sleep(1000)
"""


class TestConnect:
    @pytest.mark.parametrize("variable", ["ONESHEET_RAY_ADDRESS", "RAY_ADDRESS"])
    def test_a_cluster_that_does_not_answer_is_said_within_seconds(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        address = f"127.0.0.1:{free_ports(1)[0]}"
        monkeypatch.setenv(variable, address)
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at '{address}' .*ONESHEET_RAY_ADDRESS"):
            connect(load_settings()).__enter__()
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "head", "head:port", ":6379"])
    def test_an_address_of_another_kind_is_refused(self, address: str) -> None:
        with pytest.raises(ClusterError, match="is not the address of a Ray cluster"):
            connect(load_settings(ray_address=address)).__enter__()

    def test_a_server_that_is_not_ray_is_said_within_seconds(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            started = time.monotonic()
            with pytest.raises(ClusterError, match="no Ray cluster answers at"):
                connect(load_settings(ray_address=f"127.0.0.1:{server.getsockname()[1]}")).__enter__()
            assert time.monotonic() - started < 10

    @pytest.mark.slow
    def test_without_an_address_ray_runs_here_and_ends_with_the_block(self) -> None:
        import ray

        # Servers of other tests may run on until the session ends.
        before = set(psutil.Process().children(recursive=True))
        with connect(load_settings(), num_cpus=1):
            found = ray.get(ray.remote(shutil.which).remote("onesheet"))
            started = list(set(psutil.Process().children(recursive=True)) - before)
            with connect(load_settings()):
                pass
            assert ray.is_initialized(), "a nested connect left the outer one connected"
        assert found == str(Path(sys.executable).parent / "onesheet")
        assert not ray.is_initialized()
        wait_until_gone(started)

    @pytest.mark.slow
    def test_its_processes_find_their_own_ray_where_another_runs_on_the_machine(self, ray_head: LocalCluster) -> None:
        """As Ray Train's cleaner does, which frees what a stopped trial held."""
        import ray

        @ray.remote
        def cpus_of_the_ray_that_is_asked() -> list[float]:
            from ray.util.state import list_nodes

            return [node.resources_total["CPU"] for node in list_nodes()]

        with connect(load_settings(), num_cpus=1, dashboard=True):
            assert ray.get(cpus_of_the_ray_that_is_asked.remote()) == [1]
        assert "RAY_ADDRESS" not in os.environ

    @pytest.mark.slow
    def test_a_running_cluster_is_joined_and_left_as_it_was(self, ray_head: LocalCluster) -> None:
        import ray

        for _ in range(2):
            with connect(load_settings(ray_address=ray_head.address)):
                assert ray.cluster_resources()["CPU"] == 2
            assert not ray.is_initialized()


class TestNodeEnvironment:
    def test_our_commands_are_first_on_the_path(self) -> None:
        here = str(Path(sys.executable).parent)
        environment = node_environment({"PATH": f"/usr/bin:{here}:/bin", "HOME": "/home/one"})
        assert environment["PATH"] == f"{here}:/usr/bin:/bin"
        assert environment["HOME"] == "/home/one"


@pytest.mark.slow
class TestLocalCluster:
    @pytest.mark.fault
    def test_two_clusters_live_beside_each_other_and_each_ends_alone(self, ray_head: LocalCluster) -> None:
        me = psutil.Process()
        before = set(me.children(recursive=True))
        with local_cluster(num_cpus=1, environment={"RAY_SERVE_ENABLE_HA_PROXY": "1"}) as cluster:
            started = list(set(me.children(recursive=True)) - before)
            assert titled("raylet", started)
            assert cluster.address != ray_head.address
            folder = cluster.logs.parent.parent
            assert cluster.logs.is_dir()
        assert not running(started)
        assert not folder.exists()
        job_client(ray_head.dashboard_url).list_jobs()

    @pytest.mark.fault
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_nothing_runs_on_when_a_signal_ends_its_owner(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL and sys.platform != "linux":
            pytest.skip("only Linux tells a child that its parent was killed")
        with subprocess.Popen(
            [sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ)
        ) as owner:
            assert owner.stdout
            folder = Path(owner.stdout.readline().decode().strip())
            started = psutil.Process(owner.pid).children(recursive=True)
            owner.send_signal(number)
            owner.wait(30)
        if number == signal.SIGKILL:
            wait_until_gone(started)
            shutil.rmtree(folder)
        assert len(started) > 3, "the cluster ran"
        assert not running(started)
        assert not folder.exists()

    @pytest.mark.fault
    def test_a_cluster_that_cannot_start_says_why(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(
                ClusterError, match=f"the dashboard's port {port} cannot be used: Address already in use"
            ):
                local_cluster(dashboard_port=port).__enter__()
        with pytest.raises(ClusterError, match=r"Ray did not start; its last words: \S+"):
            local_cluster(num_cpus=-1).__enter__()
