"""Posters a second into S3: onesheet's crawl against a bare boto3 loop with as many threads, on the same server.

    python -m benchmarks.crawl_s3 [--titles 2000] [--threads 16] [--rounds 3] [--server swift|moto] [--apart]

With AWS_ENDPOINT_URL_S3 set, and --bucket s3://bucket/prefix, that server is used; else one of tests/s3_servers.py is
started. The bare loop reads the same posters from disk and puts them under the same keys; the crawl fetches them from
a local nginx, verifies them and keeps its ledger. Both are processes of their own, in turn; `steady` leaves out what a
run with one poster takes. Figures are medians. On one machine the server takes most of the cores from whoever asks it;
with --apart it and nginx have the first core for themselves, and who asks has the others, as on a machine of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material, measured, nginx
from benchmarks.crawl_peers.contenders import Onesheet, Site
from cluster.store import open_store
from tests import s3_servers

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Rate:
    """One way of storing: posters a second, over the whole process and without its start, and its CPU seconds."""

    name: str
    posters_per_s: float
    steady_per_s: float
    cpu_s_per_1000: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What both ways store, and where."""

    site: Site
    bucket: str
    threads: int
    environment: Mapping[str, str]
    not_ours: frozenset[int]

    def crawl(self, count: int) -> measured.Measured:
        """`scrapy crawl posters` of the first `count` posters, under a prefix of its own, with as many threads."""
        url = self._fresh("crawl")
        environment = {**Onesheet().environment(self.site), **self.environment}
        command: list[str | Path] = [Path(sys.executable).with_name("scrapy"), "crawl", "posters", "-L", "WARNING"]
        command += ["-s", f"STORE_THREADS={self.threads}", "-s", "PROGRESS=none"]
        command += ["-a", f"catalog={self.site.catalog(count)}", "-a", f"store={url}"]
        return self._run(command, url, count, environment)

    def bare(self, count: int) -> measured.Measured:
        """The bare loop over the same posters."""
        names = self.site.folder / "names"
        names.write_text("\n".join(self.site.material.names[:count]))
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.crawl_peers.bare_puts"]
        command += [self.site.material.folder, names, "STORE", str(self.threads)]
        return self._run(command, self._fresh("bare"), count, {**os.environ, **self.environment})

    def _run(
        self, command: list[str | Path], url: str, count: int, environment: Mapping[str, str]
    ) -> measured.Measured:
        log = self.site.folder / "log"
        log.unlink(missing_ok=True)
        at_url = [url if str(part) == "STORE" else part for part in command]
        result = measured.run(at_url, environment=environment, log=log, folder=_ROOT, not_ours=self.not_ours)
        stored = sum(1 for key in open_store(url).list("posters/") if key.endswith(".jpg"))
        if result.exit_code or stored != count:
            said = log.read_text(errors="replace")[-3000:]
            sys.exit(f"{shlex.join(map(str, at_url))} stored {stored} of {count}:\n{said}")
        return result

    def _fresh(self, name: str) -> str:
        return f"{self.bucket.rstrip('/')}/{name}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def s3_server(kind: str, bucket: str | None) -> Iterator[tuple[str, dict[str, str], str]]:
    """(name, environment, bucket's URL) of the server that the environment names, or of one started here."""
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3"):
        if not bucket:
            sys.exit("AWS_ENDPOINT_URL_S3 is set: say with --bucket s3://bucket/prefix where to write")
        yield endpoint, {}, bucket
        return
    if kind not in s3_servers.SERVERS:
        sys.exit(f"--server {kind} is none of {', '.join(s3_servers.SERVERS)}")
    if kind == "swift" and (reason := s3_servers.why_no_swift()):
        sys.exit(f"{reason}; or take --server moto")
    with s3_servers.SERVERS[kind]() as server:
        # The posters are counted from this process.
        os.environ.update(server.environment())
        yield kind, server.environment(), server.create_bucket("posters")


def rate(name: str, count: int, runs: list[measured.Measured], starts: list[measured.Measured]) -> Rate:
    """The medians of one way's runs."""
    wall_s = median(run.wall_s for run in runs)
    start_s = min(run.wall_s for run in starts)  # what disturbs a start only adds to it
    cpu_s = median(run.cpu_s for run in runs)
    return Rate(name, count / wall_s, count / max(wall_s - start_s, 1e-3), 1000 * cpu_s / count)


def main(
    titles: Annotated[int, typer.Option(min=2, help="How many posters.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each; the medians count.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Of the bare loop: the crawl's STORE_THREADS.")] = 16,
    server: Annotated[str, typer.Option(help="swift or moto, where the environment names no server.")] = "swift",
    apart: Annotated[bool, typer.Option("--apart", help="Servers on the first core, clients on the others.")] = False,
    bucket: Annotated[str | None, typer.Option(help="With AWS_ENDPOINT_URL_S3.", show_default=False)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.", show_default=False)
    ] = None,
) -> None:
    """Measure the crawl into S3 against bare puts."""
    if reason := nginx.why_no_nginx():
        sys.exit(reason)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onesheet-benchmark-")))
        posters = material.find(titles, folder / "posters")
        posters.read_all()
        titles = len(posters.names)
        cores = sorted(os.sched_getaffinity(0))
        if apart and len(cores) < 2:
            sys.exit("--apart wants two cores")
        # What is started has the cores of who starts it.
        os.sched_setaffinity(0, cores[:1] if apart else cores)
        web = stack.enter_context(nginx.serve(posters.folder, folder / "nginx"))
        name, environment, url = stack.enter_context(s3_server(server, bucket))
        os.sched_setaffinity(0, cores[1:] if apart else cores)
        # Other children of ours (the S3 server) are known to `measured` by being there before.
        site = Site(web.url, posters, folder)
        bench = Bench(site, url, threads, environment, frozenset(web.pids()))
        ways = {f"bare boto3, {threads} threads": bench.bare, "onesheet crawl": bench.crawl}
        runs: dict[str, list[measured.Measured]] = {way: [] for way in ways}
        starts: dict[str, list[measured.Measured]] = {way: [] for way in ways}
        for number in range(1, rounds + 1):
            for way, run in ways.items():
                starts[way].append(run(1))
                runs[way].append(run(titles))
                console.print(f"  round {number}: {way}: {titles / runs[way][-1].wall_s:.0f} posters/s")
    bare, ours = (rate(way, titles, runs[way], starts[way]) for way in ways)
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.crawl_s3', *sys.argv[1:]])}")
    console.print(f"{posters.origin} to {name}, {os.cpu_count()} cores\n", soft_wrap=True)
    table = Table("way", "posters/s", "steady/s", "CPU s/1,000", box=box.MARKDOWN)
    for row in (bare, ours):
        table.add_row(row.name, f"{row.posters_per_s:.1f}", f"{row.steady_per_s:.1f}", f"{row.cpu_s_per_1000:.1f}")
    ratios = [ours.posters_per_s / bare.posters_per_s, ours.steady_per_s / bare.steady_per_s]
    table.add_row("ratio", *(f"{value:.2f}" for value in ratios), f"{ours.cpu_s_per_1000 / bare.cpu_s_per_1000:.1f}")
    console.print(table)
    if json_file:
        json_file.write_text(json.dumps([asdict(bare), asdict(ours)], indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
