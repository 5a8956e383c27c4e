"""The main job on one machine: rehearsal site → crawl → dataset → training → production → endpoint.

Each stage is the command line that a user would type, shown before it runs, so the demo is also the tour.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.table import Table

from cluster.console import console, parse_result, say
from cluster.errors import ClusterError
from cluster.nodes import local_cluster
from cluster.ports import try_port
from cluster.processes import Family, installed, sigterm_as_exit
from cluster.store import Store, open_store

_DASHBOARD_PORT = 8265
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """catalog, posters: a catalogue and its folder of images; without them the site invents 400 films.

    weights: of a MobileNetV2 backbone; without them a small network is trained from scratch. epochs: None means the
    architecture's own recipe.
    """

    folder: Path
    store: str
    catalog: Path | None = None
    posters: Path | None = None
    weights: Path | None = None
    workers: int = 2
    epochs: int | None = None
    port: int = 8000


@dataclass(slots=True)
class _Stages:
    """Runs the stages, with a heading and a stop-watch for each."""

    family: Family
    environment: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)
    servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, command: list[str]) -> Iterator[None]:
        number = len(self.seconds) + 1
        console.print(f"\n[bold]{number}. {name}[/]  [dim]$ {shlex.join(command)}[/]")
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    def run(self, name: str, command: list[str]) -> dict[str, Any]:
        """Run a stage to its end; the result is its last line of output where that is JSON."""
        with self.stage(name, command):
            process = self.family.start(installed(command), environment=self.environment)
            lines = [line for line in _output(process) if line.strip()]
            if process.wait() != 0:
                raise ClusterError(f"the demo stops: `{shlex.join(command)}` ended with exit code {process.returncode}")
        return parse_result(lines[-1]) if lines else {}

    def serve(self, name: str, command: list[str]) -> dict[str, Any]:
        """Start a server and wait for the line of JSON that says it is ready; it runs on."""
        with self.stage(name, command):
            process = self.family.start(installed(command), environment=self.environment)
            for line in _output(process):
                if result := parse_result(line):
                    self.servers[name] = process
                    return result
        raise ClusterError(f"the demo stops: `{shlex.join(command)}` ended with exit code {process.wait()}")


def run_demo(options: DemoOptions, on_ready: Callable[[dict[str, Any]], None] = lambda result: None) -> None:
    """Run the main job and keep the endpoint up until Ctrl-C or SIGTERM; then everything it started is gone.

    on_ready: called once the endpoint is up, with its url, the model's version and metrics, and each stage's seconds.
    """
    _require_free(options.port)
    store = open_store(options.store)
    store.check()
    options.folder.mkdir(parents=True, exist_ok=True)
    dashboard_port = _DASHBOARD_PORT if _is_free(_DASHBOARD_PORT) else 0
    began = time.monotonic()
    say(f"[bold]onesheet demo[/]: catalogue → crawl → {store.url} → dataset → training → endpoint")
    say("starting a local Ray cluster …")
    with sigterm_as_exit(), local_cluster(dashboard_port=dashboard_port) as ray, Family() as family:
        say(f"Ray dashboard: {ray.dashboard_url}")
        shared = {"ONESHEET_STORE": store.url, **ray.environment()}
        # `scrapy` finds the project from any folder.
        environment = {**os.environ, **shared, "SCRAPY_SETTINGS_MODULE": "crawler.settings"}
        stages = _Stages(family, environment)
        model = _stages_to_model(stages, options)
        # Invented films are nobody's, so their posters may be shown.
        shown = [] if options.posters else ["--show-posters"]
        endpoint = stages.serve("serve", ["onesheet", "serve", "--port", str(options.port), *shown, "--json"])
        sample = _sample(store, options.folder)
        _tell(stages, shared, endpoint["url"], model["version"], sample, time.monotonic() - began)
        on_ready({**endpoint, **model, "seconds": stages.seconds, "sample": str(sample)})
        try:
            while all(server.poll() is None for server in stages.servers.values()):
                time.sleep(0.5)
        except KeyboardInterrupt:
            say("\nstopping …")
            return
        ended = [name for name, server in stages.servers.items() if server.poll() is not None]
        raise ClusterError(f"the demo stops: {' and '.join(ended)} ended by itself; the reason is above")


def _stages_to_model(stages: _Stages, options: DemoOptions) -> dict[str, Any]:
    if options.catalog and options.posters:
        catalog = options.catalog
        content = ["--catalog", str(catalog), "--posters", str(options.posters)]
    else:
        catalog = options.folder / "catalog.csv"
        content = ["--write-catalog", str(catalog)]
    site = stages.serve("rehearsal site", ["onesheet", "site", *content, "--port", "0", "--json"])
    stages.environment["ONESHEET_REHEARSAL"] = site["url"]
    crawl = ["scrapy", "crawl", "posters", "-a", f"catalog={catalog}", "-L", "WARNING", "-s", "PROGRESS=bar"]
    stages.run("crawl", crawl)
    dataset = stages.run("prepare", ["onesheet", "prepare", "--json"])
    network = ["mobilenet_v2", "--weights", str(options.weights)] if options.weights else ["cnn_small"]
    train = ["onesheet", "train", "--architecture", *network, "--workers", str(options.workers)]
    if options.epochs:
        train += ["--epochs", str(options.epochs)]
    model = stages.run("train", [*train, "--dataset", dataset["dataset_id"], "--json"])
    table = Table("metric (test split)", "model", "prior baseline")
    for name, value in model["metrics"].items():
        table.add_row(name, f"{value:.3f}", f"{model['prior_metrics'][name]:.3f}")
    console.print(table)
    stages.run("promote", ["onesheet", "models", "promote", model["version"], "--json"])
    return model


def _tell(stages: _Stages, shared: dict[str, str], url: str, version: str, sample: Path, seconds: float) -> None:
    took = ", ".join(f"{name} {stage_s:.0f} s" for name, stage_s in stages.seconds.items())
    store = shared["ONESHEET_STORE"]
    exports = " ".join(f"{name}={value}" for name, value in shared.items())
    console.print(
        f"\n[bold green]The endpoint is up[/] after {seconds:.0f} s ({took}).\n\n"
        f"  page       {url}/          drop a poster on it\n"
        f"  API        {url}/docs\n"
        f"  try        curl -F image=@{sample} {url}/v1/predict\n\n"
        f"  posters    {store}/posters/\n"
        f"  ledger     {store}/crawls/      onesheet crawls\n"
        f"  dataset    {store}/datasets/    onesheet datasets\n"
        f"  model      {store}/models/{version}/    onesheet models list\n\n"
        f"Next, in another terminal (with .venv/bin on the PATH):\n\n"
        f"  export {exports}\n"
        f"  onesheet models show {version}\n"
        f"  onesheet predict {sample}\n"
        f"  onesheet submit train --architecture cnn_small --epochs 40\n\n"
        "Ctrl-C stops everything."
    )


def _sample(store: Store, folder: Path) -> Path:
    """A stored poster as a file, for the curl line."""
    path = folder / "poster.jpg"
    path.write_bytes(store.get(next(iter(store.list("posters/")))))
    return path


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise ClusterError("the stage has no output to read")
    return process.stdout


def _require_free(port: int) -> None:
    try:
        try_port(_LOOPBACK, port)
    except OSError as error:
        raise ClusterError(
            f"port {port}: {error.strerror}; end what listens there, or choose another with --port"
        ) from error


def _is_free(port: int) -> bool:
    try:
        try_port(_LOOPBACK, port)
    except OSError:
        return False
    return True
