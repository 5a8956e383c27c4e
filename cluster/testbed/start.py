"""A testbed from nothing to nothing: started by one command, removed whole by another, whatever happened between."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from cluster.errors import ClusterError
from cluster.ports import free_ports
from cluster.processes import kill_all
from cluster.testbed.bed import HEAD, Bed
from cluster.testbed.disk import mount_disk, unmount_disk
from cluster.testbed.network import Network, NetworkRefusedError, make_network
from cluster.testbed.record import DEFAULT_NAME, Node, Record, folder_of, locked, read_record

_ROOT = Path(__file__).resolve().parents[2]
# Ray refuses less for its object store, and a worker's own needs come on top of it in the node's /dev/shm.
_LEAST_STORE_BYTES = 80 * 2**20
_MOST_STORE_BYTES = 512 * 2**20
_SHARE_OF_SHM = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a testbed is to be.

    nodes: the head among them. head_cpus: None for as many as the others have; 0 keeps tasks off the head.
    object_store_mb: None for as much as this machine's shared memory allows, 512 at most. disk_mb: of each worker node,
    where this user may mount one. is_plain: all nodes at this machine's own address, also where it would allow a
    network. environment: variables for every process of every node; `{host}` in a value stands for the address at which
    the nodes reach this machine.
    """

    nodes: int = 3
    cpus_per_node: int = 1
    head_cpus: int | None = None
    object_store_mb: int | None = None
    disk_mb: int = 1024
    is_plain: bool = False
    environment: Mapping[str, str] | None = None


def up(wanted: Wanted, name: str = DEFAULT_NAME) -> Bed:
    """Start a testbed that stays until `down`. Raises ClusterError, and leaves nothing then."""
    if wanted.nodes < 1 or wanted.cpus_per_node < 0:
        raise ClusterError(f"{wanted.nodes} nodes of {wanted.cpus_per_node} CPUs: at least one node")
    with locked(name):
        folder = folder_of(name)
        _require_absent(name)
        folder.mkdir()
        try:
            bed = Bed(_planned(wanted, name))
            head, *workers = bed.record.nodes
            bed.launch(head)
            # Each start is mostly imports; more at the same time than this would only be in each other's way.
            with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as starters:
                list(starters.map(bed.launch, workers))
            bed.wait_for()
        except BaseException:
            _remove(name)
            raise
    return bed


def down(name: str = DEFAULT_NAME) -> bool:
    """Remove a testbed whole: processes, network, disks, folder, also after a crash. Whether there was one."""
    with locked(name):
        return _remove(name)


@contextlib.contextmanager
def running_bed(wanted: Wanted, name: str | None = None) -> Iterator[Bed]:
    """A testbed within the block, removed with it, and also when this process is killed."""
    name = name or f"t{os.getpid()}"
    # Before there is anybody to remove it.
    _require_absent(name)
    keeper = [sys.executable, "-m", "cluster.testbed.keeper", name]
    with subprocess.Popen(keeper, stdin=subprocess.PIPE, start_new_session=True, cwd=_ROOT):  # noqa: S603
        try:
            yield up(wanted, name)
        finally:
            down(name)


def _require_absent(name: str) -> None:
    if folder_of(name).exists():
        raise ClusterError(f"a cluster {name!r} is there already; remove it first: onesheet cluster down --name {name}")


def _planned(wanted: Wanted, name: str) -> Record:
    """Give each node its place, address and folder; the network and the disks are there afterwards."""
    from ray._private.node import Node as RayNode  # noqa: PLC0415
    from ray.util import get_node_ip_address  # noqa: PLC0415

    here, ports, store_bytes = get_node_ip_address(), free_ports(3 + wanted.nodes), _object_store_bytes(wanted)
    network = None
    if not wanted.is_plain and wanted.nodes > 1:
        with contextlib.suppress(NetworkRefusedError):
            network = make_network()
    host = network.address(1) if network else here
    record = Record(
        name=name,
        network=network.number if network else None,
        cpus_per_node=wanted.cpus_per_node,
        head_cpus=wanted.cpus_per_node if wanted.head_cpus is None else wanted.head_cpus,
        object_store_bytes=store_bytes,
        gcs_port=ports[0],
        client_port=ports[1],
        dashboard_port=ports[2],
        # Ray before 2.60 keeps its tables in Redis or nowhere.
        keeps_jobs=hasattr(RayNode, "_is_rocksdb_gcs"),
        environment={name: value.replace("{host}", host) for name, value in (wanted.environment or {}).items()},
    )
    # Kept before anything more is made, and after each node: what is not in here is not removed.
    record.save()
    for place in range(1, wanted.nodes + 1):
        node_name = HEAD if place == 1 else f"worker{place - 1}"
        folder = record.folder / node_name
        folder.mkdir()
        address = network.address(place) if network else here
        node = Node(node_name, place, address, folder, ports[2 + place], has_disk=False)
        record = replace(record, nodes=(*record.nodes, node))
        record.save()
        if place > 1 and network:
            network.add(place)
        # The head's is this machine's own: what runs there are the commands of this machine.
        if place > 1 and mount_disk(folder, wanted.disk_mb):
            record = replace(record, nodes=(*record.nodes[:-1], replace(node, has_disk=True)))
            record.save()
    return record


def _object_store_bytes(wanted: Wanted) -> int:
    if wanted.object_store_mb is not None:
        if wanted.object_store_mb * 2**20 < _LEAST_STORE_BYTES:
            raise ClusterError(f"--object-store-mb {wanted.object_store_mb}: Ray needs {_LEAST_STORE_BYTES >> 20}")
        return wanted.object_store_mb * 2**20
    try:
        free = shutil.disk_usage("/dev/shm").free  # noqa: S108
    except OSError:  # only Linux has it
        free = psutil.virtual_memory().available
    share = int(free * _SHARE_OF_SHM / wanted.nodes)
    return max(_LEAST_STORE_BYTES, min(_MOST_STORE_BYTES, share))


def _remove(name: str) -> bool:
    folder = folder_of(name)
    if not folder.exists():
        return False
    with contextlib.suppress(ClusterError):
        record = read_record(name)
        bed = Bed(record)
        for node in reversed(record.nodes):
            with contextlib.suppress(NetworkRefusedError):
                kill_all(lambda node=node: bed.processes(node.name))  # type: ignore[misc]
        if record.network is not None:
            Network(record.network).remove([node.place for node in record.nodes if not node.is_head])
    for each in folder.iterdir():
        unmount_disk(each)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise ClusterError(f"{folder} cannot be removed whole; see what holds it: fuser -vm {folder}")
    return True
