from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.store import FolderStore
from training.dataset import Card
from training.inputs import Epochs, Pixels, image_batches, plan_epoch, training_batches
from training.rows import Rows


@given(total=st.integers(1, 300), world_size=st.integers(1, 5), batch_size=st.integers(1, 40), epoch=st.integers(0, 3))
def test_every_row_comes_once_an_epoch_and_weighs_the_same_in_its_global_batch(
    total: int, world_size: int, batch_size: int, epoch: int
):
    if total < world_size:
        with pytest.raises(ValueError, match="too few"):
            plan_epoch(total, rank=0, world_size=world_size, batch_size=batch_size)
        return
    plans = [
        plan_epoch(total, rank=rank, world_size=world_size, batch_size=batch_size, seed=1, epoch=epoch)
        for rank in range(world_size)
    ]
    assert {plan.rows.shape for plan in plans} == {plans[0].rows.shape}, "a worker with fewer steps would hang"
    seen = [
        row * world_size + rank
        for rank, plan in enumerate(plans)
        for row, weight in zip(plan.rows.ravel(), plan.weights.ravel(), strict=True)
        if weight > 0
    ]
    assert sorted(seen) == list(range(total))
    for step in range(len(plans[0].rows)):
        weights = np.concatenate([plan.weights[step] for plan in plans])
        # The mean over workers of the mean over a batch is the mean over the real rows.
        assert weights.mean() == pytest.approx(1, rel=1e-5)
        assert len(set(weights[weights > 0])) == 1


def test_an_epoch_has_its_own_order_and_the_same_one_again():
    first, again, second = (plan_epoch(50, rank=0, world_size=1, batch_size=10, seed=1, epoch=e) for e in (0, 0, 1))
    assert (first.rows == again.rows).all()
    assert (first.rows != second.rows).any()


def test_the_workers_share_the_rows_of_a_split(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    with Rows(store, card, "train") as whole, Rows(store, card, "train", rank=1, world_size=2) as half:
        assert whole.imdb_ids[1::2] == half.imdb_ids
        assert (whole.labels[1::2] == half.labels).all()
        assert whole.encoded(3) == half.encoded(1)
        assert whole.total == half.total == len(whole)


def test_training_batches_pair_each_image_with_its_labels(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    epochs = Epochs()
    with Rows(store, card, "train") as rows:
        pixels = Pixels(rows, height_px=24, width_px=16)
        labels_of = {pixels(row).tobytes(): rows.labels[row] for row in range(len(rows))}
        batches = training_batches(pixels, rows, epochs, rank=0, world_size=1, batch_size=16, seed=0)
        assert batches.cardinality() == -(-len(rows) // 16), (
            "Keras counts a step too many where it does not know the number"
        )
        orders = []
        for epochs.current in (0, 1):
            order = []
            for images, labels, weights in batches.as_numpy_iterator():
                assert images.shape == (16, 24, 16, 3)
                for image, label, weight in zip(images, labels, weights, strict=True):
                    assert (labels_of[image.tobytes()] == label).all()
                    order += [image.tobytes()] if weight > 0 else []
            assert len(order) == len(rows)
            orders.append(order)
        assert orders[0] != orders[1], "the second epoch is shuffled anew"


def test_image_batches_keep_the_order_and_the_last_short_batch(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    with Rows(store, card, "train") as rows:
        pixels = Pixels(rows, height_px=24, width_px=16)
        images = np.concatenate(list(image_batches(pixels, 16, length=len(rows)).as_numpy_iterator()))
        assert (images == np.stack([pixels(row) for row in range(len(rows))])).all()
