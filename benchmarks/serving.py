"""Requests a second, latency, CPU and memory of onesheet's endpoint beside its peers.

    python -m benchmarks.serving [--seconds 8] [--rounds 3] [--only NAME …] [--runs FILE]

wrk, which asks, must be installed (apt-get install wrk): it takes a tenth of a millisecond of the same cores a request.
All serve the same MobileNetV2 head (with ONESHEET_WEIGHTS, else without trained weights) and get the same posters, one
a request, as multipart. The peers are as their documentation has them: Keras in a `tf.function`, batching on where they
have it, each in an environment of its own below --peers-folder. Beside them: the predictor and runtime of onesheet in a
plain FastAPI app, and in no server at all, which is the floor. Callers ask again as soon as they are answered (a closed
loop), 1, 16 and 64 of them; in each round each contender is started, asked and ended, and each round begins with the
next of them. Before anything is measured each has answered 16 callers for a while, in which onesheet starts its second
replica, for that takes most of a core. Figures are medians of the rounds:

- CPU: milliseconds of a core a request, of all processes of the contender; wrk's beside it;
- memory: PSS of all its processes after the last request; Ray's are among them.

With --runs the runs are added to those in a file, so that rounds can be made on different days.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import psutil
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material
from benchmarks.serving_peers import load
from cluster.processes import Family, sigterm_as_exit

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

_HERE = Path(__file__).resolve().parent / "serving_peers"
_MODEL = "mobilenet_v2"
_POSTERS = 200
CONCURRENCIES = (1, 16, 64)
_START_TIMEOUT_S = 120
# More than the seconds of load for which a replica is added, and those that it takes to start.
_SETTLE_S = 14
# With so many callers as are measured next, before they count.
_WARM_UP_S = 2
# wrk leaves what it has asked when its time is over; a server that still works at it would meet twice the callers.
_PAUSE_S = 1.5
FLOOR = "floor: no server"
ONESHEET = "onesheet"
OURS_IN_FASTAPI = "FastAPI, our predictor"
PEERS = ("FastAPI, Keras", "BentoML", "LitServe")


@dataclass(frozen=True, slots=True)
class Contender:
    """A server: its command, where PORT is put in, and the path that takes posters.

    environment: the name of its requirements, for an environment of its own. takes_json: base64 in JSON; LitServe
    cannot hand an uploaded file to its workers.
    """

    name: str
    command: tuple[str, ...]
    path: str = "/predict"
    environment: str | None = None
    takes_json: bool = False


CONTENDERS = (
    Contender(ONESHEET, ("-m", "onesheet", "serve", "--port", "PORT"), "/v1/predict"),
    Contender(
        f"{ONESHEET} --proxy ray", ("-m", "onesheet", "serve", "--proxy", "ray", "--port", "PORT"), "/v1/predict"
    ),
    Contender(
        OURS_IN_FASTAPI,
        ("-m", "uvicorn", "benchmarks.serving_peers.fastapi_ours:app", "--port", "PORT", "--log-level", "warning"),
    ),
    Contender(
        PEERS[0],
        ("-m", "uvicorn", "fastapi_keras:app", "--port", "PORT", "--log-level", "warning"),
        environment="fastapi",
    ),
    Contender(
        PEERS[1],
        ("-m", "bentoml", "serve", "bento:Posters", "--host", "127.0.0.1", "--port", "PORT"),
        environment="bentoml",
    ),
    Contender(PEERS[2], ("lit.py", "PORT"), environment="litserve", takes_json=True),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One contender at one concurrency in one round."""

    name: str
    concurrency: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    load_cpu_ms: float
    memory_mb: float
    failures: int


