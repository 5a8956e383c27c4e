from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.near_duplicates import MAX_SAME_TITLE, groups_of, near_pairs, title_keys


def brute(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    return {(i, j) for i, j in zip(*np.nonzero(apart <= distance), strict=True) if i < j}


@pytest.mark.parametrize("distance", [1, 4, 8, 12])
@pytest.mark.parametrize("rows", [50, 3000])
def test_all_pairs_within_the_distance_are_found_and_no_others(distance: int, rows: int):
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, rows, np.uint64)
    for row in range(1, rows, 3):  # every third differs from its neighbour in 0 to 14 bits
        flipped = rng.choice(64, rng.integers(0, 15), replace=False)
        hashes[row] = hashes[row - 1] ^ np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64), initial=0)
    hashes = np.unique(hashes)
    found = {tuple(sorted(pair)) for pairs in near_pairs(hashes, distance) for pair in pairs.T.tolist()}
    assert found == brute(hashes, distance)
    assert found


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 10))
def test_groups_are_the_connected_components(values: list[int], distance: int):
    hashes = np.array(values, np.uint64)
    groups = groups_of(hashes, np.ones(len(hashes), np.bool_), [], distance=distance)
    expected = list(range(len(hashes)))
    for _ in values:
        for i, j in brute(hashes, distance):
            expected = [min(expected[i], expected[j]) if g in (expected[i], expected[j]) else g for g in expected]
    assert groups.tolist() == expected


def test_rows_without_a_hash_are_near_nobody_but_those_with_their_key():
    hashes, key = np.zeros(4, np.uint64), np.array([-1, -1, 7, 7])
    assert groups_of(hashes, np.array([True, False, False, True]), [key], distance=8).tolist() == [0, 1, 0, 0]


def test_titles_that_read_the_same_are_one_whatever_their_edition():
    same = ["The Thing", "the thing", "The Thing (1982)", "The Thing - Remastered", "The Thing (Director's Cut)"]
    keys = title_keys(pa.chunked_array([[*same, "The Things", None, "1984", "2001: A Space Odyssey"]]))
    assert len(set(keys[:5])) == 1
    assert len(set(keys[[0, 5, 7, 8]])) == 4
    assert keys[6] == -1


def test_a_phrase_that_many_titles_share_groups_none_of_them():
    titles = ["Pilot"] * (MAX_SAME_TITLE + 1) + ["Hamlet"] * MAX_SAME_TITLE
    keys = title_keys(pa.chunked_array([titles]))
    assert set(keys[: MAX_SAME_TITLE + 1]) == {-1}
    assert len(set(keys[MAX_SAME_TITLE + 1 :])) == 1
