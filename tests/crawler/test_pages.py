"""Title pages of IMDb from several years, pages of the rehearsal site, block pages, and any other text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.pages import TitlePage, is_blocked, parse_title
from crawler.site.pages import block_page, error_page, title_page
from crawler.titles import Title

IMAGE_URL = "https://m.media-amazon.com/images/M/MV5Babc@._V1_.jpg"
CAPTCHA = b"<form action='/errors/validateCaptcha'><img src='captcha.jpg'></form>"


def _real_page(real_data: Path, name: str) -> str:
    return (real_data / "imdb_pages" / f"{name}.html").read_text(errors="replace")


def _page_of(data: object) -> str:
    return f'<html><script type="application/ld+json">{json.dumps(data)}</script></html>'


def test_a_real_page_of_2023_tells_everything(real_data: Path) -> None:
    assert parse_title(_real_page(real_data, "tt0468569_2023")) == TitlePage(
        poster_url="https://m.media-amazon.com/images/M/MV5BMTMxNTMwODM0NF5BMl5BanBnXkFtZTcwODAyMTk2Mw@@._V1_.jpg",
        title="The Dark Knight",
        year=2008,
        genres=("Action", "Crime", "Drama"),
        rating=9.0,
    )


@pytest.mark.parametrize(
    ("name", "title", "year"),
    [
        ("tt0095016", "Die Hard", 1988),
        ("tt0095016_2017", "Die Hard", 1988),
        ("tt0110912", "Pulp Fiction", 1994),
        ("tt0898266", '"The Big Bang Theory"', 2007),
    ],
)
def test_older_real_pages_tell_poster_title_and_year(real_data: Path, name: str, title: str, year: int) -> None:
    page = parse_title(_real_page(real_data, name))
    assert (page.title, page.year) == (title, year)
    assert page.poster_url
    assert "/images/M/MV5B" in page.poster_url


@pytest.mark.parametrize("name", ["tt0330508", "top_250", "search_matrix_revolutions"])
def test_the_logo_and_other_titles_pictures_are_no_poster(real_data: Path, name: str) -> None:
    assert parse_title(_real_page(real_data, name)).poster_url is None


def test_no_real_page_is_taken_for_a_block_page(real_data: Path) -> None:
    pages = [path.read_bytes() for path in (real_data / "imdb_pages").glob("*.html")]
    assert len(pages) == 10
    assert not any(is_blocked(200, {}, page) for page in pages)


def test_a_page_of_the_rehearsal_site_tells_its_title() -> None:
    title = Title("tt9900001", title="Émile & <the> Wolf", year=1999, genres=("Drama", "Horror"), rating=6.5)
    assert parse_title(title_page(title, IMAGE_URL)) == TitlePage(
        IMAGE_URL, title.title, title.year, title.genres, title.rating
    )
    assert parse_title(title_page(title, None)).poster_url is None


@pytest.mark.parametrize(
    "image",
    [
        "https://m.media-amazon.com/images/G/01/imdb/images/social/imdb_logo.png",
        "https://evil.example/images/M/MV5Babc@._V1_.jpg",
        "https://media-amazon.com.evil.example/images/M/MV5Babc@._V1_.jpg",
        "file:///images/M/MV5Babc.jpg",
        "https://[/images/M/x.jpg",
        ["https://m.media-amazon.com/images/M/MV5Babc.jpg"],
        None,
        7,
    ],
)
def test_a_picture_that_lies_elsewhere_is_no_poster(image: object) -> None:
    assert parse_title(_page_of({"@type": "Movie", "image": image})).poster_url is None


def test_a_poster_inside_an_image_object_is_found() -> None:
    assert parse_title(_page_of({"@type": "Movie", "image": {"url": IMAGE_URL}})).poster_url == IMAGE_URL


def test_linked_data_of_a_person_is_not_the_titles() -> None:
    assert parse_title(_page_of({"@type": "Person", "name": "Uma", "image": IMAGE_URL})) == TitlePage()


@pytest.mark.parametrize(
    "data",
    [
        {"@type": ["Movie"], "name": "x"},
        {"@type": "Movie", "aggregateRating": {"ratingValue": 10**400}, "datePublished": 7, "genre": {"a": 1}},
        {"@type": "Movie", "aggregateRating": [], "datePublished": "²²²²", "name": ["x"], "genre": [None, 3]},
    ],
)
def test_linked_data_of_wrong_types_is_no_error(data: object) -> None:
    assert isinstance(parse_title(_page_of(data)), TitlePage)


def test_half_a_character_in_a_name_or_url_can_still_be_sent_and_stored() -> None:
    page = parse_title(
        _page_of({"@type": "Movie", "name": "a\ud800", "genre": "b\udfff", "image": IMAGE_URL + "\ud800"})
    )
    assert (page.title, page.genres, page.poster_url) == ("a?", ("b?",), IMAGE_URL + "?")


def test_deeply_nested_linked_data_is_no_error() -> None:
    assert parse_title(f'<script type="application/ld+json">{"[" * 100_000}</script>') == TitlePage()


@pytest.mark.parametrize("status", [202, 403])
def test_a_waf_challenge_is_a_block_page_by_its_header_and_by_its_body(status: int) -> None:
    page = block_page(202 if status == 202 else 403)
    assert is_blocked(status, page.headers, b"")
    assert is_blocked(status, {}, page.html.encode())


def test_an_empty_202_and_a_captcha_are_block_pages() -> None:
    assert is_blocked(202, {}, b" \n")
    assert is_blocked(200, {}, CAPTCHA)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (403, b""),
        (403, error_page(403, "Not yours.").encode()),
        (404, error_page(404, "No such title.").encode()),
        (404, CAPTCHA),
        (503, b""),
        (200, b"\xff\xd8\xff\xe0 a picture"),
    ],
)
def test_an_ordinary_refusal_or_an_empty_answer_is_not_a_block_page(status: int, body: bytes) -> None:
    assert not is_blocked(status, {"content-type": "text/html"}, body)


@given(st.text(alphabet=st.characters()) | st.binary().map(lambda data: data.decode("latin-1")))
@example("\x00")
@example("<!--")
@example("<?xml version='1.0' encoding='utf-16'?><a/>")
@example("\ud800")
def test_any_text_is_read_without_an_error(html: str) -> None:
    assert isinstance(parse_title(html), TitlePage)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_KEYS = ("name", "image", "genre", "datePublished", "aggregateRating")


@given(st.fixed_dictionaries({"@type": st.just("Movie") | _json}, optional=dict.fromkeys(_KEYS, _json)))
def test_any_linked_data_is_read_without_an_error(data: dict[str, object]) -> None:
    assert isinstance(parse_title(_page_of(data)), TitlePage)


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.binary())
def test_any_answer_is_judged_without_an_error(status: int, headers: dict[str, str], body: bytes) -> None:
    assert is_blocked(status, headers, body) in (True, False)
