"""A crawl over time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crawler import report_pace
from crawler.report_pace import Clock, Pace

MOMENTS = st.lists(st.integers(1_600_000_000, 2_000_000_000) | st.integers(1_700_000_000, 1_700_100_000), max_size=300)


def paced(seconds: list[int], stored: int = 1) -> Pace:
    clock = Clock()
    for part in (seconds[:50], seconds[50:]):
        clock.add(np.array(part, np.int64), np.array([[stored, 0, 0, 10, 1, 0]] * len(part), np.int64).reshape(-1, 6))
    return clock.pace()


@given(MOMENTS)
def test_every_title_is_in_one_bin_and_bins_are_in_order(seconds: list[int]) -> None:
    pace = paced(seconds)
    assert sum(one.stored for one in pace.bins) == len(seconds)
    assert pace.active_s == sum(one.seconds for one in pace.bins)
    assert [one.start for one in pace.bins] == sorted(one.start for one in pace.bins)


@given(MOMENTS)
def test_a_long_crawl_is_kept_in_few_bins(seconds: list[int]) -> None:
    most, report_pace._MOST_BINS = report_pace._MOST_BINS, 20
    try:
        clock = Clock()
        clock.add(np.array(seconds, np.int64), np.ones((len(seconds), 6), np.int64))
        assert len(clock._bins) <= 20
        assert sum(one.stored for one in clock.pace().bins) == len(seconds)
    finally:
        report_pace._MOST_BINS = most


def test_pauses_are_left_out() -> None:
    pace = paced([*range(300), *range(90_000, 90_100)])
    assert (pace.runs, pace.active_s) == (2, 400)
    assert {one.stored / one.seconds for one in pace.bins} == {1.0}, "the last bin of a run counts what it covers"


def test_a_day_of_outcomes_is_shown_in_bins_of_a_quarter_of_an_hour() -> None:
    pace = paced([*range(0, 86_400, 30)])
    assert (pace.bin_s, len(pace.bins)) == (900, 96)


def test_a_crawl_without_outcomes_has_no_bins() -> None:
    assert paced([]) == Pace((), 1, 0)
