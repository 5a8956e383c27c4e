"""Posters a second, CPU and memory of onesheet's crawl beside img2dataset and Scrapy's ImagesPipeline.

    python -m benchmarks.crawl [--titles 5280] [--rounds 3] [--quick] [--only NAME …] [--folder PATH] [--json FILE]

Every contender fetches the same posters from the same local nginx over the same cores into a folder, one after the
other; each round begins with the next of them, for what runs before leaves its mark on a shared machine. The folder is
on a RAM disk where there is one: what a file costs on a disk depends on what was deleted there before. onesheet
decodes every poster whole, makes its sha256 and perceptual hash, and keeps its ledger; a bare aiohttp loop with the
same decoders says how much of that is onesheet; img2dataset runs with the processes and threads that are the fastest
here, once without looking into the images, once with its default resize.
Figures are medians of the rounds:

- images/s: images stored by the seconds from the start of the process to its end;
- steady/s: the same less the seconds of the quickest run with a single image, which is what starting and ending cost;
- CPU: seconds of the whole process tree a thousand images, nginx's beside it;
- stolen: the part of the cores' time that a virtual machine's host gave to others, which no contender can help;
- peak memory: PSS of the whole tree, sampled each 100 ms.

nginx must be installed (apt-get install nginx-light); img2dataset is installed by pip into an environment of its own
below --peers-folder.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material, measured, nginx
from benchmarks.crawl_peers.contenders import (
    IMG2DATASET_SETTINGS,
    BareFetch,
    Contender,
    ImagesPipeline,
    Img2dataset,
    Onesheet,
    Site,
    img2dataset_program,
    install_img2dataset,
    stored,
)
from cluster.cores import available_cores

# Rows that stay whole in a file.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

ALL_TITLES = 5280
_QUICK_TITLES = 1000
_TRIAL_TITLES = 1000
_STARTS = 3
_RAM_DISK = Path("/dev/shm")
# What the posters and one contender's store take, thrice over.
_ROOM_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender."""

    images: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    nginx_cpu_s: float
    stolen: float


@dataclass(frozen=True, slots=True)
class Score:
    """A contender's medians; `start_s` is the wall time of a run with one image."""

    name: str
    command: str
    images: int
    wall_s: float
    start_s: float
    images_per_s: float
    steady_per_s: float | None
    cpu_s_per_1000: float
    nginx_cpu_s_per_1000: float
    stolen: float
    peak_mb: float


class Bench:
    """The site, a folder to store in, and how one run goes."""

    def __init__(self, site: Site, server: nginx.Nginx, folder: Path) -> None:
        self.site = site
        self._server = server
        self._folder = folder
        self._runs = itertools.count()

    def run(self, contender: Contender, count: int) -> Run:
        """Run a contender on the first `count` posters. Ends the benchmark unless it stored each of them."""
        store, log = self._folder / f"store-{next(self._runs)}", self._folder / "log"
        log.unlink(missing_ok=True)
        os.sync()
        nginx_before, stolen_before = self._server.cpu_s(), _stolen_s()
        result = measured.run(
            contender.command(self.site, count, store),
            environment=contender.environment(self.site),
            folder=contender.folder,
            log=log,
            not_ours=self._server.pids(),
        )
        stolen = (_stolen_s() - stolen_before) / (result.wall_s * available_cores())
        images = stored(store)
        if result.exit_code or images != count:
            said = log.read_text(errors="replace")[-3000:]
            sys.exit(f"{contender.name} stored {images} of {count} images, exit code {result.exit_code}:\n{said}")
        nginx_cpu_s = self._server.cpu_s() - nginx_before
        if self._folder.is_relative_to(_RAM_DISK):
            # Elsewhere at the end only: ext4 makes new files slowly for minutes after many were deleted.
            shutil.rmtree(store)
        return Run(images, result.wall_s, result.cpu_s, result.peak_bytes, nginx_cpu_s, stolen)

    def fastest(self, contender: Img2dataset, settings: tuple[tuple[int, int], ...], count: int) -> Img2dataset:
        """The contender with the processes and threads that finish first here."""
        tried = [replace(contender, processes=processes, threads=threads) for processes, threads in settings]
        seconds = [self.run(each, count).wall_s for each in tried]
        for each, wall_s in zip(tried, seconds, strict=True):
            console.print(f"  {each.name}: {each.processes} x {each.threads} threads: {count / wall_s:.0f} images/s")
        return tried[seconds.index(min(seconds))]


