"""What is wrong with a machine or a cluster, from facts that were gathered, and how to mend it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_GB = 1e9
# Ray takes no new objects and kills nothing less than all once a disk is this full.
_FULL_SHARE = 0.95
_LEAST_DISK = 10 * _GB
_LEAST_MEMORY = 1 * _GB
_LEAST_OPEN_FILES = 4096
_WARN_CLOCK_S, _BROKEN_CLOCK_S = 1.0, 60.0
_NEEDED = ("onesheet", "ray", "tensorflow", "keras")


class Level(StrEnum):
    """How bad it is: only what is broken fails the doctor."""

    FINE = "fine"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found on a node. remedy: what to do; empty where all is well."""

    check: str
    node: str
    level: Level
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine and its facts (`node_facts.gather_facts`); none where it did not answer, with the reason.

    clock_s: how far its clock is ahead of ours, give or take clock_error_s. resources: what Ray reckons it has.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    silence: str = ""
    clock_s: float | None = None
    clock_error_s: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)


def diagnose(nodes: list[Node]) -> list[Finding]:
    """All findings, check by check; nodes[0]: this machine, by which the others are measured."""
    answered = [node for node in nodes if node.facts]
    found = [
        Finding(
            "answers",
            node.name,
            Level.BROKEN,
            node.silence,
            "look at this node's Ray: `ray status`, its logs, its load",
        )
        for node in nodes
        if not node.facts
    ]
    found += versions(answered)
    for check in _CHECKS:
        found += [finding for node in answered for finding in check(node)]
    return found


def versions(nodes: list[Node]) -> list[Finding]:
    """Python and the packages: there, and the same on every node as on the first."""
    found = []
    for node in nodes:
        mine, theirs = nodes[0].facts["versions"], node.facts["versions"]
        missing = [name for name in _NEEDED if not theirs.get(name)]
        other = [
            f"{name} {theirs[name]}, not {mine[name]} as on {nodes[0].name}"
            for name in mine
            if theirs.get(name) and mine[name] and theirs[name] != mine[name]
        ]
        if missing or other:
            what = "; ".join([*(f"{name} is not installed" for name in missing), *other])
            remedy = "install the same requirements.lock on every node, or run one image everywhere"
            found.append(Finding("versions", node.name, Level.BROKEN, what, remedy))
        else:
            what = f"Python {theirs['python']}, ray {theirs['ray']}, tensorflow {theirs['tensorflow']}"
            found.append(Finding("versions", node.name, Level.FINE, what))
    return found


def store(node: Node) -> Iterator[Finding]:
    """The store is reached from the node, can be written, and is the same place as elsewhere."""
    if (why := node.facts["store"]) is None:
        return
    if not why:
        yield Finding("store", node.name, Level.FINE, "reached and writable")
        return
    remedy = "give the node its credentials and ONESHEET_STORE; a folder must be a drive that all nodes share"
    yield Finding("store", node.name, Level.BROKEN, why, remedy)


def ports(node: Node) -> Iterator[Finding]:
    """The node reaches the other nodes' ports."""
    if (gone := node.facts["unreachable"]) is None:
        return
    if gone:
        remedy = "open these ports between the nodes: Ray needs all of them both ways, or fixed ones in `ray start`"
        yield Finding("ports", node.name, Level.BROKEN, f"does not reach {', '.join(gone)}", remedy)
    else:
        yield Finding("ports", node.name, Level.FINE, "reaches all others")


def clock(node: Node) -> Iterator[Finding]:
    """The node's clock is ours: S3 refuses signatures that are too old or of the future."""
    if node.clock_s is None:
        return
    off = max(0.0, abs(node.clock_s) - node.clock_error_s)
    what = f"{abs(node.clock_s):.2f} s {'ahead' if node.clock_s > 0 else 'behind'}"
    if off <= _WARN_CLOCK_S:
        yield Finding("clock", node.name, Level.FINE, "as ours")
        return
    level = Level.BROKEN if off > _BROKEN_CLOCK_S else Level.WARNING
    yield Finding("clock", node.name, level, what, "let it keep time by NTP: timedatectl set-ntp true")


