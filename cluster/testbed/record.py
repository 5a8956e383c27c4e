"""What a testbed consists of, in a file, so that it can be removed whole by anybody at any time, also after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cluster.errors import ClusterError

DEFAULT_NAME = "local"
_FILE = "testbed.json"
# Ray puts sockets below a node's folder, whose paths may have 107 bytes in all.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,11}")


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it was planned. place: counts from 1, which is the head's. has_disk: its folder is a disk by itself."""

    name: str
    place: int
    address: str
    folder: Path
    agent_port: int
    has_disk: bool

    @property
    def is_head(self) -> bool:
        """Whether it is the cluster's head, where drivers run."""
        return self.place == 1


@dataclass(frozen=True, slots=True)
class Record:
    """A testbed. network: its number, None where all nodes share this machine's address.

    is_cut: the nodes that are unplugged, and the pairs that are parted (`worker1 worker2`).
    """

    name: str
    network: int | None
    cpus_per_node: int
    head_cpus: int
    object_store_bytes: int
    gcs_port: int
    client_port: int
    dashboard_port: int
    keeps_jobs: bool
    nodes: tuple[Node, ...] = ()
    is_cut: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def cpus_of(self, node: Node) -> int:
        """What a node offers."""
        return self.head_cpus if node.is_head else self.cpus_per_node

    @property
    def folder(self) -> Path:
        """All that the testbed leaves on this machine's disks lies below."""
        return folder_of(self.name)

    def save(self) -> None:
        """Readable by this user alone: a node's environment may hold credentials."""
        part = self.folder / f"{_FILE}.part"
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            json.dump(asdict(self), file, indent=2, default=str)
        part.replace(self.folder / _FILE)

    def with_cut(self, what: str, *, is_cut: bool) -> Record:
        """The same, with a node or a pair cut or mended."""
        others = tuple(each for each in self.is_cut if each != what)
        return replace(self, is_cut=(*others, what) if is_cut else others)


def root() -> Path:
    """The folder of all testbeds of this user."""
    folder = Path("/tmp", f"onesheet-{os.getuid()}")  # noqa: S108  its owner is checked
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise ClusterError(f"{folder} belongs to somebody else; remove it, or ask them to")
    return folder


def folder_of(name: str) -> Path:
    """The folder of a testbed. Raises ClusterError for a bad name."""
    if not _NAME.fullmatch(name):
        raise ClusterError(f"{name!r} is no name for a cluster: up to 12 of a-z, 0-9 and -, such as {DEFAULT_NAME}")
    return root() / name


def read_record(name: str) -> Record:
    """Raises ClusterError where there is no such testbed."""
    path = folder_of(name) / _FILE
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError as error:
        there = ", ".join(names()) or "none"
        raise ClusterError(f"no cluster {name!r} was started here ({there}); start one: onesheet cluster up") from error
    nodes = tuple(Node(**{**node, "folder": Path(node["folder"])}) for node in kept["nodes"])
    return Record(**{**kept, "nodes": nodes, "is_cut": tuple(kept["is_cut"])})


def names() -> list[str]:
    """All testbeds of this user, whole or not."""
    return sorted(path.name for path in root().iterdir() if path.is_dir())


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Nobody else starts, changes or removes the testbed of that name within the block."""
    path = root() / f"{name}.lock"
    while True:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had it before has removed it: others lock another file of that name by now.
            if not _is_at(path, file.fileno()):
                continue
            try:
                yield
            finally:
                path.unlink()
            return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file that is open lies at the path now."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
