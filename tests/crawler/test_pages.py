"""Title pages of every era, real and drawn small, pages that are no titles, and any other text and bytes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.pages import TitlePage, parse_title
from crawler.site.pages import block_page, error_page, index_page, title_page
from crawler.titles import Kind, Title

IMAGE_URL = "https://m.media-amazon.com/images/M/MV5Babc@._V1_.jpg"
OTHER_URL = "https://m.media-amazon.com/images/M/MV5Bother@._V1_.jpg"
LOGO_URL = "http://ia.media-imdb.com/images/G/01/imdb/images/logos/imdb_fb_logo-1730868325._CB306318125_.png"

_OLD = "http://ia.media-imdb.com/images/M/"
_WIFE = "I Killed My Lesbian Wife, Hung Her on a Meathook, and Now I Have a Three Picture Deal at Disney"
# Poster, title, year, genres, rating and kind, as each page shows them to a reader.
GOLDEN = {
    "tt0095016": TitlePage(
        _OLD + "MV5BMTY4ODM0OTc2M15BMl5BanBnXkFtZTcwNzE0MTk3OA@@._V1._SX94_SY140_.jpg",
        "Die Hard",
        1988,
        ("Action", "Thriller"),
        8.2,
        Kind.FILM,
        is_title=True,
    ),
    "tt0095016_2017": TitlePage(
        "https://images-na.ssl-images-amazon.com/images/M/MV5BMzNmY2IwYzAtNDQ1NC00MmI4LThkOTgtZmVhYmExOTVhMWRkXkEyXkFq"
        "cGdeQXVyMTk5NDA3Nw@@._V1_UY1200_CR90,0,630,1200_AL_.jpg",
        "Die Hard",
        1988,
        ("Action", "Thriller"),
        8.2,
        Kind.FILM,
        is_title=True,
    ),
    "tt0110912": TitlePage(
        _OLD + "MV5BMTkxMTA5OTAzMl5BMl5BanBnXkFtZTgwNjA5MDc3NjE@._V1._SX94_SY140_.jpg",
        "Pulp Fiction",
        1994,
        ("Crime", "Drama"),
        8.9,
        Kind.FILM,
        is_title=True,
    ),
    "tt0166222": TitlePage(
        _OLD + "MV5BOTNlZDMxMDItM2M4Yy00NDNkLWJkOTMtMTJkMTRlYTNiZjNkXkEyXkFqcGdeQXVyNjMxODMyODU@"
        "._V1_UY1200_CR109,0,630,1200_AL_.jpg",
        _WIFE,
        1993,
        ("Short", "Comedy"),
        4.5,
        Kind.FILM,
        is_title=True,
    ),
    "tt0330508": TitlePage(None, "Kannethirey Thondrinal", 1998, ("Romance",), 6.8, Kind.FILM, is_title=True),
    "tt0468569_2023": TitlePage(
        "https://m.media-amazon.com/images/M/MV5BMTMxNTMwODM0NF5BMl5BanBnXkFtZTcwODAyMTk2Mw@@._V1_.jpg",
        "The Dark Knight",
        2008,
        ("Action", "Crime", "Drama"),
        9.0,
        Kind.FILM,
        is_title=True,
    ),
    "tt0898266": TitlePage(
        _OLD + "MV5BMjI1Mzc4MDUwNl5BMl5BanBnXkFtZTgwMDAzOTIxMjE@._V1._SX100_SY125_.jpg",
        "The Big Bang Theory",
        2007,
        ("Comedy",),
        8.4,
        Kind.SERIES,
        is_title=True,
    ),
    "tt1520211": TitlePage(
        _OLD + "MV5BMTc5NTU3Njg0N15BMl5BanBnXkFtZTgwMzY4MjM0ODE@._V1._SX93_SY140_.jpg",
        "The Walking Dead",
        2010,
        ("Drama", "Horror", "Thriller"),
        8.6,
        Kind.SERIES,
        is_title=True,
    ),
    "search_matrix_revolutions": TitlePage(),
    "top_250": TitlePage(),
}


def _real_page(real_data: Path, name: str) -> bytes:
    return (real_data / "imdb_pages" / f"{name}.html").read_bytes()


def _page_of(data: object) -> str:
    return f'<html><script type="application/ld+json">{json.dumps(data)}</script></html>'


def _next_page(props: object) -> str:
    return f'<html><script id="__NEXT_DATA__" type="application/json">{json.dumps({"props": props})}</script></html>'


def _og_page(path: str = "/title/tt0000001/", **properties: str) -> str:
    metas = (f'<meta property="og:{name}" content="{escape(value)}"/>' for name, value in properties.items())
    return f'<html><head><link rel="canonical" href="http://www.imdb.com{path}"/>{"".join(metas)}</head><body></body></html>'


# The real pages


@pytest.mark.parametrize("name", GOLDEN)
def test_a_real_page_tells_what_it_shows(real_data: Path, name: str) -> None:
    assert parse_title(_real_page(real_data, name)) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_real_page_tells_the_same_as_text(real_data: Path, name: str) -> None:
    assert parse_title(_real_page(real_data, name).decode()) == GOLDEN[name]


@pytest.mark.parametrize("name", ["tt0095016", "tt0095016_2017", "tt0110912", "tt0330508", "tt0468569_2023"])
def test_a_real_page_without_its_data_is_read_by_its_elements(real_data: Path, name: str) -> None:
    page = _real_page(real_data, name)
    for hidden in (rb"application/ld\+json", rb"__NEXT_DATA__", rb"og:", rb"twitter:", rb"name=.title", rb"image_src"):
        page = re.sub(hidden, b"hidden", page)
    page, golden = re.sub(rb"<title>.*?</title>", b"", page), GOLDEN[name]
    found = parse_title(page)
    assert (found.title, found.rating, found.kind) == (golden.title, golden.rating, golden.kind)
    assert (found.year, found.genres) == (golden.year, (*golden.genres, *found.genres[len(golden.genres) :]))
    assert (found.poster_url or "").partition("._V1")[0] == (golden.poster_url or "").partition("._V1")[0]


@pytest.mark.parametrize("name", ["tt0095016_2017", "tt0330508"])
def test_a_real_page_that_breaks_off_is_still_a_title(real_data: Path, name: str) -> None:
    golden = GOLDEN[name]
    found = parse_title(_real_page(real_data, name)[:20_000])
    assert (found.title, found.year, found.poster_url) == (golden.title, golden.year, golden.poster_url)
    assert found.is_title


def test_the_real_2021_data_of_next_js_is_enough_alone(real_data: Path) -> None:
    page = _real_page(real_data, "tt0468569_2023").replace(b"application/ld+json", b"text/plain")
    golden = GOLDEN["tt0468569_2023"]
    assert parse_title(page) == replace(golden, genres=(*golden.genres, "Thriller"))


# The rehearsal site


def test_a_page_of_the_rehearsal_site_tells_its_title() -> None:
    title = Title("tt9900001", title="Émile & <the> Wolf", year=1999, genres=("Drama", "Horror"), rating=6.5)
    assert parse_title(title_page(title, IMAGE_URL)) == TitlePage(
        IMAGE_URL, title.title, title.year, title.genres, title.rating, Kind.FILM, is_title=True
    )
    assert parse_title(title_page(title, None)).poster_url is None


def test_the_rehearsal_sites_other_pages_are_no_titles() -> None:
    index = index_page([(Title("tt9900001", title="A"), IMAGE_URL)], 1)
    for page in (index, error_page(404, "No such title."), block_page(202).html, block_page(403).html):
        assert parse_title(page) == TitlePage()


# Pictures


@pytest.mark.parametrize(
    "image",
    [
        LOGO_URL,
        "https://m.media-amazon.com/images/G/01/imdb/images/social/imdb_logo.png",
        "http://i.media-imdb.com/images/SFc0774313bf9ccbfe22050c8bb4029e41/imdb-share-logo.gif",
        "http://i.media-imdb.com/images/SFb1690fcbf/nopicture/large/film.png",
        "http://ia.media-imdb.com/images/M/nopicture/140x209/film.png",
        "https://m.media-amazon.com/images/I/51kT6pS.jpg",
        "https://m.media-amazon.com/images/S/sash/advert.jpg",
        "https://evil.example/images/M/MV5Babc@._V1_.jpg",
        "https://media-amazon.com.evil.example/images/M/MV5Babc@._V1_.jpg",
        "file:///images/M/MV5Babc.jpg",
        "https://[/images/M/x.jpg",
        "https://m.media-amazon.com/images/M/MV5B abc.jpg",
        "https://m.media-amazon.com/images/M/MV5B" + "a" * 5000 + ".jpg",
        ["https://m.media-amazon.com/images/M/MV5Babc.jpg"],
        {"url": ["https://m.media-amazon.com/images/M/MV5Babc.jpg"]},
        None,
        7,
    ],
)
def test_a_picture_that_is_no_title_picture_is_no_poster(image: object) -> None:
    assert parse_title(_page_of({"@type": "Movie", "name": "x", "image": image})).poster_url is None
    if isinstance(image, str):
        assert parse_title(_og_page(title="X (2001)", type="video.movie", image=image)).poster_url is None


@pytest.mark.parametrize(
    "image",
    [
        IMAGE_URL,
        "http://ia.media-imdb.com/images/M/MV5Babc@@._V1._SX94_SY140_.jpg",
        "https://images-na.ssl-images-amazon.com/images/M/MV5Babc@@._V1_UY1200_CR90,0,630,1200_AL_.jpg",
    ],
)
def test_a_poster_is_found_as_a_url_in_an_object_and_without_a_scheme(image: str) -> None:
    without_scheme = "//" + image.partition("//")[2]
    completed = "https:" + without_scheme
    for value, expected in ((image, image), ({"url": image}, image), (without_scheme, completed)):
        assert parse_title(_page_of({"@type": "Movie", "image": value})).poster_url == expected
    assert parse_title(_og_page(title="X (2001)", image=without_scheme)).poster_url == completed


def test_other_pictures_of_a_page_without_a_poster_are_not_taken() -> None:
    page = f"""<link rel="canonical" href="http://www.imdb.com/title/tt0330508/"/>