def disk(node: Node) -> Iterator[Finding]:
    """There is room where Ray keeps its files."""
    if (facts := node.facts["disk"]) is None:
        return
    free, share = facts["free"], 1 - facts["free"] / max(1, facts["total"])
    what = f"{free / _GB:.1f} GB free of {facts['total'] / _GB:.0f} at {facts['folder']}"
    if share >= _FULL_SHARE:
        remedy = "free some, or start Ray with --temp-dir on a larger disk: at 95% Ray takes no more objects"
        yield Finding("disk", node.name, Level.BROKEN, what, remedy)
    elif free < _LEAST_DISK:
        yield Finding("disk", node.name, Level.WARNING, what, "free some: shards and checkpoints pass through it")
    else:
        yield Finding("disk", node.name, Level.FINE, what)


def shared_memory(node: Node) -> Iterator[Finding]:
    """The objects that Ray may keep in memory find room there, or they go to the slower disk."""
    facts, wanted = node.facts["shared_memory"], node.resources.get("object_store_memory", 0)
    if facts is None or not wanted:
        return
    what = f"shared memory of {facts['total'] / _GB:.1f} GB, Ray's objects may take {wanted / _GB:.1f}"
    if facts["total"] < wanted:
        remedy = f"docker run --shm-size={wanted / _GB:.0f}g, an emptyDir of medium Memory, or a smaller object store"
        yield Finding("shared memory", node.name, Level.WARNING, what, remedy)
    else:
        yield Finding("shared memory", node.name, Level.FINE, what)


def memory(node: Node) -> Iterator[Finding]:
    """Some memory is left: Ray kills workers at 95%."""
    facts = node.facts["memory"]
    what = f"{facts['available'] / _GB:.1f} GB of {facts['total'] / _GB:.1f} available"
    if facts["available"] < facts["total"] * (1 - _FULL_SHARE):
        yield Finding("memory", node.name, Level.BROKEN, what, "end what takes it, or take a larger machine")
    elif facts["available"] < _LEAST_MEMORY:
        yield Finding("memory", node.name, Level.WARNING, what, "a worker with TensorFlow takes about 1 GB")
    else:
        yield Finding("memory", node.name, Level.FINE, what)


def open_files(node: Node) -> Iterator[Finding]:
    """A process may open enough files and connections."""
    if 0 <= (most := node.facts["open_files"]) < _LEAST_OPEN_FILES:
        remedy = "ulimit -n 65536 before Ray starts, or LimitNOFILE in its unit"
        yield Finding("open files", node.name, Level.WARNING, f"at most {most}", remedy)


def gpus(node: Node) -> Iterator[Finding]:
    """The GPUs of the machine are seen by TensorFlow and offered by Ray."""
    facts, offered = node.facts["gpus"], node.resources.get("GPU", 0)
    there, seen = facts["driver"], facts["tensorflow"]
    if not there and not offered:
        return
    if offered > there:
        remedy = "install NVIDIA's driver, or start Ray with the right --num-gpus"
        yield Finding("GPUs", node.name, Level.BROKEN, f"Ray offers {offered:g}, the driver sees {there}", remedy)
    elif seen != there:
        why = facts["said"] or f"TensorFlow sees {seen} of {there}"
        remedy = "pip install 'onesheet[gpu]' on the node, for the CUDA libraries that TensorFlow looks for"
        yield Finding("GPUs", node.name, Level.BROKEN, why, remedy)
    elif node.resources and not offered:
        remedy = f"start Ray with --num-gpus={there}, or leave them to others"
        yield Finding("GPUs", node.name, Level.WARNING, f"{there} seen, none offered by Ray", remedy)
    else:
        yield Finding("GPUs", node.name, Level.FINE, f"{there} seen by TensorFlow")


_CHECKS: tuple[Callable[[Node], Iterator[Finding]], ...] = (
    store,
    ports,
    clock,
    disk,
    shared_memory,
    memory,
    open_files,
    gpus,
)
