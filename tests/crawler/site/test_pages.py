"""Pages, read as a crawl would read them."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from crawler.site.pages import LOGO_URL, block_page, index_page, title_page
from crawler.titles import Title

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
