"""Pages, read as a crawl would read them."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from crawler.site.pages import (
    LOGO_URL,
    NO_PICTURE_URL,
    block_page,
    captcha_page,
    consent_page,
    index_page,
    title_page,
)
from crawler.titles import Kind, Title

HOSTILE = Title("tt9900001", title="</script><script>alert(\"1\")</script> & 'Co' <!--", year=1999, genres=("Drama",))
IMAGE_URL = "https://m.media-amazon.com/images/M/MV5Babc@._V1_.jpg"


def test_a_hostile_name_stays_text_in_json_and_html() -> None:
    page = title_page(HOSTILE, IMAGE_URL)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    assert json.loads(scripts[0])["name"] == HOSTILE.title
    og_title = re.search(r'property="og:title" content="([^"]*)"', page)
    assert og_title
    assert unescape(og_title[1]) == f"{HOSTILE.title} (1999) - IMDb"
    assert "<script" not in index_page([(HOSTILE, IMAGE_URL)], 1)


def test_a_poster_is_sizeless_in_linked_data_and_sized_for_sharing() -> None:
    page = title_page(HOSTILE, IMAGE_URL)
    assert f'"image":"{IMAGE_URL}"' in page
    assert 'property="og:image" content="https://m.media-amazon.com/images/M/MV5Babc@._V1_FMjpg_UX1000_.jpg"' in page


def test_a_page_without_poster_shows_the_logo_and_no_image() -> None:
    page = title_page(HOSTILE, None)
    assert '"image"' not in page
    assert f'property="og:image" content="{LOGO_URL}"' in page
    assert "/images/M/" not in page


@pytest.mark.parametrize("status", [202, 403])
def test_a_block_page_carries_the_marks_of_aws_waf(status: int) -> None:
    page = block_page(202 if status == 202 else 403)
    assert page.status == status
    assert page.headers["x-amzn-waf-action"] == "challenge"
    for mark in ("awsWafCookieDomainList", "AwsWafIntegration", "JavaScript is disabled", "you're not a robot"):
        assert mark in page.html


@pytest.mark.parametrize(
    ("kind", "og_type", "linked_type", "headline"),
    [
        (None, "video.movie", "Movie", "Signal (1999) - IMDb"),
        (Kind.FILM, "video.movie", "Movie", "Signal (1999) - IMDb"),
        (Kind.SERIES, "video.tv_show", "TVSeries", "Signal (TV Series 1999– ) - IMDb"),  # noqa: RUF001
        (Kind.EPISODE, "video.episode", "TVEpisode", "Signal (TV Episode 1999) - IMDb"),
        (Kind.GAME, "video.other", "VideoGame", "Signal (Video Game 1999) - IMDb"),
    ],
)
def test_a_page_tells_the_kind_of_its_title(kind: Kind | None, og_type: str, linked_type: str, headline: str) -> None:
    page = title_page(Title("tt9900001", title="Signal", year=1999, kind=kind), IMAGE_URL)
    assert f'property="og:type" content="{og_type}"' in page
    assert f'"@type":"{linked_type}"' in page
    assert f'property="og:title" content="{headline}"' in page


def test_the_drawing_for_no_poster_is_shown_at_its_own_address() -> None:
    page = title_page(HOSTILE, NO_PICTURE_URL)
    assert f'"image":"{NO_PICTURE_URL}"' in page
    assert f'property="og:image" content="{NO_PICTURE_URL}"' in page


def test_a_captcha_and_a_consent_wall_come_with_200_and_their_marks() -> None:
    for page, marks in (
        (captcha_page(), ("/errors/validateCaptcha", "Enter the characters you see below", "captchacharacters")),
        (consent_page(), ("consent-banner", "accept-button", "sp-cc-accept")),
    ):
        assert page.status == 200
        assert all(mark in page.html for mark in marks)
        assert "ld+json" not in page.html