<meta property='og:image' content="{LOGO_URL}"/><meta property='og:title' content="Kannethirey Thondrinal (1998)"/>
<div itemscope itemtype="http://schema.org/Movie" class="title-overview"><div class="title_wrapper"><h1>K</h1></div>
<div class="slate_wrapper"><div class="slate"><a href="/video/imdb/vi1"><img src="{OTHER_URL}" alt="Trailer"></a>
</div></div>
<span itemprop="actors" itemscope itemtype="http://schema.org/Person"><img itemprop="image" src="{OTHER_URL}">
</span></div>
<div class="ab_ninja"><img itemprop="image" src="{OTHER_URL}"></div>
<div class="mediastrip"><img src="{OTHER_URL}"></div>
<div class="rec_poster"><img class="rec_poster_img" loadlate="{OTHER_URL}" src="{OTHER_URL}"></div>
<div class="recently-viewed"><div class="poster"><img src="{OTHER_URL}"></div></div>"""
    assert parse_title(page) == TitlePage(None, "Kannethirey Thondrinal", 1998, kind=Kind.FILM, is_title=True)


def test_a_still_behind_a_placeholder_is_no_poster() -> None:
    page = f"""<link rel="canonical" href="http://www.imdb.com/title/tt0000001/"/><div class="title-overview">
