"""Gathers the facts of this machine, and of each node of a Ray cluster by a task on it, for `checks` to judge."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster import node_facts
from cluster.checks import Finding, Level, Node
from cluster.errors import ClusterError, StoreError
from cluster.nodes import connect
from cluster.ports import try_port
from cluster.settings import Settings
from cluster.store import open_store

# The ports of a head node and of the endpoint, where nothing else is said.
_PORTS = {6379: "ray start --head", 8265: "the Ray dashboard", 8000: "onesheet serve"}
HERE = "this machine"


@dataclass(slots=True)
class _Asked:
    """A node that was asked: its actor, and the answer that is awaited."""

    name: str
    alive: dict[str, Any]
    actor: Any
    answer: Any


def look_here(settings: Settings) -> list[Node]:
    """This machine alone."""
    facts = node_facts.gather_facts(settings.store, None, [], tempfile.gettempdir())
    return [Node(HERE, facts)]


def free_ports_here() -> list[Finding]:
    """Whether what is started here without options finds its port free."""
    found = []
    for port, whose in _PORTS.items():
        try:
            try_port("127.0.0.1", port)
            found.append(Finding("ports", HERE, Level.FINE, f"{port} is free for {whose}"))
        except OSError as error:
            remedy = f"fine if {whose} runs here already; else end what listens there, or choose another port"
            found.append(Finding("ports", HERE, Level.WARNING, f"{port}: {error.strerror}", remedy))
    return found


def look_at_cluster(settings: Settings, *, timeout_s: float) -> list[Node]:
    """This machine, and every node of the cluster at `settings.ray_address`; a node has timeout_s to answer.

    Raises ClusterError where the cluster cannot be joined, such as from another version of Ray or Python.
    """
    import ray  # noqa: PLC0415  slow to import

    with _versions_told(), connect(settings), _probe(settings) as probe_key:
        alive = [node for node in ray.nodes() if node["Alive"]]
        folder = ray._private.worker._global_node.get_temp_dir_path()
        here = node_facts.gather_facts(settings.store, probe_key, [], folder)
        asked = [_ask(node, alive, settings, probe_key, folder) for node in alive]
        deadline = time.monotonic() + timeout_s
        found = [_heard(each, deadline) for each in asked]
        for each in asked:
            ray.kill(each.actor)
    return [Node(HERE, here), *found]


@contextlib.contextmanager
def _versions_told() -> Iterator[None]:
    """Ray tells over several lines that it will not join a cluster of other versions: all of them count here."""
    try:
        yield
    except ClusterError as error:
        said = str(error.__cause__ or "")
        if "Version mismatch" not in said:
            raise
        raise ClusterError(
            f"{' '.join(said.split())} Install the cluster's versions here, or look at it from inside: "
            "onesheet submit doctor"
        ) from error


@contextlib.contextmanager
def _probe(settings: Settings) -> Iterator[str | None]:
    """An object in the store within the block, for all nodes to find; None where it cannot be written."""
    store, key = open_store(settings.store), f"doctor/{secrets.token_hex(8)}"
    try:
        store.put(key, b"")
    except StoreError:
        yield None
        return
    try:
        yield key
    finally:
        with contextlib.suppress(StoreError):
            store.delete(key)


def _ask(node: dict[str, Any], alive: list[dict[str, Any]], settings: Settings, key: str | None, folder: str) -> _Asked:
    import ray  # noqa: PLC0415  as above
    from ray import cloudpickle  # noqa: PLC0415  as above
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415  as above

    # By value: a node whose onesheet is missing or another one is just what is looked for.
    cloudpickle.register_pickle_by_value(node_facts)
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    others = [
        (f"{other['NodeManagerAddress']}'s {what}", other["NodeManagerAddress"], int(other[port]))
        for other in alive
        if other["NodeID"] != node["NodeID"]
        for what, port in (("node manager", "NodeManagerPort"), ("object manager", "ObjectManagerPort"))
    ]
    actor = ray.remote(node_facts.Examiner).options(num_cpus=0, scheduling_strategy=there).remote()
    name = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
    return _Asked(name, node, actor, actor.facts.remote(open_store(settings.store).url, key, others, folder))


def _heard(asked: _Asked, deadline: float) -> Node:
    import ray  # noqa: PLC0415  as above
    from ray.exceptions import GetTimeoutError, RayError  # noqa: PLC0415  as above

    resources = asked.alive["Resources"]
    try:
        facts = ray.get(asked.answer, timeout=max(1.0, deadline - time.monotonic()))
        # The actor is warm now, so the way there and back is short.
        sent = time.time()
        theirs = ray.get(asked.actor.now.remote(), timeout=max(1.0, deadline - time.monotonic()))
        back = time.time()
    except GetTimeoutError:
        return Node(asked.name, silence="it did not answer in time", resources=resources)
    except RayError as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return Node(asked.name, silence=f"it could not be asked: {last}", resources=resources)
    return Node(
        asked.name,
        facts,
        clock_s=theirs - (sent + back) / 2,
        clock_error_s=(back - sent) / 2,
        resources=resources,
    )
