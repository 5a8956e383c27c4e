"""One worker's rows of a split: random access to encoded posters on local disk, in constant memory."""

from __future__ import annotations

import array
import io
import os
import tempfile
from collections.abc import Sequence
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.store import Store
from training.dataset import Card
from training.genres import multi_hot


class Rows:
    """Row i of a worker is row `rank + i * world_size` of the split. A context manager: leaving it frees the disk.

    The shards are read from the store once, one at a time, and the worker's posters are kept in a file without a name,
    which is read with `pread` and not mapped: what the operating system keeps of it is nobody's memory. with_images:
    without them only the ids and the labels are read, which are a fraction of the shards. shards: some of the split, by
    number, for all.
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
        labels: list[list[str]] = []
        self.imdb_ids: list[str] = []
        self._file = tempfile.TemporaryFile(prefix="onesheet-rows-")  # noqa: SIM115  closed by __exit__
        self._ends = array.array("q", [0])
        start = 0
        for key in [card.shards[split][number] for number in shards] if shards is not None else card.shards[split]:
            columns = ["imdb_id", "genres", *(["image"] if with_images else [])]
            shard = pq.read_table(io.BytesIO(store.get(key)), columns=columns)
            mine = shard.take(list(range((rank - start) % world_size, len(shard), world_size)))
            start += len(shard)
            labels += mine["genres"].to_pylist()
            self.imdb_ids += mine["imdb_id"].to_pylist()
            for chunk in mine["image"].chunks if with_images else ():
                for encoded in chunk.field("bytes"):
                    self._file.write(encoded.as_buffer())
                    self._ends.append(self._file.tell())
        self._file.flush()
        pa.default_memory_pool().release_unused()
        self.total = start
        self.labels = multi_hot(labels, card.genres)

    def __len__(self) -> int:
        return len(self.labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def encoded(self, row: int) -> bytes:
        """The JPEG of a row."""
        start, end = self._ends[row : row + 2]
        return os.pread(self._file.fileno(), end - start, start)
