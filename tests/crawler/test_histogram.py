"""Quantiles in constant memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crawler.histogram import Histogram

NUMBERS = st.lists(st.integers(0, 2**45), min_size=1, max_size=200)


@given(NUMBERS, st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
def test_a_quantile_is_within_a_thousandth_of_the_true_one(numbers: list[int], share: float) -> None:
    histogram = Histogram()
    for part in (numbers[:7], numbers[7:]):
        histogram.add(np.array(part, np.int64))
    rank = max(1, int(np.ceil(share * len(numbers))))
    true = sorted(numbers)[rank - 1]
    assert abs(histogram.quantile(share) - true) <= true / 1024
    assert histogram.count == len(numbers)


@given(st.lists(st.integers(-5, 2047), min_size=1))
def test_small_numbers_are_exact(numbers: list[int]) -> None:
    histogram = Histogram()
    histogram.add(np.array(numbers, np.int64))
    clipped = sorted(max(number, 0) for number in numbers)
    found = histogram.quantiles()
    assert found is not None
    assert (found.least, found.most) == (clipped[0], clipped[-1])
    assert dict(histogram.most_frequent(99_999)) == {value: clipped.count(value) for value in set(clipped)}


@given(NUMBERS)
def test_the_bars_of_a_shape_hold_every_number(numbers: list[int]) -> None:
    histogram = Histogram()
    histogram.add(np.array(numbers, np.int64))
    shape = histogram.shape(40)
    assert sum(count for _, _, count in shape) == len(numbers)
    assert all(low < high for low, high, _ in shape)


def test_nothing_counted_has_no_quantiles() -> None:
    assert (Histogram().quantiles(), Histogram().quantile(0.5), Histogram().shape(9)) == (None, 0, [])
