"""Each source by itself: what it asks, and what it reads in the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import CrawlerError
from cluster.settings import load_settings
from crawler.outcomes import Reason, Rejected
from crawler.sources import Answer, Ended, Found, Images, Listed, Lookup, Omdb, Page, Setup, Source, Tmdb, source_chain
from crawler.titles import Kind, Title

TITLE = Title(imdb_id="tt0068646", kind=Kind.FILM)
PLAIN = load_settings()
KEYED = load_settings(tmdb_token="t0ken", omdb_key="k3y")
WORDS: list[object] = [
    {},
    [],
    None,
    7,
    "x",
    {"poster_path": "/a.jpg"},
    {"movie_results": [None]},
    {"movie_results": {"a": 1}},
]


def answer(data: object, status: int = 200) -> Answer:
    return Answer(status, {}, data if isinstance(data, bytes) else json.dumps(data).encode())


def names(*given: str, **setup: Any) -> list[str]:
    return [source.name for source in source_chain(Setup(**{"settings": PLAIN, **setup}), given or None)]


def test_the_default_chain_has_tmdb_only_with_its_token(tmp_path: Path) -> None:
    assert names() == ["listed", "page"]
    assert names(settings=KEYED) == ["listed", "tmdb", "page"]
    assert names(images=tmp_path) == ["images"]
    assert names("page", "listed", images=tmp_path) == ["images", "page", "listed"]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (("tmdb",), "source tmdb needs a token: set ONESHEET_TMDB_TOKEN"),
        (("omdb",), "source omdb needs a key: set ONESHEET_OMDB_KEY"),
        (("images",), "--images DIR"),
        (("imdb",), "there is no source 'imdb'; use images, listed, tmdb, omdb, page"),
        (("page", "page"), "at most once"),
        (("nowhere.to:Find",), "cannot be imported"),
        (("json:JSONDecoder",), "there is no source"),
        (("crawler.sources:Setup",), "there is no source"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_sentence(named: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CrawlerError, match=sentence):
        names(*named)


@pytest.mark.parametrize("page_url", ["https://x.org/", "https://x.org/{id}/", "https://x.org/{imdb_id", "{0}"])
def test_a_page_url_without_its_place_is_refused(page_url: str) -> None:
    with pytest.raises(CrawlerError, match=r"needs the place \{imdb_id\}"):
        Page.of(Setup(load_settings(page_url=page_url)))


def test_listed_and_images_know_the_address_at_once(tmp_path: Path) -> None:
    assert Listed().locate(Title(imdb_id="tt1", poster_url="http://x.org/a.jpg")) == Found(("http://x.org/a.jpg",))
    assert isinstance(Listed().locate(TITLE), Rejected)
    found = Images(tmp_path).locate(TITLE)
    assert found.urls == ((tmp_path / "tt0068646.jpg").as_uri(),)


@pytest.mark.parametrize(("height_px", "size"), [(0, "original"), (600, "w500"), (1170, "w780"), (4000, "original")])
def test_tmdb_is_asked_for_the_smallest_width_that_has_the_height(height_px: int, size: str) -> None:
    found = Tmdb("t", height_px).read(TITLE, answer({"movie_results": [{"poster_path": "/a.jpg"}]}))
    assert isinstance(found, Found)
    assert found.urls == (f"https://image.tmdb.org/t/p/{size}/a.jpg",)


def test_tmdb_tells_films_and_series_apart() -> None:
    both = answer(
        {
            "movie_results": [{"title": "Fargo", "release_date": "1996-03-08", "poster_path": "/film.jpg"}],
            "tv_results": [{"name": "Fargo", "first_air_date": "2014-04-15", "poster_path": "/series.jpg"}],
        }
    )
    found = {kind: Tmdb("t", 0).read(Title(imdb_id="tt1", kind=kind), both) for kind in (Kind.SERIES, Kind.FILM, None)}
    series, film, unknown = found.values()
    assert isinstance(series, Found)
    assert series.page
    assert (series.urls[0][-11:], series.page.kind, series.page.year) == ("/series.jpg", Kind.SERIES, 2014)
    assert isinstance(film, Found)
    assert film.page
    assert (film.urls[0][-9:], film.page.title, film.page.year) == ("/film.jpg", "Fargo", 1996)
    assert unknown == film


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"movie_results": [], "tv_results": []}, Reason.NOT_FOUND),
        ({"movie_results": [{"poster_path": None}]}, Reason.NO_POSTER),
        ({"movie_results": [{"poster_path": "//evil.org/a.jpg"}]}, None),
        (b"<html>", Reason.SERVER_ERROR),
        (b"[1]", Reason.SERVER_ERROR),
    ],
)
def test_tmdb_without_a_poster_says_why(data: Any, reason: Reason | None) -> None:
    read = Tmdb("t", 0).read(TITLE, answer(data))
    if reason is None:
        assert isinstance(read, Found)
        assert read.urls[0].startswith("https://image.tmdb.org/t/p/")
    else:
        assert isinstance(read, Rejected)
        assert read.reason is reason


def test_a_wrong_key_stops_the_crawl_and_leaves_its_titles_open() -> None:
    for source, variable in ((Tmdb("t", 0), "ONESHEET_TMDB_TOKEN"), (Omdb("k"), "ONESHEET_OMDB_KEY")):
        ended = source.read(TITLE, answer({"Response": "False", "Error": "Invalid API key!"}, 401))
        assert isinstance(ended, Ended)
        assert ended.stops_crawl
        assert ended.reason.is_passing
        assert variable in ended.sentence


def test_omdbs_quota_ends_the_source_and_not_the_crawl() -> None:
    ended = Omdb("k").read(TITLE, answer({"Response": "False", "Error": "Request limit reached!"}, 401))
    assert ended == Ended(Reason.QUOTA, "omdb's daily quota is used up: it is asked again by a run tomorrow")


def test_omdb_tells_poster_and_title() -> None:
    years = "2014\u20132024"
    data = {"Title": "Fargo", "Year": years, "Genre": "Crime, Drama, N/A", "Type": "series", "Response": "True"}
    found = Omdb("k").read(TITLE, answer({**data, "Poster": "https://m.media-amazon.com/images/M/a._V1_SX300.jpg"}))
    assert isinstance(found, Found)
    assert found.page
    assert (found.page.title, found.page.year, found.page.kind) == ("Fargo", 2014, Kind.SERIES)
    assert found.page.genres == ("Crime", "Drama")
    none = Omdb("k").read(TITLE, answer({**data, "Poster": "N/A"}))
    unknown = Omdb("k").read(TITLE, answer({"Response": "False", "Error": "Incorrect IMDb ID."}))
    assert isinstance(none, Rejected)
    assert isinstance(unknown, Rejected)
    assert [none.reason, unknown.reason] == [Reason.NO_POSTER, Reason.NOT_FOUND]


def test_a_page_that_is_no_title_is_told_from_a_title_without_a_poster() -> None:
    page = Page.of(Setup(PLAIN))
    listing = page.read(TITLE, answer(b"<html><title>Top 250</title></html>"))
    assert isinstance(listing, Rejected)
    assert listing.reason is Reason.NOT_A_TITLE


def test_a_lookup_carries_no_key() -> None:
    for source in source_chain(Setup(KEYED), ["tmdb", "omdb", "page"]):
        lookup = source.locate(TITLE)
        assert isinstance(lookup, Lookup)
        assert "t0ken" not in lookup.url
        assert "k3y" not in lookup.url
        assert "t0ken" not in repr(source.credential)
        assert "k3y" not in repr(source.credential)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["movie_results", "tv_results", "poster_path", "Response", "Poster", "Year", "Genre", "title"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(data=_JSON | st.sampled_from(WORDS), status=st.sampled_from([200, 204, 400, 401, 403, 404, 422]))
def test_no_answer_makes_a_source_raise(data: object, status: int) -> None:
    sources: list[Source] = [Tmdb("t", 600), Omdb("k"), Page.of(Setup(PLAIN))]
    for source in sources:
        read = source.read(TITLE, answer(data, status))
        assert isinstance(read, Found | Rejected | Ended)
        repr(read).encode()


@given(body=st.binary(max_size=300))
def test_no_bytes_make_a_source_raise(body: bytes) -> None:
    for source in (Tmdb("t", 600), Omdb("k")):
        assert isinstance(source.read(TITLE, answer(body)), Found | Rejected)
