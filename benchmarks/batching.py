"""What dynamic batching is worth on this machine: the predictor without a server, for 1 and 16 callers.

    python -m benchmarks.batching [--seconds 3] [--model mobilenet_v2]

Each caller has one poster scored after the other, decoding included, in a thread of its own. Beside posters a second
and the latency stands how many posters the runtime scored together, on average.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material
from cluster.cores import available_cores
from cluster.store import open_store
from serving.batching import Batched
from serving.predictor import Predictor
from serving.runtimes import load_runtime
from training.registry import Registry
from training.runtimes import Features, Images, Runtime, RuntimeName, Scores

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

_POSTERS = 100
# (max_batch, wait_ms)
_SETTINGS = (
    *((size, 0.0) for size in (1, 2, 4, 8, 16)),
    (8, 2.0),
    (8, 5.0),
)


class _Counted:
    """A runtime that remembers how it was called."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name: RuntimeName = runtime.name
        self.lanes = runtime.lanes
        self.calls = self.posters = 0

    def __call__(self, images: Images) -> Scores:
        self.calls += 1
        self.posters += len(images)
        return self._runtime(images)

    def embed(self, images: Images) -> Features:
        return self._runtime.embed(images)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="For each row.")] = 3,
    model: Annotated[str, typer.Option(help="As of `onesheet train`.")] = "mobilenet_v2",
) -> None:
    """Measure each setting."""
    table = Table(
        *("max_batch", "wait ms", "threads", "callers", "posters/s", "p50 ms", "p99 ms", "scored together"),
        box=box.MARKDOWN,
    )
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as name:
        made = [sys.executable, "-m", "benchmarks.serving_peers.bundle", model, name]
        subprocess.run(made, check=True, stderr=subprocess.DEVNULL)
        registry = Registry(open_store(f"{name}/store"))
        card = registry.fetch(registry.production_or_raise().version, Path(name) / "bundle")
        found = material.find(_POSTERS, Path(name) / "posters")
        posters = [path.read_bytes() for path in found.paths()]
        cores = available_cores()
        settings = [(size, wait_ms, cores) for size, wait_ms in _SETTINGS] + [(1, 0.0, 1), (8, 0.0, 1)]
        for size, wait_ms, threads in settings:
            counted = _Counted(load_runtime(Path(name) / "bundle", card, threads=threads))
            batched = Batched(counted, max_batch=size, wait_ms=wait_ms)
            predictor = Predictor(batched, card, lambda: None, max_batch=size)
            for callers in (1, 16):
                _press(predictor, posters, callers, 0.7)
                counted.calls = counted.posters = 0
                taken = _press(predictor, posters, callers, seconds)
                cut = quantiles(taken, n=100)
                together = counted.posters / counted.calls
                figures = f"{len(taken) / seconds:.0f}", f"{cut[49]:.1f}", f"{cut[98]:.1f}", f"{together:.1f}"
                table.add_row(str(size), f"{wait_ms:g}", str(threads), str(callers), *figures)
    console.print(f"$ {shlex.join(['python', '-m', 'benchmarks.batching', *sys.argv[1:]])}")
    console.print(f"{model}, {os.cpu_count()} cores; {found.origin}\n")
    console.print(table)


def _press(predictor: Predictor, posters: list[bytes], callers: int, seconds: float) -> list[float]:
    """The milliseconds of each prediction."""
    taken: list[float] = []
    ends_at = time.perf_counter() + seconds

    def caller(place: int) -> None:
        while (began := time.perf_counter()) < ends_at:
            predictor.predict([posters[place % len(posters)]])
            taken.append((time.perf_counter() - began) * 1000)
            place += callers

    with ThreadPoolExecutor(callers) as threads:
        list(threads.map(caller, range(callers)))
    return taken


if __name__ == "__main__":
    typer.run(main)
