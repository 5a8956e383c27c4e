"""Block pages of the firewalls that a crawl meets, and answers that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.block_pages import Block, block_of
from crawler.site.pages import block_page, error_page, index_page, title_page
from crawler.titles import Title

HTML = {"content-type": "text/html"}
CAPTCHA = b"<form action='/errors/validateCaptcha'><img src='captcha.jpg'></form>"
WAF_SCRIPT = b'<script src="https://x.token.awswaf.com/x/challenge.js"></script>'
CONSENT = b"""<html><title>Before you continue</title><p>We use cookies.</p>
<form action="https://consent.example/save" method="post"><button>Accept all</button></form></html>"""


@pytest.mark.parametrize("status", [202, 403])
def test_a_waf_challenge_is_a_block_page_by_its_header_and_by_its_body(status: int) -> None:
    page = block_page(202 if status == 202 else 403)
    assert block_of(status, page.headers, b"") is Block.CHALLENGE
    assert block_of(status, {}, page.html.encode()) is Block.CHALLENGE
    assert block_of(200, {}, page.html.encode()) is Block.CHALLENGE


@pytest.mark.parametrize("status", [202, 405])
def test_a_waf_captcha_is_told_from_a_challenge(status: int) -> None:
    page = b"<script>window.gokuProps = {};</script>" + WAF_SCRIPT + b'<div id="captcha-container"></div>'
    assert block_of(status, {"x-amzn-waf-action": "captcha"}, b"") is Block.CAPTCHA
    assert block_of(status, {}, page) is Block.CAPTCHA


def test_a_202_that_is_empty_or_only_a_script_is_a_challenge() -> None:
    assert block_of(202, {}, b" \n") is Block.CHALLENGE
    assert block_of(202, {}, b"<html><body><script>solve()</script></body></html>") is Block.CHALLENGE
    assert block_of(202, {}, b"<html><body>Accepted, come back later.</body></html>") is None


@pytest.mark.parametrize(
    ("status", "headers", "body", "block"),
    [
        (200, {}, CAPTCHA, Block.CAPTCHA),
        (503, {}, CAPTCHA, Block.CAPTCHA),
        (403, {}, b"<script src='https://geo.captcha-delivery.com/captcha/'></script>", Block.CAPTCHA),
        (403, {}, b"<div class='h-captcha' data-sitekey='x'></div>", Block.CAPTCHA),
        (429, {}, b"<div class='g-recaptcha'></div>", Block.CAPTCHA),
        (403, {"cf-mitigated": "challenge"}, b"", Block.CHALLENGE),
        (503, {}, b"<title>Just a moment...</title><script>window._cf_chl_opt={}</script>", Block.CHALLENGE),
        (200, {}, b"<div id='sec-if-cpt-container'></div>", Block.CHALLENGE),
        (200, {}, CONSENT, Block.CONSENT),
        (200, {}, b"<div class='cookie-wall'>cookies <button>Accept</button></div>", Block.CONSENT),
        (307, {"location": "https://consent.example/v2/collectConsent?id=1"}, b"", Block.CONSENT),
        (302, {"location": "/cookie-consent?back=/title/tt0000001/"}, b"", Block.CONSENT),
    ],
)
def test_block_pages_are_told_by_their_sort(status: int, headers: dict[str, str], body: bytes, block: Block) -> None:
    assert block_of(status, headers, body) is block


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (403, b""),
        (405, b""),
        (403, error_page(403, "Not yours.").encode()),
        (404, error_page(404, "No such title.").encode()),
        (404, CAPTCHA),
        (503, b""),
        (200, b"\xff\xd8\xff\xe0 a picture"),
        (202, b"\xff\xd8\xff\xe0 a picture"),
        (200, b'{"Response":"False","Error":"Request limit reached!"}'),
        (200, b"<p>We use cookies.</p><a href='/privacy'>Privacy</a><form action='/search'></form>"),
        (301, b""),
        (304, b""),
    ],
)
def test_an_ordinary_refusal_or_an_empty_answer_is_not_a_block_page(status: int, body: bytes) -> None:
    assert block_of(status, HTML, body) is None


@pytest.mark.parametrize(
    "magic", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBPVP8 "]
)
def test_a_picture_is_none_whatever_bytes_it_holds(magic: bytes) -> None:
    assert block_of(200, {}, magic + CAPTCHA + CONSENT) is None


def test_a_redirect_to_an_ordinary_place_is_none() -> None:
    for location in (
        "https://www.imdb.com/title/tt0000001/",
        "/title/tt0000001/",
        "",
        "https://[",
        "/consenting-adults/",
    ):
        assert block_of(301, {"location": location}, b"") is None


def test_a_page_that_answers_is_none_though_it_asks_for_cookies_or_loads_the_wafs_script() -> None:
    page = title_page(Title("tt9900001", title="A Captcha's Consent", genres=("Drama",)), None).encode()
    for addition in (CONSENT, WAF_SCRIPT, b"<div class='g-recaptcha'></div>"):
        assert block_of(200, HTML, page + addition) is None
        assert block_of(200, HTML, addition + page) is None


def test_no_page_of_the_rehearsal_site_but_its_challenge_is_a_block_page() -> None:
    title = Title("tt9900001", title="A", year=1999)
    for page in (title_page(title, None), index_page([(title, None)], 1), error_page(429, "Later.")):
        for status in (200, 403, 404, 429, 503):
            assert block_of(status, HTML, page.encode()) is None


def test_no_real_page_is_taken_for_a_block_page(real_data: Path) -> None:
    pages = [path.read_bytes() for path in (real_data / "imdb_pages").glob("*.html")]
    assert len(pages) == 10
    assert [block_of(200, {}, page) for page in pages] == [None] * 10


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["location", "x-amzn-waf-action", "cf-mitigated"]) | st.text(), st.text()),
    st.binary() | st.sampled_from([CAPTCHA, CONSENT, WAF_SCRIPT]),
)
def test_any_answer_is_judged_without_an_error(status: int, headers: dict[str, str], body: bytes) -> None:
    assert block_of(status, headers, body) in (None, *Block)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [b"<form cookie ", b"consent", b"action='", b"action=x", b" ", b"RIFF"])
def test_a_hostile_answer_of_megabytes_is_judged_in_time(piece: bytes) -> None:
    for status in (200, 202, 403):
        assert block_of(status, {}, piece * (5_000_000 // len(piece))) in (None, *Block)
