"""A testbed that is there: its nodes, and the ways in which they can be hurt."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cluster.errors import ClusterError
from cluster.job_server import job_client
from cluster.nodes import node_environment, token_mode
from cluster.processes import kill_all, marked, with_descendants
from cluster.testbed.disk import empty_disk, fill_disk
from cluster.testbed.network import Network
from cluster.testbed.record import DEFAULT_NAME, Node, Record, read_record

HEAD = "head"
_START_TIMEOUT_S = 120
_STORAGE = "jobs"
# What Ray itself would offer of a machine.
_SHARE_OF_MEMORY = 0.7
_MARK = "ONESHEET_TESTBED_NODE"


class Bed:
    """A testbed that is there. Its nodes are called `head`, `worker1`, `worker2`, …"""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._network = None if record.network is None else Network(record.network)

    @property
    def host(self) -> str:
        """The address at which every node reaches this machine: what they are to ask must listen there."""
        return self.record.nodes[0].address

    @property
    def address(self) -> str:
        """Ray's."""
        return f"{self.host}:{self.record.gcs_port}"

    @property
    def dashboard_url(self) -> str:
        """Also the job server's address."""
        return f"http://{self.host}:{self.record.dashboard_port}"

    @property
    def workers(self) -> list[str]:
        """The names of all nodes but the head."""
        return [node.name for node in self.record.nodes if not node.is_head]

    def environment(self) -> dict[str, str]:
        """The variables with which `onesheet`, `ray job` and drivers find it."""
        found = {"ONESHEET_RAY_ADDRESS": self.address, "RAY_API_SERVER_ADDRESS": self.dashboard_url}
        return {**found, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}

    def node(self, name: str) -> Node:
        """Raises ClusterError where there is none of that name."""
        for node in self.record.nodes:
            if node.name == name:
                return node
        raise ClusterError(f"no node {name!r}; there are {', '.join(node.name for node in self.record.nodes)}")

    def processes(self, name: str) -> set[psutil.Process]:
        """The processes of a node that run now."""
        node = self.node(name)
        if self._network is None or node.is_head:
            return self._local_processes(node)
        found = set()
        for number in self._network.processes(node.place):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.add(psutil.Process(number))
        return found

    def _local_processes(self, node: Node) -> set[psutil.Process]:
        """Those of a node in this machine's own namespace. Not the drivers, which are somebody's commands."""
        # Some of Ray's overwrite their environment by a title such as ray::IDLE, and their parent may be gone.
        titled = {process for process in psutil.process_iter(["cmdline"]) if _is_titled(process)}
        orphans = {process for process in titled if _holds(process, node.folder)}
        return with_descendants(marked(_MARK, str(node.folder)) | orphans)

    def kill(self, name: str, *, power_off: bool = False) -> None:
        """SIGKILL for every process of a node. power_off: its connections are not closed either, but fall silent."""
        if power_off:
            self._need_network(name).unplug(self.node(name).place)
            self._note(name, is_cut=True)
        kill_all(lambda: self.processes(name))

    def start(self, name: str) -> None:
        """Start a node that was killed, with an empty folder; the head with the jobs that it knew."""
        node = self.node(name)
        if self.processes(name):
            raise ClusterError(f"{name} runs already")
        if name in self.record.is_cut:
            self.mend(name)
        if node.is_head and not self.record.keeps_jobs:
            raise ClusterError("this Ray keeps nothing of a head that ended; start the cluster anew: down, then up")
        self._clear(node)
        self.launch(node)
        self.wait_for([name])

    def _clear(self, node: Node) -> None:
        """A worker node comes back as an empty machine, the head to the logs of its jobs."""
        # By which Ray would hold the head for running.
        (node.folder / "ray_current_cluster").unlink(missing_ok=True)
        if not node.is_head:
            for each in node.folder.iterdir():
                shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()

    def cut(self, name: str, other: str | None = None) -> None:
        """Cut a worker node off from all, or two nodes from each other: nothing arrives, and nothing is refused."""
        network = self._need_network(name)
        if other is None:
            network.unplug(self.node(name).place)
        elif name != other:
            network.part(self.node(name).place, self.node(other).place)
        self._note(_pair(name, other), is_cut=True)

    def mend(self, name: str, other: str | None = None) -> None:
        """Undo `cut`."""
        network = self._need_network(name)
        if other is None:
            network.plug(self.node(name).place)
        else:
            network.rejoin(self.node(name).place, self.node(other).place)
        self._note(_pair(name, other), is_cut=False)

    def drain(self, name: str, *, deadline_s: int = 30) -> None:
        """The notice that a spot machine gets: nothing new is to begin there, and after the deadline it may be gone."""
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # noqa: PLC0415
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # noqa: PLC0415

        node_id = self.ray_nodes().get(name, {}).get("node_id")
        if node_id is None:
            raise ClusterError(f"{name} is not alive: onesheet cluster start {name}")
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + deadline_s) * 1000)
        # What `ray drain-node` does, which wants the node's id.
        is_accepted, why = GcsClient(address=self.address).drain_node(node_id, reason, "a drill", deadline_ms)
        if not is_accepted:
            raise ClusterError(f"Ray does not drain {name}: {why}")

    def fill(self, name: str) -> int:
        """Leave no byte free on a node's disk; the bytes that it took."""
        return fill_disk(self._need_disk(name))

    def empty(self, name: str) -> None:
        """Undo `fill`."""
        empty_disk(self._need_disk(name))

    def disk_free_mb(self, name: str) -> int | None:
        """None where a node has no disk of its own."""
        node = self.node(name)
        return shutil.disk_usage(node.folder).free >> 20 if node.has_disk else None

    def ray_nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes that Ray holds for alive, by name: node_id, node_ip, resources_total."""
        from ray.util.state import list_nodes  # noqa: PLC0415

        # With Ray's token.
        job_client(self.dashboard_url)
        try:
            found = list_nodes(address=self.dashboard_url, timeout=10, limit=1000, raise_on_missing_output=False)
        except Exception as error:  # Ray's own kinds, and those of its HTTP client
            raise ClusterError(f"the head of cluster {self.record.name} does not answer: {error}") from error
        return {
            node.node_name: {"node_id": node.node_id, "node_ip": node.node_ip, "resources_total": node.resources_total}
            for node in found
            if node.state == "ALIVE"
        }

    def wait_for(self, wanted: list[str] | None = None, *, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Until Ray holds these nodes, or all, for alive. Raises ClusterError with a node's last words."""
        missing = set(wanted or [node.name for node in self.record.nodes])
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(ClusterError, OSError, RuntimeError):
                missing -= set(self.ray_nodes())
                if not missing:
                    # The dashboard is up before jobs are taken.
                    job_client(self.dashboard_url).list_jobs()
                    return
            if time.monotonic() > deadline:
                name = min(missing, default=HEAD)
                raise ClusterError(f"{name} did not join within {timeout_s:.0f} s: {self._last_words(name)}")
            time.sleep(0.2)

    def launch(self, node: Node) -> None:
        log = self.record.folder / f"{node.name}.log"
        own = {_MARK: str(node.folder), "TMPDIR": str(node.folder / "tmp"), **token_mode(), **self.record.environment}
        if node.is_head and self.record.keeps_jobs:
            own |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self.record.folder / _STORAGE)}
        environment = node_environment({**os.environ, **own})
        environment.pop("RAY_ADDRESS", None)
        (node.folder / "tmp").mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            started = subprocess.run(  # noqa: S603
                self._start_command(node),
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                timeout=_START_TIMEOUT_S,
            )
        if started.returncode != 0:
            raise ClusterError(f"{node.name} did not start: {self._last_words(node.name)}")

    def _start_command(self, node: Node) -> list[str]:
        record = self.record
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"),
            *(f"--node-ip-address={node.address}", f"--node-name={node.name}", f"--temp-dir={node.folder}"),
            *(f"--num-cpus={record.cpus_of(node)}", f"--object-store-memory={record.object_store_bytes}"),
            f"--dashboard-agent-listen-port={node.agent_port}",
            f"--memory={int(psutil.virtual_memory().total * _SHARE_OF_MEMORY / len(record.nodes))}",
        ]
        if node.is_head:
            ports = [f"--port={record.gcs_port}", f"--ray-client-server-port={record.client_port}"]
            dashboard = [f"--dashboard-host={node.address}", f"--dashboard-port={record.dashboard_port}"]
            return [*command, "--head", *ports, *dashboard]
        command.append(f"--address={self.address}")
        if self._network is None:
            return command
        # Within its namespace a node has its own mounts: its own shared memory, no larger than it needs.
        mount = f"mount -t tmpfs -o size={2 * record.object_store_bytes} onesheet /dev/shm"
        return [*self._network.enter(node.place), "sh", "-c", f'{mount} && exec "$@"', "sh", *command]

    def _last_words(self, name: str) -> str:
        try:
            said = (self.record.folder / f"{name}.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return " ".join([line for line in said if line.strip()][-1:])

    def _note(self, what: str, *, is_cut: bool) -> None:
        self.record = read_record(self.record.name).with_cut(what, is_cut=is_cut)
        self.record.save()

    def _need_network(self, name: str) -> Network:
        if self.node(name).is_head:
            raise ClusterError("the head is this machine itself and cannot be cut off; cut a worker node off from it")
        if self._network is None:
            raise ClusterError(
                f"{name} has no network of its own to cut: as root on Linux, start the cluster without --plain"
            )
        return self._network

    def _need_disk(self, name: str) -> Path:
        node = self.node(name)
        if not node.has_disk:
            raise ClusterError(f"{name} has no disk of its own, and this machine's is not filled up for a drill")
        return node.folder


def _pair(name: str, other: str | None) -> str:
    return " ".join(sorted(each for each in (name, other) if each))


def _is_titled(process: psutil.Process) -> bool:
    return (process.info["cmdline"] or [""])[0].startswith(("ray::", "ray-"))


def _holds(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return any(Path(file.path).is_relative_to(folder) for file in process.open_files())
    return False


def attach(name: str = DEFAULT_NAME) -> Bed:
    """The testbed of that name. Raises ClusterError where there is none."""
    return Bed(read_record(name))
