"""Features that are kept are those that the trunk gives, for each worker in the order of its rows."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cluster.store import FolderStore
from training.dataset import Card
from training.features import FeatureMaker, Features, feature_key
from training.parts import default_recipe
from training.pixels import Pixels
from training.rows import Rows
from training.task import TrainTask, build_task_network, share_weights

EXPRESSION = "mobilenet_v2@48x32+efficientnet_lite0@64x48"


@pytest.fixture(scope="module")
def task(dataset: tuple[FolderStore, Card], weights_folder: Path) -> TrainTask:
    store, card = dataset
    return TrainTask(
        store=store.url,
        dataset_id=card.dataset_id,
        architecture=EXPRESSION,
        height_px=64,
        width_px=48,
        recipe=default_recipe(EXPRESSION).changed({"pooling": "mean,max"}).model_dump(),
        weights="store",
        weights_keys=share_weights(EXPRESSION, str(weights_folder), store),
    )


def test_kept_features_give_the_scores_of_the_whole_model(dataset: tuple[FolderStore, Card], task: TrainTask):
    store, card = dataset
    maker = FeatureMaker(asdict(task))
    network = build_task_network(task, card)
    for place in range(len(network.trunks)):
        for shard in range(len(card.shards["test"])):
            maker.make(place, "test", shard)
    with (
        Features(store, card, "test", network.trunks) as features,
        Rows(store, card, "test") as rows,
        Pixels(rows, height_px=64, width_px=48) as pixels,
    ):
        every = np.arange(len(rows))
        from_features = network.trained(features.batch(every), training=False).numpy()
        from_images = network.model(pixels.batch(every).astype(np.float32), training=False).numpy()
        # Kept in half precision.
        assert from_features == pytest.approx(from_images, abs=2e-3)
        assert len(np.unique(from_images.round(5))) > 10, "scores that are all alike prove nothing"
        with Features(store, card, "test", network.trunks, rank=1, world_size=2) as half:
            assert len(half) == len(every[1::2])
            assert (half.batch(np.arange(len(half))) == features.batch(every[1::2])).all()


def test_features_lie_beside_the_dataset_and_open_with_numpy(dataset: tuple[FolderStore, Card], task: TrainTask):
    store, card = dataset
    trunk = build_task_network(task, card).trunks[0]
    FeatureMaker(asdict(task)).make(0, "validation", 0)
    assert trunk.poolings == ("mean", "max")
    assert set(trunk.widths) > set(trunk.poolings), "what another trial may want is there too"
    for pooling, width in trunk.widths.items():
        kept = np.load(io.BytesIO(store.get(feature_key(card, trunk, pooling, "validation", 0))))
        assert kept.dtype == np.float16
        assert kept.shape == (card.posters["validation"], width)
    assert "mobilenet_v2@48x32" in trunk.key, "the key tells what it is"


def test_weights_are_shared_once_under_their_content(dataset: tuple[FolderStore, Card], task: TrainTask):
    store, _ = dataset
    assert set(task.weights_keys) == {"mobilenet_v2", "efficientnet_lite0"}
    assert sorted(store.list("weights/")) == sorted(task.weights_keys.values())