class Bench:
    """The model, the posters, and how one run goes."""

    def __init__(self, folder: Path, peers_folder: Path, seconds: int) -> None:
        self._folder = folder
        self._peers = peers_folder
        self._seconds = seconds
        found = material.find(_POSTERS, folder / "drawn")
        self.origin = found.origin
        self._posters = folder / "posters"
        self._posters.mkdir()
        for path in found.paths():
            shutil.copyfile(path, self._posters / path.name)
        self._bytes = [path.read_bytes() for path in found.paths()]
        made = [sys.executable, "-m", "benchmarks.serving_peers.bundle", _MODEL, str(folder)]
        subprocess.run(made, check=True, stderr=subprocess.DEVNULL)

    def floor(self) -> list[Run]:
        """Of the predictor without a server."""
        runs = []
        for concurrency in CONCURRENCIES[:2]:
            asked = [str(self._folder / "store"), str(self._posters), str(concurrency), str(self._seconds)]
            command = [sys.executable, "-m", "benchmarks.serving_peers.floor", *asked]
            said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            count, cut = len(said["latencies_ms"]), quantiles(said["latencies_ms"], n=100)
            runs.append(
                Run(
                    name=FLOOR,
                    concurrency=concurrency,
                    requests_per_s=count / said["wall_s"],
                    p50_ms=cut[49],
                    p99_ms=cut[98],
                    cpu_ms=1000 * said["cpu_s"] / count,
                    load_cpu_ms=0.0,
                    memory_mb=said["memory_bytes"] / 1e6,
                    failures=0,
                )
            )
        return runs

    def served(self, contender: Contender) -> list[Run]:
        """Of a server, at each concurrency."""
        sent = load.requests(self._bytes, self._folder / "sent", as_json=contender.takes_json)
        with self._running(contender, sent) as (url, server):
            load.press(url, sent, concurrency=16, seconds=_SETTLE_S)
            return [self._pressed(contender, url, sent, server, concurrency) for concurrency in CONCURRENCIES]

    def _pressed(
        self, contender: Contender, url: str, sent: load.Requests, server: psutil.Process, concurrency: int
    ) -> Run:
        time.sleep(_PAUSE_S)
        load.press(url, sent, concurrency=concurrency, seconds=_WARM_UP_S)
        time.sleep(_PAUSE_S)
        before = _cpu_s(server)
        found = load.press(url, sent, concurrency=concurrency, seconds=self._seconds)
        cpu_s = _cpu_s(server) - before
        count = found.answers - found.refused
        if not count:
            sys.exit(f"{contender.name} answered none of {concurrency} callers' requests, and refused {found.refused}")
        return Run(
            name=contender.name,
            concurrency=concurrency,
            requests_per_s=count / found.wall_s,
            p50_ms=found.p50_ms,
            p99_ms=found.p99_ms,
            cpu_ms=1000 * cpu_s / count,
            load_cpu_ms=1000 * found.own_cpu_s / count,
            memory_mb=sum(_pss(process) for process in _tree(server)) / 1e6,
            failures=found.refused + found.broken,
        )

    @contextlib.contextmanager
    def _running(self, contender: Contender, sent: load.Requests) -> Iterator[tuple[str, psutil.Process]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        python = self._python(contender.environment) if contender.environment else sys.executable
        command = [str(python), *(str(port) if part == "PORT" else part for part in contender.command)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ONESHEET_")}
        own = {"STORE": f"{self._folder}/store", "MODEL": f"{self._folder}/model.keras"}
        if contender.environment:
            kept.pop("PYTHONPATH", None)
            own |= {"PYTHONPATH": str(_HERE), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": f"{self._folder}/bento"}
        else:
            own |= {"ONESHEET_STORE": f"{self._folder}/store", "PYTHONPATH": str(_HERE.parent.parent)}
        log = self._folder / "log"
        folder = Path.cwd()
        try:
            if contender.environment:
                os.chdir(_HERE)
            with Family(grace_s=20) as family:
                process = family.start(command, environment={**kept, **own}, log=log)
                url = f"http://127.0.0.1:{port}{contender.path}"
                self._wait(url, sent, family, log)
                yield url, psutil.Process(process.pid)
        finally:
            os.chdir(folder)

    def _wait(self, url: str, sent: load.Requests, family: Family, log: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        body, headers = sent.files[0].read_bytes(), {"Content-Type": sent.content_type}
        request = urllib.request.Request(url, data=body, headers=headers)
        while True:
            with contextlib.suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30):
                return
            if family.has_failed() or time.monotonic() > deadline:
                sys.exit(f"{url} does not answer; the log's end:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)

    def _python(self, name: str) -> Path:
        """The Python of an environment with these requirements, made on the first call."""
        home, wanted = self._peers / name, _HERE / f"{name}.txt"
        done = home / "requirements.txt"
        if not done.is_file() or done.read_bytes() != wanted.read_bytes():
            console.print(f"  installing {name} …")
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", str(wanted)], check=True)
            shutil.copyfile(wanted, done)
        return home / "bin" / "python"


def show(runs: list[Run]) -> None:
    """The medians, and the ratios that were to be reached, as Markdown."""
    columns = ("callers", "requests/s", "p50 ms", "p99 ms", "CPU ms", "wrk's CPU ms", "memory MB (PSS)", "failures")
    table = Table("contender", *columns, box=box.MARKDOWN)
    middle = medians(runs)
    for run in middle.values():
        figures = (run.requests_per_s, run.p50_ms, run.p99_ms, run.cpu_ms, run.load_cpu_ms)
        row = [f"{figure:.1f}" for figure in figures]
        table.add_row(run.name, str(run.concurrency), *row, f"{run.memory_mb:.0f}", str(run.failures))
    console.print(table)
    table = Table("ratio", "callers", "requests/s", "p50", "p99", "CPU", "memory", box=box.MARKDOWN)
    for (name, concurrency), other in middle.items():
        own = middle.get((ONESHEET, concurrency))
        if own is not None and name != ONESHEET:
            pairs = [
                (own.requests_per_s, other.requests_per_s),
                (own.p50_ms, other.p50_ms),
                (own.p99_ms, other.p99_ms),
                (own.cpu_ms, other.cpu_ms),
                (own.memory_mb, other.memory_mb),
            ]
            table.add_row(f"{ONESHEET} / {name}", str(concurrency), *(f"{mine / theirs:.2f}" for mine, theirs in pairs))
    console.print(table)
    for sentence in judged(middle):
        console.print(sentence)


def medians(runs: list[Run]) -> dict[tuple[str, int], Run]:
    """The median of each figure by contender and concurrency; failures are added up."""
    found: dict[tuple[str, int], Run] = {}
    for key in dict.fromkeys((run.name, run.concurrency) for run in runs):
        some = [asdict(run) for run in runs if (run.name, run.concurrency) == key]
        figures = {name: median(run[name] for run in some) for name in list(some[0])[2:-1]}
        found[key] = Run(*key, **figures, failures=sum(run["failures"] for run in some))
    return found


def judged(middle: dict[tuple[str, int], Run]) -> Iterator[str]:
    """What was to be reached, and what was, where both were run."""
    own, alone = middle.get((ONESHEET, 16)), middle.get((ONESHEET, 1))
    floor, floor_alone = middle.get((FLOOR, 16)), middle.get((FLOOR, 1))
    peers = [middle[name, 16] for name in PEERS if (name, 16) in middle]
    if own and peers:
        best = max(peers, key=lambda run: run.requests_per_s)
        yield f"best peer at 16: {best.name}; {own.requests_per_s / best.requests_per_s:.2f}x (wanted 1.5x), " + (
            f"p99 {own.p99_ms:.0f} ms to {best.p99_ms:.0f} ms (wanted lower)"
        )
    if own and (ours := middle.get((OURS_IN_FASTAPI, 16))):
        ratio = own.requests_per_s / ours.requests_per_s
        yield f"of a plain FastAPI app with our predictor: {ratio:.2f}x (wanted 0.8x)"
    if own and floor:
        yield f"of the floor's throughput: {own.requests_per_s / floor.requests_per_s:.0%} (wanted 70%)"
    if alone and floor_alone:
        wanted = 1.3 * floor_alone.p50_ms + 4
        yield f"p50 alone: {alone.p50_ms:.1f} ms (wanted at most {wanted:.1f} = 1.3 x {floor_alone.p50_ms:.1f} + 4)"


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    total = 0.0
    for each in _tree(process):
        with contextlib.suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, OSError):
        return int(process.memory_full_info().pss)
    return 0


def main(
    seconds: Annotated[int, typer.Option(min=1, help="That each contender is asked at each concurrency.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Of all contenders; the medians count.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help="These contenders, by their names.", show_default=False)
    ] = None,
    peers_folder: Annotated[
        Path, typer.Option(help="Where the peers' environments are made.", show_default=False)
    ] = Path("~/.cache/onesheet-benchmarks"),
    runs_file: Annotated[
        Path | None, typer.Option("--runs", help="Add the runs to these, and show all.", show_default=False)
    ] = None,
) -> None:
    """Measure onesheet's endpoint beside its peers."""
    if why := load.why_no_wrk():
        sys.exit(why)
    names = [FLOOR, *(each.name for each in CONTENDERS)]
    if unknown := set(only or ()) - set(names):
        sys.exit(f"no contender is named {' or '.join(sorted(unknown))}: there are {', '.join(names)}")
    chosen = [name for name in names if not only or name in only]
    runs = [Run(**run) for run in json.loads(runs_file.read_text())] if runs_file and runs_file.exists() else []
    with sigterm_as_exit(), tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as name:
        bench = Bench(Path(name), peers_folder.expanduser(), seconds)
        for number in range(rounds):
            first = number % len(chosen)
            for each in [*chosen[first:], *chosen[:first]]:
                by_name = {contender.name: contender for contender in CONTENDERS}
                made = bench.floor() if each == FLOOR else bench.served(by_name[each])
                said = ", ".join(f"{run.requests_per_s:.0f}/s at {run.concurrency}" for run in made)
                console.print(f"  round {number + 1}: {each}: {said}")
                runs += made
                if runs_file:
                    runs_file.write_text(json.dumps([asdict(run) for run in runs], indent=1))
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.serving', *sys.argv[1:]])}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("onesheet", "ray", "openvino", "tensorflow"))
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}; {bench.origin}\n")
    show(runs)


if __name__ == "__main__":
    typer.run(main)