<table><tr><td id="img_primary"><img src="http://i.media-imdb.com/images/x/nopicture/large/film.png"/>
<img src="{OTHER_URL}"/>
</td><td id="overview-top"><h1 class="header">Some Film <span>(<a href="/year/1998/">1998</a>)</span></h1></td>
</tr></table></div>"""
    assert parse_title(page) == TitlePage(None, "Some Film", 1998, kind=Kind.FILM, is_title=True)


# Each era's markup, without Open Graph


def test_the_tables_of_2010_are_read() -> None:
    page = f"""<html><head><title>Gaslight (1944)</title>
<link rel="canonical" href="http://www.imdb.com/title/tt0036855/combined"/></head><body><div id="tn15" class="combined">
<div id="tn15lhs"><div class="photo"><a name="poster" href="/rg/x"><img src="{IMAGE_URL}"></a></div></div>
<div id="tn15main"><div id="tn15title"><h1>Gaslight <span>(<a href="/year/1944/">1944</a>)
<span class="pro-link"><a>More at <strong>IMDbPro</strong></a></span>
<span class="title-extra">Das Haus</span></span></h1></div>
<div id="tn15content"><div class="media_strip_thumbs"><img src="{OTHER_URL}"></div>
<div id="tn15rating"><div class="general"><div class="meta"><b>7.8/10</b> <a>1 vote</a></div></div></div>
<div class="info"><h5>Genre:</h5><div class="info-content"><a href="/Sections/Genres/Crime/">Crime</a> |
<a href="/Sections/Genres/Film-Noir/">Film-Noir</a> <a class="tn15more" href="/x">See more</a></div></div>
<div class="info"><h5>Country:</h5><a href="/Sections/Countries/USA/">USA</a></div></div></div></div></body></html>"""
    assert parse_title(page) == TitlePage(
        IMAGE_URL, "Gaslight", 1944, ("Crime", "Film-Noir"), 7.8, Kind.FILM, is_title=True
    )


def test_an_episode_in_the_tables_has_its_own_name() -> None:
    page = """<link rel="canonical" href="http://www.imdb.com/title/tt2972426/combined"/>
<meta property="og:type" content="tv_show"/>
<meta property="og:title" content="&#x22;Game of Thrones&#x22; Breaker of Chains (2014)"/>
<div id="tn15"><div id="tn15title"><h1>&#x22;Game of Thrones&#x22;
<span><em>Breaker of Chains</em> (2014)</span></h1></div></div>"""
    assert parse_title(page) == TitlePage(None, "Breaker of Chains", 2014, kind=Kind.EPISODE, is_title=True)
    without_og = re.sub(r"<meta.*?/>", "", page)
    assert parse_title(without_og) == parse_title(page)


def _overview_page(heading: str, infobar: str, *, head: str = "") -> str:
    return f"""<link rel="canonical" href="http://www.imdb.com/title/tt0000001/"/>{head}
