"""The endpoint at four times what it can answer: who is served is served quickly, the rest is told at once, and
memory stays flat.

    python -m benchmarks.overload [--seconds 600] [--factor 4] [--architecture mobilenet_v2] [--proxy haproxy]

`onesheet serve` with one replica and the options that it has by default, asked from this process, which keeps to one
core. First one caller alone (unloaded), then 16 in a closed loop (capacity), then requests that come at random moments,
`--factor` times the capacity, whether they are answered or not. Times count from the moment at which a request was due.
Exits with 1 where a promise is not kept.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material
from benchmarks.load.callers import Answer, closed_loop, open_loop, requests_of
from benchmarks.load.watched import Watched
from cluster.ports import free_ports
from cluster.processes import Family
from cluster.store import FolderStore
from serving.haproxy import Proxy
from training.registry import Registry

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

_HOST = "127.0.0.1"
_POSTERS = 200
_START_S = 180
# The promises: the served share's p99 by the unloaded one, milliseconds until a refusal, growth of memory.
_MOST_SLOWDOWN = 3.0
_REFUSED_WITHIN_MS = 100.0
_MOST_GROWTH = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What was measured. Memory: the mean of the second quarter and of the last of the time, of what and in MB."""

    capacity: float
    rate: float
    seconds: float
    unloaded_p50_ms: float
    unloaded_p99_ms: float
    served: int
    served_per_s: float
    served_p50_ms: float
    served_p99_ms: float
    refused: int
    refused_p50_ms: float
    refused_p95_ms: float
    refused_as_problems: int
    other: dict[int, int]
    early_mb: dict[str, float]
    late_mb: dict[str, float]
    callers_cores: float
    callers_late_p99_ms: float
    server_cores: float

    def promises(self) -> dict[str, tuple[str, bool]]:
        """Each promise: what was found, and whether that keeps it."""
        slowdown = self.served_p99_ms / self.unloaded_p99_ms
        growth = self.late_mb["all"] / self.early_mb["all"] - 1
        return {
            f"p99 of the served within {_MOST_SLOWDOWN:g} times the unloaded": (
                f"{slowdown:.2f} times ({self.served_p99_ms:.0f} ms, unloaded {self.unloaded_p99_ms:.0f} ms)",
                slowdown <= _MOST_SLOWDOWN,
            ),
            f"503 within {_REFUSED_WITHIN_MS:g} ms (p95)": (
                f"{self.refused_p95_ms:.0f} ms",
                self.refused_p95_ms <= _REFUSED_WITHIN_MS,
            ),
            "each 503 a problem with Retry-After": (
                f"{self.refused_as_problems} of {self.refused}",
                self.refused_as_problems == self.refused,
            ),
            "nothing but answers and 503": (str(self.other or "nothing else"), not self.other),
            f"memory grows by at most {_MOST_GROWTH:.0%}": (
                f"{growth:+.1%} ({self.early_mb['all']:.0f} to {self.late_mb['all']:.0f} MB)",
                growth <= _MOST_GROWTH,
            ),
        }


