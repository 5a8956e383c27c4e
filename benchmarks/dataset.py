"""The dataset's shards: Parquet against TFRecord and tar (WebDataset's layout), and the memory that `prepare` takes.

    python -m benchmarks.dataset formats [--images FOLDER] [--count 2000]
    python -m benchmarks.dataset memory [--posters 20000 --posters 200000]

`formats` writes the same posters (a folder's, or drawn ones) in shards of 512 and reads them back from a warm disk:
in order, and one at a time by shard and place, with what each format offers for it. `memory` generates a crawl of many
tiny posters with perceptual hashes drawn by lot, runs `onesheet prepare` on it and trains a small network on what that
made, Ray and the test split's measures included; memory is the PSS of all processes, sampled each 100 ms.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shlex
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import measured
from cluster.store import FolderStore
from crawler.crawl import Crawl
from crawler.ledger_rows import SCHEMA as LEDGER
from crawler.segments import Segments
from crawler.site.drawing import draw_poster
from crawler.site.invention import invent_titles
from crawler.titles import Title
from training import shards

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

_GENRES = ("Action", "Comedy", "Crime", "Documentary", "Drama", "Horror", "Romance", "Thriller", "War", "Western")
_RANDOM_READS = 300
_ROWS_A_SEGMENT = 50_000


@dataclass(frozen=True, slots=True)
class Poster:
    imdb_id: str
    genres: list[str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Format:
    """write: posters → a file. read: every poster's bytes, file after file. read_one: those of one poster."""

    name: str
    suffix: str
    pandas: str
    datasets: str
    write: Callable[[Path, list[Poster]], None]
    read: Callable[[list[Path]], Iterator[bytes]]
    read_one: Callable[[Path, int], bytes]


def write_parquet(path: Path, posters: list[Poster]) -> None:
    image = [{"bytes": poster.data, "path": f"{poster.imdb_id}.jpg"} for poster in posters]
    ids = [poster.imdb_id for poster in posters]
    columns = [ids, [None] * len(ids), [None] * len(ids), [poster.genres for poster in posters], image]
    table = pa.table([pa.array(c, kind) for c, kind in zip(columns, shards.SCHEMA.types, strict=True)], shards.SCHEMA)
    path.write_bytes(shards.parquet(table, rows_a_group=64, compression="none"))