def scores(bench: Bench, contenders: list[Contender], *, count: int, rounds: int) -> list[Score]:
    """Every contender in every round."""
    runs: dict[str, list[Run]] = {each.name: [] for each in contenders}
    # The first run, which nobody counts, compiles and brings the program's files into the file cache.
    for each in contenders:
        bench.run(each, 1)
    # What disturbs a start only adds to it, so the quickest says best what it costs.
    starts = {each.name: min(bench.run(each, 1).wall_s for _ in range(_STARTS)) for each in contenders}
    for number in range(1, rounds + 1):
        first = (number - 1) % len(contenders)
        for each in [*contenders[first:], *contenders[:first]]:
            run = bench.run(each, count)
            runs[each.name].append(run)
            console.print(
                f"  round {number}: {each.name}: {run.images / run.wall_s:.0f} images/s, {run.stolen:.0%} stolen"
            )
    return [_score(bench.site, each, count, runs[each.name], starts[each.name]) for each in contenders]


def _score(site: Site, contender: Contender, count: int, runs: list[Run], start_s: float) -> Score:
    wall_s = median(run.wall_s for run in runs)
    command = [str(part) for part in contender.command(site, count, Path("FOLDER"))]
    return Score(
        name=contender.name,
        command=shlex.join([Path(command[0]).name, *command[1:]]).replace(f"{site.folder}/", ""),
        images=count,
        wall_s=wall_s,
        start_s=start_s,
        images_per_s=count / wall_s,
        # Of a run that hardly outlasts its start, the difference says nothing.
        steady_per_s=count / (wall_s - start_s) if wall_s > 1.5 * start_s else None,
        cpu_s_per_1000=1000 * median(run.cpu_s for run in runs) / count,
        nginx_cpu_s_per_1000=1000 * median(run.nginx_cpu_s for run in runs) / count,
        stolen=median(run.stolen for run in runs),
        peak_mb=median(run.peak_bytes for run in runs) / 1e6,
    )


def show(found: list[Score]) -> None:
    """The figures, and onesheet's as ratios, as Markdown."""
    columns = ("images/s", "steady/s", "start s", "CPU s/1,000", "nginx CPU s/1,000", "stolen", "peak MB (PSS)")
    table = Table("contender", *columns, box=box.MARKDOWN)
    for row in found:
        rates = [f"{row.images_per_s:.0f}", _shown(row.steady_per_s, 0), f"{row.start_s:.1f}"]
        costs = [f"{row.cpu_s_per_1000:.1f}", f"{row.nginx_cpu_s_per_1000:.2f}", f"{row.stolen:.0%}"]
        table.add_row(row.name, *rates, *costs, f"{row.peak_mb:.0f}")
    console.print(table)
    table = Table("ratio", "images/s", "steady/s", "CPU", "peak memory", box=box.MARKDOWN)
    ours = [row for row in found if row.name.startswith("onesheet")]
    for own in ours:
        for other in found:
            if other.name != own.name and (other not in ours or own is not ours[0]):
                table.add_row(f"{own.name} / {other.name}", *ratios(own, other))
    console.print(table)


def ratios(own: Score, other: Score) -> list[str]:
    """One score by another's: more is better for the rates, less for CPU and memory."""
    pairs = [
        (own.images_per_s, other.images_per_s),
        (own.steady_per_s, other.steady_per_s),
        (own.cpu_s_per_1000, other.cpu_s_per_1000),
        (own.peak_mb, other.peak_mb),
    ]
    return [_shown(mine / theirs if mine and theirs else None, 2) for mine, theirs in pairs]


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _room() -> Path | None:
    """The RAM disk, where there is one with room."""
    has_room = _RAM_DISK.is_dir() and shutil.disk_usage(_RAM_DISK).free > _ROOM_BYTES
    return _RAM_DISK if has_room else None