def main(
    seconds: Annotated[float, typer.Option(min=5, help="Of overload.")] = 600,
    factor: Annotated[float, typer.Option(min=1, help="Times the capacity.")] = 4,
    warm_s: Annotated[float, typer.Option(min=2, help="For the unloaded figures, and for the capacity.")] = 15,
    architecture: Annotated[str, typer.Option(help="Of the served model; its weights are random.")] = "mobilenet_v2",
    proxy: Annotated[Proxy, typer.Option(help="As of `onesheet serve`.")] = "haproxy",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Overload the endpoint, and see what it keeps of its promises."""
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as name:
        folder = Path(name)
        found = material.find(_POSTERS, folder / "posters")
        store = _register(folder, architecture)
        with _serving(store, folder, proxy) as (family, port):
            requests = requests_of([path.read_bytes() for path in found.paths()], _HOST, port)
            os.sched_setaffinity(0, {0})
            gc.freeze()
            result = _measure(family, port, requests, seconds=seconds, factor=factor, warm_s=warm_s)
    kept = result.promises()
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.overload', *sys.argv[1:]])}")
    console.print(f"{found.origin}; {architecture}, {os.cpu_count()} cores\n")
    _show(result, kept)
    if json_file:
        json_file.write_text(json.dumps(asdict(result), indent=2) + "\n")
    if not all(is_kept for _, is_kept in kept.values()):
        raise typer.Exit(1)


def _measure(
    family: Family, port: int, requests: Sequence[bytes], *, seconds: float, factor: float, warm_s: float
) -> Overload:
    asyncio.run(closed_loop(_HOST, port, requests, callers=4, seconds=3))
    alone = _served(asyncio.run(closed_loop(_HOST, port, requests, callers=1, seconds=warm_s)))
    crowd = _served(asyncio.run(closed_loop(_HOST, port, requests, callers=16, seconds=warm_s)))
    capacity = len(crowd) / warm_s
    console.print(f"  unloaded: {_percentile(alone, 50):.0f} ms; capacity: {capacity:.1f} requests/s")
    time.sleep(1)
    own = psutil.Process()
    before, began = own.cpu_times(), time.monotonic()
    with Watched(family) as watched:
        answers = asyncio.run(open_loop(_HOST, port, requests, rate=factor * capacity, seconds=seconds))
    wall_s, after = time.monotonic() - began, own.cpu_times()
    served = _served(answers)
    refused = [it for it in answers if it.status == 503]
    kinds = sorted({kind for _, held in watched.samples for kind in held})
    return Overload(
        capacity=capacity,
        rate=len(answers) / seconds,
        seconds=seconds,
        unloaded_p50_ms=_percentile(alone, 50),
        unloaded_p99_ms=_percentile(alone, 99),
        served=len(served),
        served_per_s=len(served) / seconds,
        served_p50_ms=_percentile(served, 50),
        served_p99_ms=_percentile(served, 99),
        refused=len(refused),
        refused_p50_ms=_percentile([it.ms for it in refused], 50),
        refused_p95_ms=_percentile([it.ms for it in refused], 95),
        refused_as_problems=sum(it.is_problem and it.retry_after is not None for it in refused),
        other=dict(Counter(it.status for it in answers if it.status not in (200, 503))),
        early_mb={kind: watched.mean_mb(kind, 0.25, 0.5) for kind in kinds},
        late_mb={kind: watched.mean_mb(kind, 0.75, 1) for kind in kinds},
        callers_cores=(after.user + after.system - before.user - before.system) / wall_s,
        callers_late_p99_ms=_percentile([it.late_ms for it in answers], 99),
        server_cores=watched.cpu_s / wall_s,
    )


def _served(answers: Sequence[Answer]) -> list[float]:
    return [it.ms for it in answers if it.status == 200]


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def _show(result: Overload, kept: dict[str, tuple[str, bool]]) -> None:
    facts = Table("", "requests/s", "p50 ms", "p99 ms", "p95 ms", box=box.MARKDOWN)
    facts.add_row("one caller", "", f"{result.unloaded_p50_ms:.0f}", f"{result.unloaded_p99_ms:.0f}", "")
    facts.add_row("16 callers (capacity)", f"{result.capacity:.1f}", "", "", "")
    facts.add_row(f"offered for {result.seconds:g} s", f"{result.rate:.1f}", "", "", "")
    facts.add_row(
        "served", f"{result.served_per_s:.1f}", f"{result.served_p50_ms:.0f}", f"{result.served_p99_ms:.0f}", ""
    )
    facts.add_row(
        "503",
        f"{result.refused / result.seconds:.1f}",
        f"{result.refused_p50_ms:.0f}",
        "",
        f"{result.refused_p95_ms:.0f}",
    )
    console.print(facts)
    console.print(
        f"\nThe server used {result.server_cores:.2f} cores, the callers {result.callers_cores:.2f} of the one that "
        f"they are held to; their requests left at most {result.callers_late_p99_ms:.0f} ms late (p99)."
    )
    held = ", ".join(f"{kind} {result.early_mb[kind]:.0f} to {mb:.0f}" for kind, mb in result.late_mb.items())
    console.print(f"MB (RSS), second quarter of the time and last: {held}.\n")
    promises = Table("promise", "found", "kept", box=box.MARKDOWN)
    for promise, (found, is_kept) in kept.items():
        promises.add_row(promise, found, "yes" if is_kept else "NO")
    console.print(promises)


def _register(folder: Path, architecture: str) -> str:
    """A store with a model of this architecture in production. In a process of its own: this one stays light."""
    store = FolderStore(folder / "store")
    code = "import sys; from benchmarks.load.bundle import register; register(*sys.argv[1:])"
    with Family() as family:
        made = family.start(
            [sys.executable, "-c", code, store.url, architecture], environment=os.environ, log=folder / "bundle.log"
        )
        if made.wait(_START_S):
            sys.exit(f"no model could be made:\n{(folder / 'bundle.log').read_text()[-3000:]}")
    Registry(store).promote("latest")
    return store.url


@contextmanager
def _serving(store: str, folder: Path, proxy: Proxy) -> Iterator[tuple[Family, int]]:
    """`onesheet serve` with one replica, as whoever starts it has it."""
    (port,) = free_ports(1)
    where = ["--port", str(port), "--proxy", proxy, "--store", store]
    command = [sys.executable, "-m", "onesheet", "serve", "--max-replicas", "1", *where]
    with Family() as family:
        log = folder / "serve.log"
        started = family.start(
            [*command, "--json"],
            environment={**os.environ, "ONESHEET_RAY_ADDRESS": "local"},
            log=log,
        )
        until = time.monotonic() + _START_S
        while f'"url": "http://{_HOST}:{port}"' not in log.read_text(errors="replace"):
            if started.poll() is not None or time.monotonic() > until:
                sys.exit(f"the endpoint did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        yield family, port


if __name__ == "__main__":
    typer.run(main)
