"""The shards of a dataset: posters read from the store, checked, resized once if they are tall, written as Parquet.

A shard is made alone: by the threads of this process, or as a Ray task on any node. Nothing of it depends on who made
it or in which order, so the bytes are the same for any number of workers, and memory is that of a shard a worker.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from cluster.errors import KeyNotFoundError, OnesheetError, TrainingError
from cluster.resources import room_for
from cluster.store import Store, open_store
from crawler import images
from crawler.outcomes import Rejected
from crawler.report_words import spoken
from crawler.titles import poster_key
from training.preprocessing import to_rgb

POSTERS_A_SHARD = 512
# What one random read of a poster has to fetch, and what a viewer shows at once.
_POSTERS_A_GROUP = 64
_JPEG_QUALITY = 92
_THREADS = 8
# Tells Hugging Face datasets, and the Hub's viewer, that `image` is a picture.
_TEXT = {"dtype": "string", "_type": "Value"}
FEATURES: dict[str, Any] = {
    "imdb_id": _TEXT,
    "title": _TEXT,
    "year": {"dtype": "int16", "_type": "Value"},
    "genres": [_TEXT],
    "image": {"_type": "Image"},
}
SCHEMA = pa.schema(
    # Nullable although nothing is null: Hugging Face datasets takes a column for a picture only if it is.
    [
        pa.field("imdb_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("year", pa.int16()),
        pa.field("genres", pa.list_(pa.string())),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """A shard to be made.

    rows: imdb_id, sha256 (binary), is_verified (the crawl decoded the whole picture), title, year, genres.
    """

    key: str
    split: str
    rows: pa.Table
    max_height_px: int
    max_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """A shard that was made, or, where is_empty, was not since no poster of it is left.

    kept: bool [rows]. lost: imdb_id → reason, for the others. sizes: int32 [kept, 3], a poster's bytes, width and
    height as they are stored.
    """

    key: str
    split: str
    kept: npt.NDArray[np.bool_]
    lost: dict[str, str]
    sizes: npt.NDArray[np.int32]

    @property
    def is_empty(self) -> bool:
        return not len(self.sizes)


@dataclass(frozen=True, slots=True)
class _Stored:
    data: bytes
    width_px: int
    height_px: int


def write_shards(
    tasks: Iterator[ShardTask], store: Store, workers: int | None = None, cpus_per_worker: int = 1
) -> Iterator[ShardResult]:
    """Make the shards and give each one's result as it is done, in any order.

    workers: None makes them here, one after the other, each with several threads. A number makes so many at a time as
    Ray tasks of cpus_per_worker CPUs each; Ray must be connected (`cluster.nodes.connect`), and every node must reach
    the store.
    Raises the StoreError that a worker met.
    """
    if workers is None:
        return (write_shard(store.patient(), task) for task in tasks)
    return _on_ray(tasks, store.url, workers, cpus_per_worker)


def write_shard(store: Store, task: ShardTask) -> ShardResult:
    """Read, check and write the posters of a shard."""
    ids = task.rows["imdb_id"].to_pylist()
    digests, verified = task.rows["sha256"].to_pylist(), task.rows["is_verified"].to_pylist()

    def made(imdb_id: str, digest: bytes | None, is_verified: bool) -> _Stored | str:
        return _poster(store, imdb_id, digest, is_verified, task)

    with ThreadPoolExecutor(_THREADS) as pool:
        posters = list(pool.map(made, ids, digests, verified))
    kept = np.array([isinstance(poster, _Stored) for poster in posters], np.bool_)
    lost = {imdb_id: poster for imdb_id, poster in zip(ids, posters, strict=True) if isinstance(poster, str)}
    stored = [poster for poster in posters if isinstance(poster, _Stored)]
    sizes = np.array([(len(one.data), one.width_px, one.height_px) for one in stored], np.int32).reshape(-1, 3)
    if stored:
        rows = task.rows.filter(pa.array(kept))
        paths = [f"{imdb_id}.jpg" for imdb_id in rows["imdb_id"].to_pylist()]
        image = pa.StructArray.from_arrays(
            [pa.array([one.data for one in stored], pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"]
        )
        table = pa.table([rows["imdb_id"], rows["title"], rows["year"], rows["genres"], image], schema=SCHEMA)
        store.put(task.key, parquet(table, rows_a_group=_POSTERS_A_GROUP, compression="none"))
    return ShardResult(key=task.key, split=task.split, kept=kept, lost=lost, sizes=sizes)


def parquet(table: pa.Table, *, rows_a_group: int | None = None, compression: str = "zstd") -> bytes:
    """The table as a Parquet file, the same bytes for the same rows. Posters are compressed already: `none`."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=compression, row_group_size=rows_a_group)
    return sink.getvalue()


def _poster(store: Store, imdb_id: str, digest: bytes | None, is_verified: bool, task: ShardTask) -> _Stored | str:
    """The poster as it is stored, or why there is none."""
    try:
        data = store.get(poster_key(imdb_id))
    except KeyNotFoundError:
        return "poster missing"
    if digest is None or hashlib.sha256(data).digest() != digest:
        return "poster changed since the crawl"
    # The crawl decoded these very bytes to the last pixel: what stays as it is need not be decoded again.
    if is_verified and (size := _size_as_it_is(data, task.max_height_px)):
        return _Stored(data, *size)
    image = images.decode(data, max_pixels=task.max_pixels)
    if isinstance(image, Rejected):
        return f"poster unusable: {spoken(image.reason)}"
    if _is_plain(image) and image.height <= task.max_height_px:
        return _Stored(data, *image.size)
    rgb = to_rgb(image)
    if rgb.height > task.max_height_px:
        width = max(1, round(rgb.width * task.max_height_px / rgb.height))
        rgb = rgb.resize((width, task.max_height_px), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    rgb.save(sink, "JPEG", quality=_JPEG_QUALITY)
    return _Stored(sink.getvalue(), *rgb.size)


def _size_as_it_is(data: bytes, max_height_px: int) -> tuple[int, int] | None:
    """Width and height of a plain JPEG that is small enough, by its header; None for anything else."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as header:
            return header.size if _is_plain(header) and header.height <= max_height_px else None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None


def _is_plain(image: Image.Image) -> bool:
    return image.format == "JPEG" and image.mode in ("RGB", "L")


def _write_for(store_url: str, task: ShardTask) -> ShardResult:
    return write_shard(open_store(store_url).patient(), task)


def _on_ray(tasks: Iterator[ShardTask], store_url: str, workers: int, cpus_per_worker: int) -> Iterator[ShardResult]:
    import ray  # noqa: PLC0415  seconds, and only for those who asked for workers
    from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415  as above

    if cpus_per_worker > 1:
        room_for(ray.cluster_resources(), cpus=cpus_per_worker, gpus=0)
    # A task whose node or process dies is run again, and leaves the same bytes under the same key.
    write = ray.remote(num_cpus=cpus_per_worker, max_retries=5)(_write_for)
    running: list[Any] = []
    try:
        for task in tasks:
            running.append(write.remote(store_url, task))
            if len(running) >= workers:
                done, running = ray.wait(running)
                yield from ray.get(done)
        while running:
            done, running = ray.wait(running)
            yield from ray.get(done)
    except RayTaskError as error:
        if isinstance(error.cause, OnesheetError):
            raise error.cause from error
        raise TrainingError(f"a shard could not be made: {type(error.cause).__name__}: {error.cause}") from error
    except RayError as error:
        raise TrainingError(f"a shard could not be made: {str(error).splitlines()[0]}") from error
    finally:
        for ref in running:
            ray.cancel(ref)
