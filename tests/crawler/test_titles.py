"""Titles: ids in every spelling, genres without noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.titles import clean_genres, imdb_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tt0055850", "tt0055850"),
        ("55850", "tt0055850"),
        (" tt55850\n", "tt0055850"),
        ("tt10872600", "tt10872600"),
        ("0010872600", "tt10872600"),
    ],
)
def test_an_id_gets_tt_and_at_least_seven_digits(text: str, expected: str) -> None:
    assert imdb_id(text) == expected


@pytest.mark.parametrize(
    "text", ["", "tt", "0", "tt0000000", "nm0055850", "tt00558a0", "tt-5", "٥٥٨٥٠", "1" * 11, "1.0"]
)
def test_what_is_no_id_is_told_with_the_value(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IMDb id") as caught:
        imdb_id(text)
    assert repr(text) in str(caught.value)


@given(st.integers(1, 10**10 - 1))
def test_an_id_stays_itself_when_read_again(number: int) -> None:
    assert imdb_id(imdb_id(str(number))) == imdb_id(str(number))


def test_genres_keep_their_order_without_doubles_and_without_spellings_of_none() -> None:
    assert clean_genres([" Drama", "N/A", "", "Action", "Drama ", "\\N", "None"]) == ("Drama", "Action")
