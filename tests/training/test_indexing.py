"""The pass over a dataset that makes a model's index: every poster once, from kept features where there are any."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.nodes import connect
from cluster.settings import load_settings
from cluster.store import FolderStore
from tests.training.conftest import settle
from training import indexing
from training.dataset import SPLITS, Card
from training.embedding import Embedder
from training.features import FeatureMaker
from training.indexing import Helpers, make_index
from training.parts import default_recipe
from training.pixels import Pixels
from training.rows import Rows
from training.similar import PosterIndex
from training.task import TrainTask, build_task_network, share_weights


def task_for(store: FolderStore, card: Card, architecture: str, weights: Path | None = None) -> TrainTask:
    return TrainTask(
        store=store.url,
        dataset_id=card.dataset_id,
        architecture=architecture,
        height_px=64,
        width_px=48,
        recipe=default_recipe(architecture).model_dump(),
        weights="store" if weights else "none",
        weights_keys=share_weights(architecture, str(weights), store) if weights else {},
    )


def assert_each_finds_itself(index: PosterIndex, model: Any, store: FolderStore, card: Card) -> None:
    for split in SPLITS:
        with Rows(store, card, split) as rows, Pixels(rows, height_px=64, width_px=48) as pixels:
            found = index.nearest(Embedder(model)(pixels.batch(np.arange(len(rows)))), 1)
            assert [poster[0].imdb_id for poster in found] == rows.imdb_ids


def test_every_poster_of_every_split_is_in_the_index_with_its_title(dataset: tuple[FolderStore, Card]) -> None:
    store, card = dataset
    network = build_task_network(task_for(store, card, "cnn_small"), card)
    settle(network.model)
    told: list[tuple[int, int]] = []
    index = make_index(network, store, card, Helpers(), progress=lambda done, total: told.append((done, total)))
    assert len(index) == sum(card.posters.values())
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    shards = [pq.read_table(Path(store.url, key)) for split in SPLITS for key in card.shards[split]]
    for name in ("imdb_id", "title", "year", "genres"):
        assert index.titles[name].to_pylist() == [value for shard in shards for value in shard[name].to_pylist()]
    assert_each_finds_itself(index, network.model, store, card)


def test_kept_features_are_read_and_only_the_posters_of_test_looked_at(
    dataset: tuple[FolderStore, Card], weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, card = dataset
    task = task_for(store, card, "mobilenet_v2", weights_folder)
    maker = FeatureMaker(asdict(task))
    for split in ("train", "validation"):
        for shard in range(len(card.shards[split])):
            maker.make(0, split, shard)
    network = build_task_network(task, card)
    looked_at: list[str] = []
    embed = indexing.ShardEmbedder.embed

    def spied(self: Any, split: str, *rest: Any) -> Any:
        looked_at.append(split)
        return embed(self, split, *rest)

    monkeypatch.setattr(indexing.ShardEmbedder, "embed", spied)
    index = make_index(network, store, card, Helpers())
    assert set(looked_at) == {"test"}
    assert_each_finds_itself(index, network.model, store, card)


@pytest.mark.fault
def test_actors_make_the_same_index(dataset: tuple[FolderStore, Card], monkeypatch: pytest.MonkeyPatch) -> None:
    store, card = dataset
    network = build_task_network(task_for(store, card, "cnn_small"), card)
    settle(network.model)
    here = make_index(network, store, card, Helpers())
    monkeypatch.setattr(indexing, "_POSTERS_AN_ACTOR", 0)
    # Some shards for the projection, the others after it.
    monkeypatch.setattr(indexing, "_FIT_POSTERS", sum(card.posters.values()) // 2)
    with connect(load_settings(), num_cpus=2):
        there = make_index(network, store, card, Helpers(actors=2))
    assert there.titles == here.titles
    assert_each_finds_itself(there, network.model, store, card)