<div id="title-overview-widget" class="article title-overview"><table><tr><td id="img_primary"><div class="image">
<a href="/media/rm1/tt0000001"><img itemprop="image" src="{IMAGE_URL}"></a></div></td><td id="overview-top">{heading}
<div class="infobar">{infobar}</div><div class="star-box giga-star"><div class="star-box-giga-star"> 8.3 </div>
<span class="rating-rating"><span class="value">-</span></span></div></td></tr></table></div>
<div class="rec_overview"><span class="rating-rating"><span class="value">1.1</span></span>
<a href="/genre/Horror">Horror</a></div>
<div id="titleStoryLine"><div class="see-more inline canwrap" itemprop="genre"><h4 class="inline">Genres:</h4>
<a href="/genre/Action?ref_=tt_stry_gnr"> Action</a> | <a href="/genre/Crime"> Crime</a> | <a href="/genre/Thriller">
Thriller</a> | <a href="/genre/War"> War</a></div></div>"""


def test_the_overview_of_2010_to_2015_is_read() -> None:
    page = _overview_page(
        '<h1 class="header"><span class="itemprop" itemprop="name">Stirb langsam</span> <span class="nobr">'
        '(<a href="/year/1988/">1988</a>)</span><br><span class="title-extra">Die Hard <i>(original title)</i></span>'
        "</h1>",
        '131 min - <a href="/genre/Action">Action</a> | <a href="/genre/Crime">Crime</a> - 15 July 1988 (USA)',
    )
    assert parse_title(page) == TitlePage(
        IMAGE_URL, "Stirb langsam", 1988, ("Action", "Crime", "Thriller", "War"), 8.3, Kind.FILM, is_title=True
    )


@pytest.mark.parametrize(
    ("heading", "infobar", "title", "year", "kind"),
    [
        ("Mad Men <span>(2007–2015)</span>", "TV Series - 47 min - Drama", "Mad Men", 2007, Kind.SERIES),  # noqa: RUF001
        ("Roots <span>(1977)</span>", "TV Mini-Series - 573 min", "Roots", 1977, Kind.SERIES),
        ("Guts <span>(7 Nov. 2010)</span>", "TV Episode - 45 min", "Guts", 2010, Kind.EPISODE),
        ("Home <span>(I)</span> <span>(2015)</span>", "TV Movie - 90 min", "Home", 2015, Kind.FILM),
        ("Doom <span>(1993)</span>", "Video Game - <a>Action</a>", "Doom", 1993, Kind.GAME),
        ("TV Nation <span>(1994)</span>", "90 min", "TV Nation", 1994, Kind.FILM),
    ],
)
def test_the_line_under_the_name_tells_the_kind(heading: str, infobar: str, title: str, year: int, kind: Kind) -> None:
    found = parse_title(_overview_page(f'<h1 class="header">{heading}</h1>', infobar))
    assert (found.title, found.year, found.kind) == (title, year, kind)


@pytest.mark.parametrize(
    ("item_type", "kind"),
    [("Movie", Kind.FILM), ("TVSeries", Kind.SERIES), ("TVEpisode", Kind.EPISODE), ("VideoGame", Kind.GAME)],
)
def test_microdata_tells_the_kind(item_type: str, kind: Kind) -> None:
    page = _overview_page('<h1 class="header">X <span>(2013)</span></h1>', "47 min")
    assert parse_title(f'<div itemscope itemtype="http://schema.org/{item_type}">{page}</div>').kind is kind


def _wrapper_page(above: str, name: str, subtext: str) -> str:
    return f"""<link rel="canonical" href="https://www.imdb.com/title/tt0000001/"/><div id="main_top">
<div class="title-overview"><div id="title-overview-widget" class="heroic-overview">
<div class="imdbRating" itemtype="http://schema.org/AggregateRating" itemscope itemprop="aggregateRating">
<div class="ratingValue"><strong title="8,2"><span itemprop="ratingValue">8,2</span></strong>/10</div></div>
<div class="title_wrapper">{above}<h1 class="">{name}</h1><div class="originalTitle">Other Name
<span class="description">(original title)</span></div><div class="subtext">{subtext}</div></div>
<div class="slate_wrapper"><div class="poster"><a href="/x"><img src="{IMAGE_URL}"></a></div>
<div class="slate"><img src="{OTHER_URL}"></div></div></div></div></div>
<div id="titleUserReviewsTeaser" itemprop="review" itemscope><meta itemprop="ratingValue" content="1"></div>
<div id="titleStoryLine"><div><h4 class="inline">Genres:</h4>
<a href="/search/title?genres=action&explore=title_type"> Action</a> |
<a href="/search/title?genres=thriller&explore=title_type"> Thriller</a></div></div>"""


@pytest.mark.parametrize(
    ("above", "name", "subtext", "title", "year", "kind"),
    [
        ("", 'Die Hard&nbsp;<span id="titleYear">(<a>1988</a>)</span>', "R | 2h | Action", "Die Hard", 1988, Kind.FILM),
        ("", "Mad Men&nbsp;", "TV-14 | 47min | <a>TV Series (2007–2015)</a>", "Mad Men", 2007, Kind.SERIES),  # noqa: RUF001
        ("", "Roots&nbsp;", "TV Mini-Series (1977)", "Roots", 1977, Kind.SERIES),
        (
            '<div class="titleParent"><a>The Walking Dead</a> <span>(2010– )</span></div>',  # noqa: RUF001
            "Guts&nbsp;",
            "TV-14 | 45min | Drama | <a>Episode aired 7 November 2010</a>",
            "Guts",
            2010,
            Kind.EPISODE,
        ),
        ("", "Doom&nbsp;", "M | Action | <a>Video game released 10 December 1993</a>", "Doom", 1993, Kind.GAME),
    ],
)
def test_the_wrapper_of_2015_to_2020_is_read(
    above: str, name: str, subtext: str, title: str, year: int, kind: Kind
) -> None:
    assert parse_title(_wrapper_page(above, name, subtext)) == TitlePage(
        IMAGE_URL, title, year, ("Action", "Thriller"), 8.2, kind, is_title=True
    )


def test_the_reference_view_is_read() -> None:
    page = f"""<link rel="canonical" href="https://www.imdb.com/title/tt1628064/reference"/>
