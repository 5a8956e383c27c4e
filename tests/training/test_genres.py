from __future__ import annotations

import pytest

from training.genres import GenreError, fold, multi_hot, synonyms_of, vocabulary


def test_the_vocabulary_is_alphabetical_and_leaves_rare_genres_out():
    assert vocabulary({"Drama": 5, "Western": 1, "Action": 2}, min_posters=2) == ("Action", "Drama")


def test_multi_hot_marks_each_genre_of_the_vocabulary_and_ignores_others():
    encoded = multi_hot([("Drama",), ("Action", "Drama"), ("Western",)], ("Action", "Drama"))
    assert encoded.tolist() == [[0, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("spelling", ["Sci-Fi", "SciFi", "sci fi", "SCIENCE FICTION", "science-fiction", "SF"])
def test_spellings_of_one_genre_are_one_genre(spelling: str):
    assert fold({spelling: 1}) == {spelling: ("Sci-Fi",)}


def test_genres_that_sound_alike_stay_apart_and_double_names_become_two():
    counts = {"Music": 3, "musical": 1, "Biopic": 1, "Action & Adventure": 1, "History": 1, "Horror": 1}
    assert fold(counts) == {
        "Music": ("Music",),
        "musical": ("Musical",),
        "Biopic": ("Biography",),
        "Action & Adventure": ("Action", "Adventure"),
        "History": ("History",),
        "Horror": ("Horror",),
    }


def test_a_genre_that_no_table_knows_takes_its_most_frequent_spelling():
    assert fold({"giallo": 2, "Giallo": 5, "GIALLO": 5}) == dict.fromkeys(("giallo", "Giallo", "GIALLO"), ("GIALLO",))


def test_a_user_adds_synonyms_and_overrules_ours():
    given = synonyms_of(["Dramedy=Drama, Comedy", "Adult=", "Musical=Music"])
    assert fold({"dramedy": 1, "Adult": 1, "Musical": 1}, given) == {
        "dramedy": ("Drama", "Comedy"),
        "Adult": (),
        "Musical": ("Music",),
    }
    with pytest.raises(GenreError, match="such as Kids=Family"):
        synonyms_of(["Kids"])