def read_parquet(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(64, columns=["genres", "image"]):
            for value in batch.column("image").field("bytes"):
                yield value.as_py()


def one_of_parquet(path: Path, place: int) -> bytes:
    group = pq.ParquetFile(path).read_row_group(place // 64, columns=["image"])
    data: bytes = group["image"][place % 64].as_py()["bytes"]
    return data


def write_tfrecord(path: Path, posters: list[Poster]) -> None:
    import tensorflow as tf  # noqa: PLC0415  seconds that the other command need not wait

    def feature(values: list[bytes]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for poster in posters:
            genres = [genre.encode() for genre in poster.genres]
            features = {
                "imdb_id": feature([poster.imdb_id.encode()]),
                "genres": feature(genres),
                "image": feature([poster.data]),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def read_tfrecord(paths: list[Path]) -> Iterator[bytes]:
    import tensorflow as tf  # noqa: PLC0415  seconds that the other command need not wait

    described = {"image": tf.io.FixedLenFeature([], tf.string), "genres": tf.io.VarLenFeature(tf.string)}
    parsed = (
        tf.data.TFRecordDataset([str(path) for path in paths])
        .batch(64)
        .map(lambda rows: tf.io.parse_example(rows, described))
    )
    for batch in parsed:
        yield from batch["image"].numpy()


def one_of_tfrecord(path: Path, place: int) -> bytes:
    """The format has no index: all before it is read."""
    import tensorflow as tf  # noqa: PLC0415  seconds that the other command need not wait

    described = {"image": tf.io.FixedLenFeature([], tf.string)}
    for row in tf.data.TFRecordDataset([str(path)]).skip(place).take(1).as_numpy_iterator():
        data: bytes = tf.io.parse_single_example(row, described)["image"].numpy()
        return data
    raise IndexError(place)


def write_tar(path: Path, posters: list[Poster]) -> None:
    with tarfile.open(path, "w") as tar:
        for poster in posters:
            for suffix, data in (("jpg", poster.data), ("json", json.dumps({"genres": poster.genres}).encode())):
                member = tarfile.TarInfo(f"{poster.imdb_id}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def read_tar(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                data = file.read() if file else b""
                if member.name.endswith(".jpg"):
                    yield data
                else:
                    json.loads(data)


def one_of_tar(path: Path, place: int) -> bytes:
    """The format has no index: all headers before it are read."""
    with tarfile.open(path) as tar:
        for number, member in enumerate(tar):
            if number == 2 * place and (file := tar.extractfile(member)):
                return file.read()
    raise IndexError(place)


FORMATS = (
    Format("Parquet", "parquet", "yes", "yes", write_parquet, read_parquet, one_of_parquet),
    Format("TFRecord", "tfrecord", "no", "no", write_tfrecord, read_tfrecord, one_of_tfrecord),
    Format("tar", "tar", "no", "yes", write_tar, read_tar, one_of_tar),
)


def some_posters(images: Path | None, count: int) -> list[Poster]:
    """Real ones of a folder, or drawn ones; each comes again, with other bytes at its end, where they are too few."""
    if images:
        files = sorted(images.glob("*.jpg"))[:count]
        found = [Poster(path.stem, ["Drama", "Romance"], path.read_bytes()) for path in files]
    else:
        found = [Poster(title.imdb_id, list(title.genres), draw_poster(title)) for title in invent_titles(200)]
    if not found:
        sys.exit(f"no .jpg in {images}")
    return [
        Poster(f"tt{number:07}", one.genres, one.data + number.to_bytes(4, "big"))
        for number in range(1, count + 1)
        for one in [found[number % len(found)]]
    ]


def measure(form: Format, posters: list[Poster], folder: Path) -> dict[str, float]:
    """Seconds to write, bytes, and posters a second read in order and at random places."""
    size = shards.POSTERS_A_SHARD
    parts = [posters[start : start + size] for start in range(0, len(posters), size)]
    paths = [folder / f"{number:05}.{form.suffix}" for number in range(len(parts))]
    form.write(folder / f"warm.{form.suffix}", posters[:2])
    given_back = list(form.read([folder / f"warm.{form.suffix}"]))
    if given_back != [poster.data for poster in posters[:2]]:
        sys.exit(f"{form.name} does not give back what was written")
    began = time.perf_counter()
    for path, part in zip(paths, parts, strict=True):
        form.write(path, part)
    written_s = time.perf_counter() - began
    began = time.perf_counter()
    read = sum(1 for _ in form.read(paths))
    read_s = time.perf_counter() - began
    draw = random.Random(0)
    places = [draw.randrange(len(posters)) for _ in range(_RANDOM_READS)]
    began = time.perf_counter()
    for place in places:
        if form.read_one(paths[place // size], place % size) != posters[place].data:
            sys.exit(f"{form.name} gave another poster than was asked for")
    random_s = time.perf_counter() - began
    return {
        "write_s": written_s,
        "bytes": sum(path.stat().st_size for path in paths),
        "in_order": read / read_s,
        "random": _RANDOM_READS / random_s,
    }


@app.command()
def formats(
    images: Annotated[Path | None, typer.Option(help="A folder of posters.", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=64, help="So many posters.")] = 2000,
) -> None:
    """Write and read the same posters in each format."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    posters = some_posters(images, count)
    table = Table(
        *("format", "write s", "MB", "in order, posters/s", "one at a time, posters/s", "pandas", "HF datasets"),
        box=box.MARKDOWN,
    )
    first: dict[str, float] = {}
    for form in FORMATS:
        with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as folder:
            found = measure(form, posters, Path(folder))
        first = first or found
        ratio = {name: f" ({found[name] / first[name]:.2f})" for name in found}
        table.add_row(
            form.name,
            f"{found['write_s']:.2f}{ratio['write_s']}",
            f"{found['bytes'] / 1e6:.1f}{ratio['bytes']}",
            f"{found['in_order']:,.0f}{ratio['in_order']}",
            f"{found['random']:,.0f}{ratio['random']}",
            form.pandas,
            form.datasets,
        )
    size_kb = sum(len(one.data) for one in posters) / count / 1000
    _tell(table, f"{count:,} posters of {size_kb:.1f} kB; in brackets the ratio to the first row")


@app.command()
def memory(
    posters: Annotated[list[int] | None, typer.Option(min=100, help="Once for each number.")] = None,
    workers: Annotated[int | None, typer.Option(help="Of `onesheet prepare`.", show_default=False)] = None,
) -> None:
    """Peak memory of `onesheet prepare`, and of `onesheet train` on its dataset, against the number of posters."""
    table = Table("stage", "posters", "peak MB (PSS)", "ratio", "seconds", "posters/s", box=box.MARKDOWN)
    training = ["train", "--architecture", "cnn_small@48x32", "--set", "epochs=1", "--set", "batch_size=256"]
    stages = {"prepare": ["prepare", *(["--workers", str(workers)] if workers else [])], "train": training}
    first_mb: dict[str, float] = {}
    for count in posters or [20_000, 200_000]:
        with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as name:
            store = Path(name, "store")
            generate_crawl(FolderStore(store), count)
            for stage, command in stages.items():
                result, told = _run([*command, "--store", str(store)], Path(name, "log"))
                if stage == "prepare" and told["funnel"]["verified"] != count:
                    sys.exit(f"prepare found {told['funnel']['verified']} of {count} posters")
                peak_mb = result.peak_bytes / 1e6
                ratio = peak_mb / first_mb.setdefault(stage, peak_mb)
                rate = f"{count / result.wall_s:,.0f}"
                table.add_row(stage, f"{count:,}", f"{peak_mb:.0f}", f"{ratio:.2f}", f"{result.wall_s:.0f}", rate)
                console.print(f"  {stage}, {count:,} posters: {peak_mb:.0f} MB, {rate} posters/s")
    _tell(table, "peak memory; ratio to the first row of the same stage")


def _run(command: list[str], log: Path) -> tuple[measured.Measured, dict[str, Any]]:
    """A command of onesheet, and what it said with --json."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONESHEET_")}
    result = measured.run(
        [Path(sys.executable).with_name("onesheet"), *command, "--json"], environment=environment, log=log
    )
    said = log.read_text(errors="replace")
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    if result.exit_code or not told:
        sys.exit(f"{command[0]} ended with exit code {result.exit_code}:\n{said[-3000:]}")
    return result, told[-1]


def generate_crawl(store: FolderStore, count: int) -> None:
    """Leave in the store what a crawl of so many tiny posters leaves, their hashes drawn by lot."""
    draw = np.random.default_rng(0)
    pictures = []
    for _ in range(16):
        sink = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (36, 24, 3), np.uint8)).save(sink, "JPEG", quality=60)
        pictures.append(sink.getvalue())
    titles = [
        Title(f"tt{number:07}", f"Film {number}", 1950 + number % 70, (_GENRES[number % 10], _GENRES[number % 7]))
        for number in range(1, count + 1)
    ]
    crawl = Crawl("generated", "generated", store)
    crawl.save_titles(_Generated(titles))  # type: ignore[arg-type]
    folder = store.root / "posters"
    folder.mkdir(parents=True)
    segments = Segments(store, crawl.crawl_id)
    for start in range(0, count, _ROWS_A_SEGMENT):
        part = titles[start : start + _ROWS_A_SEGMENT]
        rows: dict[str, list[object]] = {name: [None] * len(part) for name in LEDGER.names}
        for place, title in enumerate(part):
            # Bytes behind a JPEG's end change its hash and nothing that is seen.
            data = pictures[place % len(pictures)] + title.imdb_id.encode()
            (folder / f"{title.imdb_id}.jpg").write_bytes(data)
            rows["sha256"][place] = hashlib.sha256(data).hexdigest()
            rows["bytes"][place] = len(data)
        rows["imdb_id"] = [title.imdb_id for title in part]
        rows["phash"] = [value.tobytes().hex() for value in draw.integers(0, 2**64, len(part), np.uint64)]
        fixed = {"outcome": "stored", "source": "listed", "attempts": 1, "fetched_at": datetime.now(UTC)}
        rows |= {name: [value] * len(part) for name, value in fixed.items()}
        segments.append(pa.table(rows, schema=LEDGER))
    crawl.finish(started_at=datetime.now(UTC), finish_reason="finished")


@dataclass(frozen=True, slots=True)
class _Generated:
    """A catalogue that was never a file."""

    titles: list[Title]
    name: str = "generated"
    form: str = "generated"

    def rows(self) -> Iterator[Title]:
        return iter(self.titles)


def _tell(table: Table, about: str) -> None:
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.dataset', *sys.argv[1:]])}\n")
    console.print(f"{about}\n")
    console.print(table)


if __name__ == "__main__":
    app()
