from __future__ import annotations

import numpy as np
import pytest

from training.known_sides import NOBODY, KnownSides, SplitFileError, read_split_file
from training.splits import NO_SIDE, SPLITS, leaks, sampled, scattered, stratified

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def drawn_labels(rows: int, seed: int = 0) -> np.ndarray:
    """Genres as rare as real ones: from half of the posters to one in a hundred."""
    rng = np.random.default_rng(seed)
    labels = rng.random((rows, 12)) < np.geomspace(0.5, 0.01, 12)
    labels[~labels.any(axis=1), 0] = True
    return labels


def alone(rows: int) -> np.ndarray:
    return np.arange(rows)


def unevenness(labels: np.ndarray, side: np.ndarray) -> float:
    """The mean over genres and splits of how far a genre's share is from that of all, relative to it."""
    whole = labels.mean(axis=0)
    return float(np.mean([abs(labels[side == index].mean(axis=0) / whole - 1) for index in range(len(SPLITS))]))


def hashed(ids: np.ndarray) -> np.ndarray:
    """A split by the hash of the id alone, to compare with."""
    place = scattered(ids) / 2.0**64
    return np.where(place < 0.2, 2, np.where(place < 0.3, 1, 0))


def test_each_split_gets_its_share_of_posters_and_of_each_genre_better_than_by_hashing():
    labels, ids = drawn_labels(4000), alone(4000)
    side = stratified(labels, alone(4000), ids, SHARES).side
    assert np.bincount(side) / 4000 == pytest.approx([0.7, 0.1, 0.2], abs=0.005)
    assert unevenness(labels, side) < 0.03
    assert unevenness(labels, side) < unevenness(labels, hashed(ids)) / 3


def test_the_order_of_ids_is_not_the_order_of_the_splits():
    side = stratified(drawn_labels(2000), alone(2000), alone(2000), SHARES).side
    first_half = np.bincount(side[:1000], minlength=3) / 1000
    assert first_half == pytest.approx([0.7, 0.1, 0.2], abs=0.05)


def test_the_order_of_rows_does_not_matter():
    labels, ids = drawn_labels(300), alone(300) * 7 + 1
    order = np.random.default_rng(1).permutation(300)
    side = stratified(labels, alone(300), ids, SHARES).side
    assert (stratified(labels[order], alone(300), ids[order], SHARES).side == side[order]).all()


def test_groups_are_never_torn_apart():
    labels, groups = drawn_labels(1000), np.random.default_rng(2).integers(0, 400, 1000)
    side = stratified(labels, groups, alone(1000), SHARES).side
    assert leaks(groups, side) == 0
    assert (side != NO_SIDE).all()
    assert unevenness(labels, side) < unevenness(labels, hashed(groups))


def test_no_title_changes_sides_as_the_catalogue_grows_and_genres_stay_even():
    labels, ids = drawn_labels(6000), alone(6000) * 3
    kept = NOBODY
    for rows in (500, 1500, 2000, 6000):  # what is new comes anywhere between what was there
        there = np.sort(np.random.default_rng(3).permutation(6000)[:rows])
        split = stratified(labels[there], alone(rows), ids[there], SHARES, kept.sides(ids[there]))
        before = kept.sides(ids[there])
        assert (split.side[before != NO_SIDE] == before[before != NO_SIDE]).all()
        assert not split.clashes.any()
        kept = kept.updated(KnownSides.of(ids[there], split.side))
        assert np.bincount(split.side) / rows == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    assert unevenness(labels, split.side) < unevenness(labels, hashed(ids)) / 2


def test_where_new_titles_join_kept_ones_of_two_sides_the_unseen_side_stays_and_the_other_goes():
    labels, groups = drawn_labels(40), alone(40)
    groups[[1, 2, 3]] = 1
    kept = np.full(40, NO_SIDE, np.int8)
    kept[1], kept[2] = SPLITS.index("train"), SPLITS.index("test")
    split = stratified(labels, groups, alone(40), SHARES, kept)
    assert [split.side[row] for row in (1, 2, 3)] == [NO_SIDE, 2, 2]
    assert np.flatnonzero(split.clashes).tolist() == [1]
    assert leaks(groups, split.side) == 0


def test_a_sample_has_the_size_the_genres_and_the_splits_of_the_whole():
    labels, ids = drawn_labels(4000), alone(4000)
    side = stratified(labels, alone(4000), ids, SHARES).side
    taken = sampled(labels, side, ids, 1000)
    assert taken.sum() == 1000
    assert np.bincount(side[taken]) == pytest.approx(np.bincount(side) / 4, abs=1)
    drawn = np.argsort(scattered(ids))[:1000]  # 1,000 by lot, to compare with
    unevenness_of = {
        name: abs(labels[rows].mean(axis=0) - labels.mean(axis=0)).mean()
        for name, rows in (("sample", taken), ("lot", drawn))
    }
    assert unevenness_of["sample"] < unevenness_of["lot"] / 2, unevenness_of
    assert sampled(labels, side, ids, 4000).all()


def test_a_split_file_is_read_from_csv_and_parquet_and_its_faults_are_named(tmp_path):
    import pandas as pd

    csv, parquet = tmp_path / "split.csv", tmp_path / "split.parquet"
    csv.write_text("imdb_id,title,split\ntt0000003,Three,test\n0000001,One,train\ntt0000002,Two,Val\n")
    pd.read_csv(csv, dtype=str).to_parquet(parquet)
    for path in (csv, parquet):
        assert read_split_file(path).sides(np.array([1, 2, 3, 4])).tolist() == [0, 1, 2, NO_SIDE]
    for text, said in (
        ("imdb_id,split\ntt0000001,holdout\n", "row 1: split 'holdout' is none of train"),
        ("imdb_id,split\nnm1,train\n", "row 1: 'nm1' is not an IMDb id"),
        ("imdb_id,split\ntt0000001,train\ntt0000001,test\n", "tt0000001 in two splits"),
        ("id,set\n1,2\n", "is no split .a CSV or Parquet file with imdb_id and split"),
    ):
        csv.write_text(text)
        with pytest.raises(SplitFileError, match=said):
            read_split_file(csv)