def _stolen_s() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "cores": available_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("onesheet", "scrapy", "pillow")},
        "nginx": nginx.version(),
    }


def main(
    titles: Annotated[int, typer.Option(min=2, help="How many posters.")] = ALL_TITLES,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each contender; the medians count.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="1,000 posters, one round, no search for settings.")] = False,
    peers_folder: Annotated[
        Path, typer.Option(help="Where img2dataset's environment is made.", show_default=False)
    ] = Path("~/.cache/onesheet-benchmarks"),
    img2dataset: Annotated[bool, typer.Option(help="With img2dataset, or without.")] = True,
    only: Annotated[
        list[str] | None, typer.Option(help="These contenders, by their names.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where they store; by default a RAM disk with room.", show_default=False)
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.", show_default=False)
    ] = None,
) -> None:
    """Measure onesheet's crawl beside its peers."""
    if reason := nginx.why_no_nginx():
        sys.exit(reason)
    if quick:
        titles, rounds = min(titles, _QUICK_TITLES), 1
    contenders: list[Contender] = [Onesheet()]
    if shutil.which("taskset"):
        # What a shard has: the pair says how shards scale with their cores.
        contenders.append(Onesheet(name="onesheet on one core", before=("taskset", "-c", "0")))
    contenders.append(Onesheet(name="onesheet --workers 2", options=("--workers", "2")))
    contenders += [BareFetch(), ImagesPipeline("start"), ImagesPipeline("page")]
    program = img2dataset_program(peers_folder.expanduser())
    peers = [Img2dataset(program, resizes=False), Img2dataset(program, resizes=True)] if img2dataset else []
    facts = machine()
    if only:
        names = [each.name for each in (*contenders, *peers)]
        if unknown := set(only) - set(names):
            sys.exit(f"no contender is named {' or '.join(sorted(unknown))}: there are {', '.join(names)}")
        contenders = [each for each in contenders if each.name in only]
        peers = [each for each in peers if each.name in only]
    if peers:
        install_img2dataset(peers_folder.expanduser())
        facts["img2dataset"] = _version_of(program)
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-", dir=folder or _room()) as name:
        folder = Path(name)
        posters = material.find(titles, folder / "posters")
        megabytes = posters.read_all() / 1e6
        titles = len(posters.names)
        with nginx.serve(posters.folder, folder / "nginx") as server:
            bench = Bench(Site(server.url, posters, folder), server, folder)
            for peer in peers:
                fastest = peer if quick else bench.fastest(peer, IMG2DATASET_SETTINGS, min(titles, _TRIAL_TITLES))
                contenders.append(fastest)
            found = scores(bench, contenders, count=titles, rounds=rounds)
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.crawl', *sys.argv[1:]])}")
    where = "a RAM disk" if folder.is_relative_to(_RAM_DISK) else f"the disk of {folder.parent}"
    said = f"{posters.origin}, {megabytes:.0f} MB, stored on {where}; medians of {rounds}; {_in_words(facts)}\n"
    console.print(said, soft_wrap=True)
    show(found)
    for row in found:
        console.print(f"    {row.command}", soft_wrap=True)
    if json_file:
        figures = {
            "machine": facts,
            "posters": posters.origin,
            "rounds": rounds,
            "scores": [asdict(row) for row in found],
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def _in_words(facts: dict[str, Any]) -> str:
    cores = facts["cores"]
    return f"{cores} cores, " + ", ".join(f"{name} {value}" for name, value in facts.items() if name != "cores")


def _version_of(program: Path) -> str:
    code = "from importlib.metadata import version; print(version('img2dataset'))"
    said = subprocess.run([program.with_name("python"), "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip()


if __name__ == "__main__":
    typer.run(main)