<div class="titlereference-header"><div class="titlereference-episode-header"><div>
<img itemprop="image" class="titlereference-primary-image" src="{IMAGE_URL}">
<h4 itemprop="name"><a>The Walking Dead</a> <span>(TV Series)</span></h4>
<h3 itemprop="name">Guts <span class="titlereference-title-year">(<a>2010</a>)</span></h3></div>
<ul class="ipl-inline-list"><li>TV-14</li><li><a href="/genre/drama">Drama</a>, <a href="/genre/horror">Horror</a></li>
<li>TV Episode</li></ul><div class="ipl-rating-widget"><div class="ipl-rating-star ">
<span class="ipl-rating-star__rating">8.7</span></div><div class="ipl-rating-star ipl-rating-interactive__star">
<span class="ipl-rating-star__rating">0</span></div></div></div></div>
<table><tr><td class="ipl-zebra-list__label">Genres</td><td><a href="/genre/Drama">Drama</a>
<a href="/genre/Horror">Horror</a> <a href="/genre/Thriller">Thriller</a></td></tr></table>"""
    assert parse_title(page) == TitlePage(
        IMAGE_URL, "Guts", 2010, ("Drama", "Horror", "Thriller"), 8.7, Kind.EPISODE, is_title=True
    )


def test_a_next_js_page_that_lost_its_data_is_read() -> None:
    page = f"""<main><section><h1 data-testid="hero-title-block__title">Roots</h1>
