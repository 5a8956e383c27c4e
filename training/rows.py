"""One worker's rows of a split: random access to encoded posters on local disk, in constant memory."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.store import Store
from training.dataset import Card
from training.genres import multi_hot


class Rows:
    """Row i of a worker is row `rank + i * world_size` of the split. A context manager: leaving it frees the disk.

    The shards are read from the store once, one at a time, and the worker's rows are kept as an Arrow file that
    is mapped into memory, so the operating system decides how much of it stays there. with_images: without them only
    the ids and the labels are read, which are a fraction of the shards. shards: some of the split, by number, for all.
    """

    def __init__(
        self,
        store: Store,
        card: Card,
        split: str,
        *,
        rank: int = 0,
        world_size: int = 1,
        with_images: bool = True,
        shards: Sequence[int] | None = None,
    ) -> None:
        self.card = card
        self.split = split
        self._folder = Path(tempfile.mkdtemp(prefix="onesheet-rows-"))
        path = self._folder / "rows.arrow"
        labels: list[list[str]] = []
        self.imdb_ids: list[str] = []
        schema = pa.schema([("bytes", pa.binary())])
        start = 0
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for key in [card.shards[split][number] for number in shards] if shards is not None else card.shards[split]:
                columns = ["imdb_id", "genres", *(["image"] if with_images else [])]
                shard = pq.read_table(io.BytesIO(store.get(key)), columns=columns)
                mine = shard.take(list(range((rank - start) % world_size, len(shard), world_size)))
                start += len(shard)
                labels += mine["genres"].to_pylist()
                self.imdb_ids += mine["imdb_id"].to_pylist()
                if not with_images:
                    continue
                encoded = pa.chunked_array([chunk.field("bytes") for chunk in mine["image"].chunks], pa.binary())
                writer.write_table(pa.table([encoded], schema=schema))
        self.total = start
        self._map = pa.memory_map(str(path))
        self._encoded = pa.ipc.open_file(self._map).read_all()["bytes"]
        self.labels = multi_hot(labels, card.genres)

    def __len__(self) -> int:
        return len(self.labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._encoded
        self._map.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def encoded(self, row: int) -> bytes:
        """The JPEG of a row."""
        data: bytes = self._encoded[row].as_py()
        return data
