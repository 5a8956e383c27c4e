"""Five epochs of `cnn_4block_bn` at 350x350: onesheet's input and step beside the plain Keras script.

    python -m benchmarks.training [--posters 1000] [--epochs 5] [--rounds 1] [--json FILE]

The plain script is what the published work used: every poster read into one float32 array, then `model.fit`. Both
start from the same JPEGs on disk and end with a network that was trained for as many epochs with the same batches'
size; each runs in a process of its own, one after the other, in each round again. onesheet runs a second time with the
precision that saves memory on a CPU. Memory is the most that the process had resident: the script's grows by 4 to 6 MB
a poster, onesheet's does not, so --posters decides their ratio. Afterwards onesheet's process takes one more epoch a
batch at a time, to see how long a step waits for input.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material, measured
from benchmarks.training_contender import GENRES, ONESHEET, ONESHEET_BFLOAT16, PLAIN
from cluster.settings import load_settings

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

CONTENDERS = (PLAIN, ONESHEET, ONESHEET_BFLOAT16)


@dataclass(frozen=True, slots=True)
class Score:
    """A contender's medians. waiting: the share of a step that waits for input, where it was measured."""

    name: str
    wall_s: float
    images_per_s: float
    cpu_s: float
    peak_mb: float
    waiting: float | None


def compare(
    posters: Annotated[int, typer.Option(min=64, help="How many posters.")] = 1000,
    epochs: Annotated[int, typer.Option(min=1, help="How many epochs.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each; the medians count.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """All contenders in turn, and the ratios."""
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as name:
        folder = Path(name)
        found = material.find(posters, folder / "posters")
        labels = _write_labels(folder / "labels.csv", found.names)
        store = _write_dataset(folder / "store", found.paths(), labels)
        runs: dict[str, list[tuple[measured.Measured, float | None]]] = {each: [] for each in CONTENDERS}
        for number in range(1, rounds + 1):
            for each in CONTENDERS:
                source = found.folder if each == PLAIN else store
                result, waiting = _run(each, source, folder, epochs)
                runs[each].append((result, waiting))
                rate = epochs * len(found.names) / result.wall_s
                console.print(
                    f"  round {number}: {each}: {rate:.1f} images/s, {result.peak_process_bytes / 1e6:,.0f} MB"
                )
    scores = [_score(each, runs[each], epochs * len(found.names)) for each in CONTENDERS]
    console.print(f"\n$ python -m benchmarks.training --posters {posters} --epochs {epochs} --rounds {rounds}")
    console.print(f"{found.origin}; from JPEGs on disk to {epochs} epochs trained\n")
    show(scores)
    if json_file:
        json_file.write_text(json.dumps([asdict(score) for score in scores], indent=2) + "\n")


def show(scores: Sequence[Score]) -> None:
    """The figures, and onesheet's as ratios to the script's, as Markdown."""
    table = Table("", "images/s", "wall s", "CPU s", "peak MB", "waits for input", box=box.MARKDOWN)
    for row in scores:
        waits = "-" if row.waiting is None else f"{row.waiting:.1%}"
        table.add_row(
            row.name,
            f"{row.images_per_s:.1f}",
            f"{row.wall_s:.0f}",
            f"{row.cpu_s:.0f}",
            f"{row.peak_mb:,.0f}",
            waits,
        )
    plain, *others = scores
    for ours in others:
        table.add_row(
            f"{ours.name} / {plain.name}",
            f"{ours.images_per_s / plain.images_per_s:.2f}",
            f"{ours.wall_s / plain.wall_s:.2f}",
            f"{ours.cpu_s / plain.cpu_s:.2f}",
            f"{ours.peak_mb / plain.peak_mb:.2f}",
            "",
        )
    console.print(table)


def _score(name: str, runs: Sequence[tuple[measured.Measured, float | None]], images: int) -> Score:
    wall_s = median(run.wall_s for run, _ in runs)
    waits = [waiting for _, waiting in runs if waiting is not None]
    return Score(
        name,
        wall_s,
        images / wall_s,
        median(run.cpu_s for run, _ in runs),
        median(run.peak_process_bytes for run, _ in runs) / 1e6,
        median(waits) if waits else None,
    )


def _run(name: str, source: Path, folder: Path, epochs: int) -> tuple[measured.Measured, float | None]:
    """One contender in a process of its own, which says afterwards, in a second one, how long its steps wait."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.training_contender", name, str(source), str(folder / "labels.csv")]
    result = measured.run([*command, str(epochs)], log=log)
    if result.exit_code:
        sys.exit(f"{name} ended with {result.exit_code}:\n{log.read_text(errors='replace')[-3000:]}")
    if name == PLAIN:
        return result, None
    waits = folder / "waits.json"
    measured.run([*command, "0", "--waits", waits], log=log)
    return result, float(json.loads(waits.read_text()))


def _write_labels(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """A CSV of each poster's multi-hot genres; what they are does not matter for speed. Returns genres by name."""
    genres = {name: [f"genre {(place + offset) % GENRES:02}" for offset in (0, 7)] for place, name in enumerate(names)}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for name in names:
            writer.writerow([name, *(int(f"genre {genre:02}" in genres[name]) for genre in range(GENRES))])
    return genres


def _write_dataset(folder: Path, paths: Sequence[Path], labels: dict[str, list[str]]) -> Path:
    """The same posters as the train split of a dataset, its shards made by `onesheet prepare`'s own code."""
    import pyarrow as pa  # noqa: PLC0415

    from cluster.store import FolderStore  # noqa: PLC0415
    from crawler.titles import poster_key  # noqa: PLC0415
    from training.dataset_card import Card, key_of  # noqa: PLC0415
    from training.dataset_plan import PrepareOptions  # noqa: PLC0415
    from training.shards import POSTERS_A_SHARD, ShardTask, write_shards  # noqa: PLC0415

    store = FolderStore(folder)
    rows = []
    for path in paths:
        poster = path.read_bytes()
        store.put(poster_key(path.stem), poster)
        rows.append({"imdb_id": path.stem, "sha256": hashlib.sha256(poster).digest(), "genres": labels[path.stem]})
    columns = [("imdb_id", pa.string()), ("sha256", pa.binary()), ("is_verified", pa.bool_()), ("title", pa.string())]
    schema = pa.schema([*columns, ("year", pa.int16()), ("genres", pa.list_(pa.string()))])
    tasks = [
        ShardTask(
            key=key_of("ds-benchmark", f"train/{start // POSTERS_A_SHARD:05}.parquet"),
            split="train",
            rows=pa.Table.from_pylist(
                [{"is_verified": True, "title": "", **row} for row in rows[start : start + POSTERS_A_SHARD]], schema
            ),
            max_height_px=PrepareOptions().max_height_px,
            max_pixels=load_settings().max_poster_pixels,
        )
        for start in range(0, len(rows), POSTERS_A_SHARD)
    ]
    made = list(write_shards(iter(tasks), store))
    if lost := {name: reason for shard in made for name, reason in shard.lost.items()}:
        sys.exit(f"both must learn from the same posters, and the dataset lacks some: {lost}")
    card = Card(
        dataset_id="ds-benchmark",
        crawl_id="benchmark",
        options={},
        genres=[f"genre {genre:02}" for genre in range(GENRES)],
        funnel={},
        dropped={},
        posters={"train": len(paths), "validation": 0, "test": 0},
        shards={"train": [shard.key for shard in made], "validation": [], "test": []},
        genre_counts={},
    )
    store.put(key_of(card.dataset_id, "card.json"), json.dumps(asdict(card)).encode())
    return folder


if __name__ == "__main__":
    typer.run(compare)