<ul data-testid="hero-title-block__metadata"><li>TV Mini Series</li><li>1977</li><li>TV-14</li><li>9h 48m</li></ul>
<div data-testid="hero-rating-bar__aggregate-rating__score"><span>8.4</span><span>/<!-- -->10</span></div>
<div data-testid="hero-media__poster"><img class="ipc-image" src="{IMAGE_URL}"></div>
<div data-testid="hero-media__slate"><img class="ipc-image" src="{OTHER_URL}"></div>
<div data-testid="genres"><a class="ipc-chip"><span class="ipc-chip__text">Biography</span></a>
<a class="ipc-chip"><span class="ipc-chip__text">Drama</span></a></div></section>
<section data-testid="MoreLikeThis"><div class="ipc-poster"><img src="{OTHER_URL}"></div></section></main>"""
    assert parse_title(page) == TitlePage(
        IMAGE_URL, "Roots", 1977, ("Biography", "Drama"), 8.4, Kind.SERIES, is_title=True
    )


# Open Graph


@pytest.mark.parametrize(
    ("headline", "og_type", "title", "year", "kind"),
    [
        ("Die Hard (1988)", "movie", "Die Hard", 1988, Kind.FILM),
        ('"The Big Bang Theory" (2007)', "tv_show", "The Big Bang Theory", 2007, Kind.SERIES),
        ('"The Walking Dead" Guts (2010)', "tv_show", "Guts", 2010, Kind.EPISODE),
        ('"The Walking Dead" Guts (TV Episode 2010) - IMDb', "video.episode", "Guts", 2010, Kind.EPISODE),
        ("Mad Men (TV Series 2007–2015)", "video.tv_show", "Mad Men", 2007, Kind.SERIES),  # noqa: RUF001
        ("Mad Men (Fernsehserie 2007–2015)", "video.tv_show", "Mad Men", 2007, Kind.SERIES),  # noqa: RUF001
        ("Doom (Video Game 1993)", "video.movie", "Doom", 1993, Kind.GAME),
        ('"Crocodile" Dundee (1986)', "movie", '"Crocodile" Dundee', 1986, Kind.FILM),
        ("Schindler's List (1993) ⭐ 9.0 | Biography, Drama", "video.movie", "Schindler's List", 1993, Kind.FILM),
        ("Untitled Project (????)", "video.movie", "Untitled Project", None, Kind.FILM),
    ],
)
def test_a_headline_tells_name_year_and_kind(
    headline: str, og_type: str, title: str, year: int | None, kind: Kind
) -> None:
    found = parse_title(_og_page(title=headline, type=og_type, image=IMAGE_URL))
    assert (found.title, found.year, found.kind, found.poster_url) == (title, year, kind, IMAGE_URL)


@pytest.mark.parametrize(
    "path",
    [
        "/find?q=matrix",
        "/chart/top",
        "/name/nm0000246/",
        "/list/ls000000001/",
        "/search/title/?genres=drama",
        "/company/co0000756/",
        "/",
        "/title/tt0898266/episodes?season=1",
        "/title/tt0898266/fullcredits",
    ],
)
def test_a_page_at_another_address_is_no_title_whatever_it_shows(path: str) -> None:
    og = _og_page(path, title="X (2001)", type="video.movie", image=IMAGE_URL)
    assert parse_title(og + _page_of({"@type": "Movie", "name": "X", "image": IMAGE_URL})) == TitlePage()


@pytest.mark.parametrize("path", ["", "/", "/combined", "/reference", "/maindetails", "/?ref_=nv_sr_1"])
def test_the_views_of_a_whole_title_are_titles(path: str) -> None:
    for place in ("/title/tt0000001", "/de/title/tt0000001", "/pt-br/title/tt0000001"):
        assert parse_title(_og_page(place + path, title="X (2001)")).is_title


def test_an_error_page_at_a_titles_address_is_no_title() -> None:
    assert parse_title(_og_page(title="IMDb", image=LOGO_URL) + "<title>404 Error - IMDb</title>") == TitlePage()
    assert parse_title(_og_page() + "<title>IMDb - D'oh</title>") == TitlePage()


@pytest.mark.parametrize("og_type", ["actor", "profile", "website", "article"])
def test_a_page_of_another_type_without_an_address_is_no_title(og_type: str) -> None:
    page = f'<meta property="og:type" content="{og_type}"><meta property="og:title" content="Tom (1990)">'
    assert parse_title(page + '<td id="overview-top"><h1 class="header">Tom</h1></td>') == TitlePage()


# Linked data and __NEXT_DATA__


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("Movie", Kind.FILM),
        ("TVSeries", Kind.SERIES),
        ("TVMiniSeries", Kind.SERIES),
        ("TVEpisode", Kind.EPISODE),
        ("VideoGame", Kind.GAME),
        ("CreativeWork", None),
    ],
)
def test_linked_data_tells_the_kind(type_name: str, kind: Kind | None) -> None:
    page = parse_title(_page_of({"@type": type_name, "name": "X"}))
    assert (page.kind, page.is_title) == (kind, True)


def test_linked_data_of_a_person_a_list_or_another_title_is_not_the_titles() -> None:
    film = {"@type": "Movie", "name": "Other", "url": "/title/tt0000002/", "image": OTHER_URL}
    for data in ({"@type": "Person", "name": "Uma", "image": IMAGE_URL}, [film, film], {"@graph": [film, film]}):
        assert parse_title(_page_of(data)) == TitlePage()
    page = parse_title(_og_page(title="X (2001)") + _page_of(film))
    assert (page.title, page.poster_url) == ("X", None)
    assert parse_title(_page_of([{"@type": "BreadcrumbList"}, film])).title == "Other"


def test_linked_data_is_decoded_and_cleaned() -> None:
    page = parse_title(
        _page_of(
            {
                "@type": "Movie",
                "name": " Schindler&apos;s\tList &amp; Co ",
                "genre": ["Drama", "N/A", " Drama ", "Rock &#x27;n&#39; Roll"],
                "aggregateRating": {"ratingValue": "9,0"},
                "datePublished": "1994-02-04",
            }
        )
    )
    assert page == TitlePage(
        None, "Schindler's List & Co", 1994, ("Drama", "Rock 'n' Roll"), 9.0, Kind.FILM, is_title=True
    )


def test_linked_data_with_a_raw_line_break_is_read() -> None:
    assert parse_title('<script type="application/ld+json">{"@type": "Movie", "name": "a\nb"}</script>').title == "a b"


def test_the_year_is_the_titles_own_and_not_that_of_a_later_release() -> None:
    data = {"@type": "Movie", "name": "Shichinin no samurai", "datePublished": "1956-11-19"}
    assert parse_title(_og_page(title="Seven Samurai (1954) - IMDb") + _page_of(data)).year == 1954
    assert parse_title(_page_of(data)).year == 1956


def test_a_layer_fills_what_the_layer_before_it_lacks() -> None:
    linked = _page_of({"@type": "Movie", "name": "Linked", "image": LOGO_URL, "genre": "Drama"})
    data = {"id": "tt0000001", "titleText": {"text": "Next"}, "ratingsSummary": {"aggregateRating": 7.5}}
    next_page = _next_page({"pageProps": {"aboveTheFoldData": data}})
    og = _og_page(title="Og (2001)", image=IMAGE_URL)
    assert parse_title(og + linked + next_page) == TitlePage(
        IMAGE_URL, "Linked", 2001, ("Drama",), 7.5, Kind.FILM, is_title=True
    )


NEXT_TITLE: dict[str, Any] = {
    "id": "tt1628065",
    "titleText": {"text": "Tell It to the Frogs"},
    "titleType": {"id": "tvEpisode", "isEpisode": True},
    "releaseYear": {"year": 2010, "endYear": None},
    "ratingsSummary": {"aggregateRating": 8.2},
    "titleGenres": {"genres": [{"genre": {"text": "Drama"}}, {"genre": {"text": "Horror"}}]},
    "primaryImage": {"url": IMAGE_URL, "height": 1365},
    "series": {"series": {"id": "tt1520211", "titleText": {"text": "The Walking Dead"}}},
}
OTHER_TITLE = NEXT_TITLE | {"id": "tt0000002", "titleText": {"text": "Other"}, "primaryImage": {"url": OTHER_URL}}


@pytest.mark.parametrize(
    "props",
    [
        {"pageProps": {"tconst": "tt1628065", "aboveTheFoldData": NEXT_TITLE}},
        {"pageProps": {"tconst": "tt1628065", "aboveTheFoldData": {}, "mainColumnData": NEXT_TITLE}},
        {
            "pageProps": {"tconst": "tt1628065"},
            "urqlState": {"1": {"data": {"title": OTHER_TITLE}}, "2": {"data": {"title": NEXT_TITLE}}},
        },
        {
            "pageProps": {
                "tconst": "tt1628065",
                "urqlState": {"2": {"data": json.dumps({"title": NEXT_TITLE})}, "3": {"data": "{"}},
            }
        },
    ],
)
def test_next_data_is_read_in_each_of_its_shapes(props: object) -> None:
    assert parse_title(_next_page(props)) == TitlePage(
        IMAGE_URL, "Tell It to the Frogs", 2010, ("Drama", "Horror"), 8.2, Kind.EPISODE, is_title=True
    )


@pytest.mark.parametrize(
    "data",
    [
        {"@type": ["Movie"], "name": "x"},
        {"@type": "Movie", "aggregateRating": {"ratingValue": 10**400}, "datePublished": 7, "genre": {"a": 1}},
        {"@type": "Movie", "aggregateRating": {"ratingValue": math.nan}, "datePublished": math.inf},
        {"@type": "Movie", "aggregateRating": {"ratingValue": 11}, "datePublished": 10**400},
        {"@type": "Movie", "aggregateRating": {"ratingValue": True}, "datePublished": True},
        {"@type": "Movie", "aggregateRating": [], "datePublished": "²²²²", "name": ["x"], "genre": [None, 3]},
    ],
)
def test_linked_data_of_wrong_types_is_no_error(data: object) -> None:
    page = parse_title(_page_of(data))
    assert (page.rating, page.year, page.genres, page.is_title) == (None, None, (), True)


def test_half_a_character_in_a_name_or_url_can_still_be_sent_and_stored() -> None:
    page = parse_title(
        _page_of({"@type": "Movie", "name": "a\ud800", "genre": "b\udfff", "image": IMAGE_URL + "\ud800"})
    )
    assert (page.title, page.genres, page.poster_url) == ("a?", ("b?",), IMAGE_URL + "?")


def test_a_giant_name_is_cut_and_a_giant_genre_is_none() -> None:
    page = parse_title(_page_of({"@type": "Movie", "name": "x" * 10**6, "genre": ["Drama", "y" * 10**4] * 100}))
    assert page.title == "x" * 500
    assert page.genres == ("Drama",)


def test_deeply_nested_linked_data_is_no_error() -> None:
    assert parse_title(f'<script type="application/ld+json">{"[" * 100_000}</script>') == TitlePage()
    assert parse_title(f'<script id="__NEXT_DATA__">{"[" * 100_000}</script>') == TitlePage()


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_bytes_are_decoded_as_they_are(encoding: str) -> None:
    page = '<meta http-equiv="content-type" content="text/html; charset=iso-8859-1">' + _og_page(title="Amélie (2001)")
    assert parse_title(page.encode(encoding)).title == "Amélie"


def test_a_declared_encoding_counts_where_the_bytes_are_no_utf_8() -> None:
    page = '<meta charset="{}">' + _og_page(title="Сталкер (1979)")
    assert parse_title(page.format("koi8-r").encode("koi8-r")).title == "Сталкер"
    # Python knows these, too; browsers do not, and punycode takes minutes for a page.
    for name in ("punycode", "idna", "rot13", "hex", "undefined", "unicode_escape", "no-such-thing"):
        assert parse_title(page.format(name).encode("koi8-r")).year == 1979


# Anything at all


def _is_sane(page: TitlePage) -> bool:
    texts = [page.poster_url or "", page.title or "", *page.genres]
    assert all(len(text.encode()) <= 8000 for text in texts)
    assert page.rating is None or 0 <= page.rating <= 10
    assert page.year is None or 1800 <= page.year < 2100
    return page.is_title or page == TitlePage()


@given(st.text(alphabet=st.characters()) | st.binary())
@example("\x00")
@example("<!--")
@example("<?xml version='1.0' encoding='utf-16'?><a/>")
@example("\ud800")
@example(b"\xff\xfe\x00\xd8")
@example(b"\x00\x00\xfe\xff")
@example(b"\xff")
@example(b"<meta charset=utf-16>\xff")
def test_any_text_and_any_bytes_are_read_without_an_error(html: str | bytes) -> None:
    assert _is_sane(parse_title(html))


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just(IMAGE_URL) | st.just("tt0000001"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_LINKED_KEYS = ("name", "image", "genre", "datePublished", "aggregateRating", "url", "@graph")


@given(st.fixed_dictionaries({"@type": st.just("Movie") | _json}, optional=dict.fromkeys(_LINKED_KEYS, _json)))
def test_any_linked_data_is_read_without_an_error(data: dict[str, object]) -> None:
    assert _is_sane(parse_title(_page_of(data)))
    assert _is_sane(parse_title(_page_of([data, {"@graph": [data]}])))


def _somewhere(data: object, value: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """`data` with any one of its places taken by `value`."""
    if not isinstance(data, dict):
        return value

    def with_new(key: str) -> st.SearchStrategy[object]:
        return _somewhere(data[key], value).map(lambda new: {**data, key: new})

    return st.one_of(value, *map(with_new, data))


@given(_somewhere({"pageProps": {"tconst": "tt1628065", "aboveTheFoldData": NEXT_TITLE, "urqlState": {}}}, _json))
def test_any_next_data_is_read_without_an_error(props: object) -> None:
    assert _is_sane(parse_title(_next_page(props)))


_WHOLE_PAGES = [
    _overview_page('<h1 class="header">X <span>(2013)</span></h1>', "TV Episode - 47 min"),
    _wrapper_page('<div class="titleParent">S</div>', "Guts", "Episode aired 7 November 2010"),
    _og_page(title='"S" E (TV Episode 2010)', type="video.episode", image=IMAGE_URL) + _page_of({"@type": "TVEpisode"}),
    _next_page({"pageProps": {"tconst": "tt1628065", "aboveTheFoldData": NEXT_TITLE}}),
]


def test_a_control_character_in_a_tag_is_read_over() -> None:
    for sign in ("\x00", "\x01", "\x1f", "\ufffe", "\uffff"):
        page = parse_title(f'<html><head><meta property="og:title" content="A (2010)" x{sign}y="1"/></head></html>')
        assert _is_sane(page)


@given(st.data())
def test_a_spoiled_page_is_read_without_an_error(data: st.DataObject) -> None:
    page = data.draw(st.sampled_from(_WHOLE_PAGES)).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(page)))
        end = start + data.draw(st.integers(0, 40))
        page = page[:start] + data.draw(st.binary(max_size=8) | st.sampled_from([b"<", b'"', b"{", b"&#"])) + page[end:]
    assert _is_sane(parse_title(page))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_spoiled_real_page_is_read_without_an_error(real_data: Path, data: st.DataObject) -> None:
    page = _real_page(real_data, data.draw(st.sampled_from(sorted(set(GOLDEN) - {"tt0468569_2023"}))))
    start = data.draw(st.integers(0, len(page)))
    spoiled = page[:start] + data.draw(st.binary(max_size=50)) + page[start + data.draw(st.integers(0, 9999)) :]
    assert _is_sane(parse_title(spoiled[: data.draw(st.integers(0, len(spoiled)))]))


_MILLIONS = 5_000_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<",
        "&#",
        "(",
        " ",
        "(2001) ",
        '<div class="title_wrapper"><h1>x (1) ',
        '<meta property="og:title" content="((((">',
        '<script type="application/ld+json">{"@type":"Movie"',
        '<td id="overview-top"><h1 class="header">',
        '<span itemscope itemtype="http://schema.org/Movie" itemprop="genre">',
    ],
)
def test_a_hostile_page_of_megabytes_is_read_in_time(piece: str) -> None:
    flood = piece * (_MILLIONS // len(piece))
    assert _is_sane(parse_title(flood))
    assert _is_sane(parse_title(_og_page(title="x") + '<div class="title_wrapper"><h1>' + flood))
    assert _is_sane(parse_title(_og_page(title=flood, type=flood, image=flood)))
    assert _is_sane(parse_title(_page_of({"@type": "Movie", "name": flood, "genre": flood, "image": flood})))
