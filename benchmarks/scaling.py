"""How the stages grow with the nodes: 1, 2 and 4 of one machine, each with the same small part of a core.

    python -m benchmarks.scaling [--stage crawl] [--stage prepare] [--stage train] [--stage serve]

Four worker nodes with addresses of their own (`onesheet cluster up`) take what their cgroups allow them, 0.35 of a
core each unless told otherwise: so a second node brings as much as the first, as a second machine would, up to the
cores that there are. The head offers no CPU: the driver, the store (a folder) and Ray's own services have the rest.
What it cannot show: a network slower than this machine's, and stores and hosts that are slower for many than for one.

Needs Linux, root, and a kernel that lets cgroups limit CPUs.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import psutil
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers.material import Material, find
from cluster.ports import free_ports
from cluster.store import FolderStore
from cluster.testbed.bed import Bed
from cluster.testbed.start import Wanted, running_bed
from crawler.ledger import read_ledger
from training.registry import Registry

NODES = (1, 2, 4)
_CGROUPS = Path("/sys/fs/cgroup")
_GENRES = ("Drama", "Comedy", "Horror", "Action")
_PERIOD_US = 100_000
_CALLERS = 8
_ASKED_S = 12

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True, slots=True)
class Yard:
    """Where the stages run."""

    bed: Bed
    folder: Path
    material: Material
    catalog: Path
    epochs: int
    cores: float

    def limit(self, *, is_limited: bool) -> None:
        """Let the nodes take their part of a core from now on, or all that they can get."""
        for worker in self.bed.workers:
            _limit(self.bed, worker, self.cores if is_limited else None)

    def onesheet(self, *words: object, like: str | None = None) -> dict[str, Any]:
        """Run a command to its end; its result. like: a node, for a command that does its work without the cluster."""
        command = self._command(words)
        if like:
            joined = _group(self.bed.record.name) / like / "cgroup.procs"
            command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(joined), *command]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=self._environment())
        if done.returncode != 0:
            sys.exit(f"onesheet {' '.join(map(str, words))}: {done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def begin(self, *words: object) -> subprocess.Popen[str]:
        """Start a command that runs on; it says when it is ready by a line on standard output."""
        return subprocess.Popen(self._command(words), stdout=subprocess.PIPE, text=True, env=self._environment())

    def _command(self, words: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "onesheet", *map(str, words), "--json"]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.bed.environment()}


def crawl(yard: Yard, nodes: int) -> float:
    """Posters a second of a crawl from a folder of images, from the first outcome to the last."""
    store = FolderStore(yard.folder / f"crawl-{nodes}")
    how = ("--images", yard.material.folder, "--sources", "images", "--workers", nodes, "--crawl-id", "c")
    # One process alone is the command itself, which takes no more than the node would.
    yard.onesheet("crawl", yard.catalog, "--store", store.root, *how, like="worker1" if nodes == 1 else None)
    times = read_ledger(store, "c")["fetched_at"].to_pylist()
    return len(times) / (max(times) - min(times)).total_seconds()


def prepare(yard: Yard, nodes: int) -> float:
    """Posters a second that are read, made smaller and written, without what a command takes that finds it done."""
    store = _crawled(yard)
    how = ("prepare", "--store", store.root, "--workers", nodes, "--max-height", 400 + nodes)
    taken = []
    for _ in range(2):
        began = time.monotonic()
        yard.onesheet(*how)
        taken.append(time.monotonic() - began)
    return len(yard.material.names) / (taken[0] - taken[1])


def train(yard: Yard, nodes: int) -> float:
    """Posters a second, the median of the epochs after the first, `cnn_small` on as many workers."""
    store = _crawled(yard)
    if not list(store.folders("datasets/")):
        yard.onesheet("prepare", "--store", store.root)
    how = ("--workers", nodes, "--cpus-per-worker", 1, "--epochs", yard.epochs, "--architecture", "cnn_small")
    version = yard.onesheet("train", "--store", store.root, *how)["version"]
    history = json.loads(store.get(f"runs/{version}/report.json"))["history"]
    return median(epoch["images_per_s"] for epoch in history[1:] or history)


def serve(yard: Yard, nodes: int) -> float:
    """Answers a second of as many replicas to 8 callers of a poster each."""
    store = _crawled(yard)
    registry = Registry(store)
    if registry.production() is None:
        if not registry.versions():
            train(yard, 4)
        registry.promote(registry.versions()[0].version)
    port = free_ports(1)[0]
    replicas = ("--min-replicas", nodes, "--max-replicas", nodes, "--cpus-per-replica", 1)
    # A start is not what is measured.
    yard.limit(is_limited=False)
    server = yard.begin("serve", "--store", store.root, "--port", port, *replicas)
    try:
        assert server.stdout
        server.stdout.readline()
        yard.limit(is_limited=True)
        return _answers_a_second(f"http://127.0.0.1:{port}/v1/predict", yard.material.paths()[0].read_bytes())
    finally:
        server.terminate()
        server.wait(60)


def _answers_a_second(url: str, poster: bytes) -> float:
    answered: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                client.post(url, files={"image": ("a.jpg", poster)}).raise_for_status()
                answered.append(time.monotonic())

    callers = [threading.Thread(target=ask) for _ in range(_CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(_ASKED_S)
    over.set()
    for caller in callers:
        caller.join()
    # The first answers are of replicas that have not warmed up.
    late = [at for at in answered if at > answered[0] + _ASKED_S / 3]
    return len(late) / (late[-1] - late[0])


STAGES: dict[str, tuple[Callable[[Yard, int], float], str]] = {
    "crawl": (crawl, "posters/s"),
    "prepare": (prepare, "posters/s"),
    "train": (train, "posters/s"),
    "serve": (serve, "answers/s"),
}


def main(
    stage: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(STAGES)}; by default all.")] = None,
    titles: Annotated[int, typer.Option(help="Posters of the crawl and the dataset.")] = 2000,
    cores: Annotated[float, typer.Option(help="Of each node; four times that must be there.")] = 0.35,
    epochs: Annotated[int, typer.Option(help="Of each training; the first does not count.")] = 9,
) -> None:
    """Measure the stages on 1, 2 and 4 nodes."""
    chosen = stage or list(STAGES)
    table = Table("stage", "", *(f"{count} node{'s' if count > 1 else ''}" for count in NODES), box=box.SIMPLE)
    table.add_column("2 over 1")
    table.add_column("4 over 1")
    with tempfile.TemporaryDirectory(prefix="onesheet-scaling-") as name:
        folder = Path(name)
        material = find(titles, folder / "posters")
        catalog = _write_catalog(folder / "films.csv", material)
        wanted = Wanted(nodes=max(NODES) + 1, head_cpus=0, environment={"TF_NUM_INTRAOP_THREADS": "1"})
        with running_bed(wanted) as bed:
            yard = Yard(bed, folder, material, catalog, epochs, cores)
            yard.limit(is_limited=True)
            for each in chosen:
                measure, unit = STAGES[each]
                rates = [measure(yard, count) for count in NODES]
                shown = (f"{rate:,.1f}" for rate in rates)
                table.add_row(each, unit, *shown, *(f"{rate / rates[0]:.2f}" for rate in rates[1:]))
    _forget_limits(bed.record.name)
    console.print(f"$ python -m benchmarks.scaling {' '.join(sys.argv[1:])}")
    console.print(f"{material.origin}; each node {cores} of {os.cpu_count()} cores")
    console.print(table)


def _crawled(yard: Yard) -> FolderStore:
    """A store with a finished crawl."""
    store = FolderStore(yard.folder / "store")
    if not list(store.list("posters/")):
        how = ("--images", yard.material.folder, "--sources", "images", "--crawl-id", "c")
        yard.onesheet("crawl", yard.catalog, "--store", store.root, *how)
    return store


def _write_catalog(path: Path, material: Material) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster"])
        for name, genre in zip(material.names, itertools.cycle(_GENRES), strict=False):
            rows.writerow([int(name[2:]), f"http://www.imdb.com/title/{name}", f"Film {name} (2001)", 6.1, genre, ""])
    return path


def _limit(bed: Bed, node: str, cores: float | None) -> None:
    """From now on all that a node has started shares so much of a core; None for no limit."""
    group = _group(bed.record.name) / node
    is_new = not group.exists()
    group.mkdir(parents=True, exist_ok=True)
    quota = None if cores is None else int(_PERIOD_US * cores)
    if (_CGROUPS / "cgroup.controllers").exists():
        for parent in (_CGROUPS, group.parent):
            (parent / "cgroup.subtree_control").write_text("+cpu")
        (group / "cpu.max").write_text(f"{'max' if quota is None else quota} {_PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))
    # What these start is in their group.
    for process in bed.processes(node) if is_new else ():
        with suppress(ProcessLookupError, psutil.Error):
            (group / "cgroup.procs").write_text(str(process.pid))


def _forget_limits(name: str) -> None:
    """The groups are empty once the nodes are gone."""
    for group in (*_group(name).glob("worker*"), _group(name)):
        with suppress(OSError):
            group.rmdir()


def _group(name: str) -> Path:
    """In the hierarchy of the CPUs, of cgroups' first or second version."""
    parent = _CGROUPS if (_CGROUPS / "cgroup.controllers").exists() else _CGROUPS / "cpu"
    return parent / f"onesheet-{name}"


if __name__ == "__main__":
    typer.run(main)
