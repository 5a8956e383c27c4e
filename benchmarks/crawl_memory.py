"""Peak memory of a crawl against the length of its catalogue: flat, from 10 thousand to 1 million rows.

    python -m benchmarks.crawl_memory [--rows 10000 --rows 100000 --rows 1000000]

Each catalogue is a list of invented ids and the crawl asks only for listed poster URLs, of which ids have none: every
title ends as no_poster without a request, so what is measured is the way of a row from the catalogue to the ledger.
Memory is the PSS of the crawl's processes, sampled each 100 ms.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import measured

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

_ROWS = [10_000, 100_000, 1_000_000]
# Nothing is asked for; if something were, it would be of a port of this machine where nobody listens.
_NOBODY = "http://127.0.0.1:9"


def write_ids(path: Path, rows: int) -> Path:
    """A catalogue of ids, spread as IMDb's own are: the step and the modulus share no divisor, so none comes twice."""
    with path.open("w") as file:
        file.writelines(f"tt{1 + number * 7_654_321 % 9_999_991:07d}\n" for number in range(rows))
    return path


def crawl(rows: int, folder: Path) -> measured.Measured:
    """Crawl a catalogue of so many ids into a fresh folder. Ends the benchmark if a title is missing."""
    catalog, store, log = write_ids(folder / f"ids-{rows}.txt", rows), folder / f"store-{rows}", folder / "log"
    log.unlink(missing_ok=True)
    onesheet = Path(sys.executable).with_name("onesheet")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONESHEET_")}
    result = measured.run(
        [onesheet, "crawl", catalog, "--sources", "listed", "--store", store, "--json"],
        environment={**environment, "ONESHEET_REHEARSAL": _NOBODY},
        log=log,
    )
    said = log.read_text(errors="replace")
    summary = last_json(said.splitlines())
    if result.exit_code or summary.get("titles") != rows or summary.get("rejected") != rows:
        sys.exit(f"the crawl of {rows} ids ended with exit code {result.exit_code}:\n{said[-3000:]}")
    return result


def last_json(lines: Iterable[str]) -> dict[str, object]:
    """The last line of a command's --json; empty without one."""
    found = [line for line in lines if line.startswith("{")]
    return json.loads(found[-1]) if found else {}


def main(
    rows: Annotated[list[int] | None, typer.Option(min=1, max=9_000_000, help="Once for each catalogue.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.", show_default=False)
    ] = None,
) -> None:
    """Measure the peak memory of crawls of generated catalogues."""
    lengths = rows or _ROWS
    table = Table("rows", "peak MB (PSS)", "ratio", "seconds", "titles/s", "CPU s", box=box.MARKDOWN)
    figures: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as folder:
        for count in lengths:
            result = crawl(count, Path(folder))
            peak_mb = result.peak_bytes / 1e6
            figures.append({"rows": count, "peak_mb": peak_mb, "wall_s": result.wall_s, "cpu_s": result.cpu_s})
            ratio = peak_mb / figures[0]["peak_mb"]
            rate = f"{count / result.wall_s:.0f}"
            table.add_row(
                f"{count:,}", f"{peak_mb:.0f}", f"{ratio:.2f}", f"{result.wall_s:.0f}", rate, f"{result.cpu_s:.0f}"
            )
            console.print(f"  {count:,} rows: {peak_mb:.0f} MB, {rate} titles/s")
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.crawl_memory', *sys.argv[1:]])}\n")
    console.print(table)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
