from __future__ import annotations

from training.genres import multi_hot, vocabulary


def test_the_vocabulary_is_alphabetical_and_leaves_rare_genres_out():
    labels = [("Drama", "Action"), ("Drama",), ("Western",), ("Action", "Action")]
    assert vocabulary(labels, min_posters=2) == ("Action", "Drama")


def test_multi_hot_marks_each_genre_of_the_vocabulary_and_ignores_others():
    encoded = multi_hot([("Drama",), ("Action", "Drama"), ("Western",)], ("Action", "Drama"))
    assert encoded.tolist() == [[0, 1], [1, 1], [0, 0]]
