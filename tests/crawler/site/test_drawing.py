"""Invented titles and drawn posters."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from PIL import Image

from crawler.images import inspect
from crawler.outcomes import PosterFacts
from crawler.site.drawing import draw_poster
from crawler.site.invention import invent_titles, is_posterless, kind_of
from crawler.site.looks import LOOKS
from crawler.titles import Kind, Title, imdb_id


def test_the_same_seed_invents_the_same_titles_and_another_seed_others() -> None:
    assert invent_titles(50) == invent_titles(50)
    assert invent_titles(50) != invent_titles(50, seed=1)


def test_a_longer_list_of_titles_begins_with_the_shorter_one() -> None:
    assert invent_titles(100)[:20] == invent_titles(20)


def test_invented_titles_are_believable_rows_of_a_catalogue() -> None:
    titles = invent_titles(400)
    assert len({title.imdb_id for title in titles}) == len({title.title for title in titles}) == 400
    for title in titles:
        assert imdb_id(title.imdb_id) == title.imdb_id
        assert 1 <= len(title.genres) <= 3
        assert title.year is not None
        assert 1950 <= title.year <= 2025
        assert title.rating is not None
        assert 1 <= title.rating <= 10


def test_drama_is_the_most_frequent_of_eight_genres_and_each_occurs() -> None:
    counts = Counter(genre for title in invent_titles(400) for genre in title.genres)
    assert set(counts) == set(LOOKS)
    assert counts.most_common(1)[0][0] == "Drama"
    assert min(counts.values()) >= 10


def test_kinds_are_invented_by_the_id_alone() -> None:
    titles = invent_titles(400)
    assert Counter(title.kind for title in titles) == {
        Kind.FILM: 340,
        Kind.SERIES: 40,
        Kind.EPISODE: 16,
        Kind.GAME: 4,
    }
    assert all(title.kind == kind_of(title.imdb_id) for title in titles)


def test_half_of_the_titles_list_a_poster_and_two_percent_have_none() -> None:
    titles = invent_titles(400)
    assert 160 <= sum(title.poster_url is not None for title in titles) <= 240
    without = [title for title in titles if is_posterless(title.imdb_id)]
    assert len(without) == 8
    assert all(title.poster_url is None for title in without)


@pytest.mark.parametrize("genre", [*LOOKS, "Film-Noir"])
def test_a_poster_is_the_same_jpeg_of_300_by_444_each_time(genre: str) -> None:
    title = Title("tt9900001", title="Émile & the Very Long Silence of Bratislava", genres=(genre,))
    data = draw_poster(title)
    assert data == draw_poster(title)
    facts = inspect(data, max_pixels=1_000_000)
    assert isinstance(facts, PosterFacts)
    assert (facts.format, facts.width_px, facts.height_px) == ("JPEG", 300, 444)
    assert 10_000 < len(data) < 60_000


@pytest.mark.parametrize("name", [None, "", "東京物語", "W" * 90])
def test_any_name_can_be_lettered(name: str | None) -> None:
    poster = Image.open(io.BytesIO(draw_poster(Title("tt9900002", title=name))))
    assert poster.size == (300, 444)


def test_posters_of_different_titles_differ() -> None:
    posters = [draw_poster(title) for title in invent_titles(30)]
    hashes = {facts.phash for data in posters if isinstance(facts := inspect(data, max_pixels=10**6), PosterFacts)}
    assert len(hashes) == 30


def test_a_revision_draws_another_poster_of_the_same_title() -> None:
    title = Title("tt9900010", title="Beyond the Cellar", genres=("Horror",))
    posters = [draw_poster(title, revision) for revision in (0, 1, 2)]
    assert len(set(posters)) == 3
    assert posters[0] == draw_poster(title)
