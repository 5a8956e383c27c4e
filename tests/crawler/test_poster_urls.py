"""What the address of a poster tells."""

from __future__ import annotations

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st
from w3lib.url import safe_url_string

from crawler.poster_urls import at_height, is_no_poster, is_plain, is_title_picture

PICTURE = "https://images-na.ssl-images-amazon.com/images/M/MV5BMTM3@._V1"


@pytest.mark.parametrize(
    "url",
    [
        f"{PICTURE}_UX182_CR0,0,182,268_AL_.jpg",
        f"{PICTURE}_.jpg",
        f"{PICTURE}.jpg",
        f"{PICTURE}_SX300.jpg",
        f"{PICTURE}_SY317_CR0,0,214,317_.jpg",
        f"{PICTURE}_QL75_UY562_CR2,0,380,562_.jpg?x=1#y",
    ],
)
def test_every_suffix_that_imdb_has_used_can_be_asked_at_a_height(url: str) -> None:
    assert at_height(url, 600) == f"{PICTURE}_SY600_.jpg"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/MV5B._V1_UX182_.jpg",
        "https://m.media-amazon.com.evil.org/images/M/a._V1_.jpg",
        "https://m.media-amazon.com/images/M/a.jpg",
        "https://image.tmdb.org/t/p/w500/a.jpg",
        "",
    ],
)
def test_other_addresses_have_no_size_to_ask_for(url: str) -> None:
    assert at_height(url, 600) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://i.media-imdb.com/images/SFaa265aa19162c9e4f3781fbae59f856d/nopicture/medium/film.png",
        "https://m.media-amazon.com/images/G/01/imdb/images/nopicture/180x268/film-173410679._CB466041215_.png",
        "https://m.media-amazon.com/images/G/01/imdb/images/social/imdb_logo.png",
        "http://ia.media-imdb.com/images/G/01/imdb/images/logos/imdb_fb_logo-1730868325._V379391653_.png",
        "https://example.org/no-poster.jpg",
        "http://ia.media-imdb.com/images/M/addposter.jpg",
        "https://m.media-amazon.com/images/S/anything.jpg",
    ],
)
def test_imdbs_drawings_for_no_poster_are_known(url: str) -> None:
    assert is_no_poster(url)
    assert not is_no_poster(f"{PICTURE}_UX182_CR0,0,182,268_AL_.jpg")


@pytest.mark.parametrize("url", [f"{PICTURE}_.jpg", "http://www.imdb.com/images/m/a.jpg"])
def test_where_imdb_keeps_the_pictures_of_titles_is_known(url: str) -> None:
    assert is_title_picture(url)
    assert not is_no_poster(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/images/s/superman.jpg",
        "https://example.org/images/M/a.jpg",
        "https://m.media-amazon.com/images/I/a.jpg",
        "ftp://m.media-amazon.com/images/M/a.jpg",
        "https://[/images/M/a.jpg",
    ],
)
def test_a_picture_elsewhere_may_still_be_a_poster(url: str) -> None:
    assert not is_title_picture(url)
    assert not is_no_poster(url)


@given(url=st.text(max_size=80), height_px=st.integers(1, 9999))
def test_no_text_makes_it_raise(url: str, height_px: int) -> None:
    try:
        at_height(url, height_px)
    except ValueError:
        pytest.fail("a hostile address raised")
    is_no_poster(url)
    is_title_picture(url)


@given(
    st.from_regex(
        r"https?://[a-z0-9.-]{1,20}(:[0-9]{1,4})?/[A-Za-z0-9/._~@,=%-]{0,30}(\?[a-z0-9_=&]{0,9})?", fullmatch=True
    )
)
def test_a_plain_address_is_what_scrapy_and_aiohttp_would_make_of_it(url: str) -> None:
    if is_plain(url):
        assert safe_url_string(url) == url
        assert yarl.URL(url).raw_path_qs == yarl.URL(url, encoded=True).raw_path_qs


@pytest.mark.parametrize(
    "url",
    [
        f"{PICTURE}_SY600_.jpg?a b",
        "https://example.org/a%41.jpg",
        "https://example.org/../a.jpg",
        "https://example.org/./a.jpg",
        "https://Example.org/a.jpg",
        "https://exämple.org/a.jpg",
        "https://user@example.org/a.jpg",
        "https://example.org/a.jpg#b",
        "https://example.org",
        "file:///a.jpg",
        "https://example.org/a.jpg\n",
    ],
)
def test_an_address_that_would_be_written_anew_is_not_plain(url: str) -> None:
    assert not is_plain(url)
    assert is_plain(f"{PICTURE}_SY600_.jpg")
