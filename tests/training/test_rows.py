"""A worker's rows: its share of the split, read from a disk that is free again afterwards."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.store import FolderStore
from training.dataset import Card
from training.genres import multi_hot
from training.rows import Rows

Dataset = tuple[FolderStore, Card]


def _split(dataset: Dataset) -> list[dict[str, Any]]:
    store, card = dataset
    return [row for key in card.shards["train"] for row in pq.read_table(io.BytesIO(store.get(key))).to_pylist()]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_poster_of_a_split_is_with_one_worker(dataset: Dataset, world_size: int):
    whole = _split(dataset)
    for rank in range(world_size):
        mine = whole[rank::world_size]
        with Rows(*dataset, "train", rank=rank, world_size=world_size) as rows:
            assert rows.total == len(whole)
            assert rows.imdb_ids == [row["imdb_id"] for row in mine]
            assert [rows.encoded(row) for row in range(len(rows))] == [row["image"]["bytes"] for row in mine]
            expected = multi_hot([row["genres"] for row in mine], dataset[1].genres)
            np.testing.assert_array_equal(rows.labels, expected)


def test_posters_are_nobodys_memory_and_nothing_stays_on_the_disk(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Rows(*dataset, "train") as rows:
        assert rows.encoded(0)[:2] == b"\xff\xd8"
        assert not list(tmp_path.iterdir()), "a killed process leaves nothing"
        assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_without_images_there_are_ids_and_labels(dataset: Dataset):
    with Rows(*dataset, "train", with_images=False) as rows, Rows(*dataset, "train") as whole:
        assert rows.imdb_ids == whole.imdb_ids
        np.testing.assert_array_equal(rows.labels, whole.labels)
