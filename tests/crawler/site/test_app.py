"""The rehearsal site as a crawl meets it: a real server over loopback."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from crawler.catalogs import open_catalog
from crawler.images import inspect
from crawler.outcomes import PosterFacts, Reason, Rejected
from crawler.site.content import SiteContent
from crawler.site.faults import Fault
from crawler.site.server import Site


def _page(imdb_id: str) -> str:
    return f"/title/{imdb_id}/"


def _path(content: SiteContent, imdb_id: str, suffix: str = "._V1_.jpg") -> str:
    url = content.image_url(imdb_id, suffix)
    assert url
    return urlsplit(url).path


def test_a_title_page_leads_to_a_poster_that_decodes(client: httpx.Client, content: SiteContent) -> None:
    page = client.get(_page("tt9900001"))
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page.text)
    assert found
    data = json.loads(found[1])
    assert data["name"] == content.titles["tt9900001"].title
    assert tuple(data["genre"]) == content.titles["tt9900001"].genres
    assert data["image"].startswith("https://m.media-amazon.com/images/M/MV5B")
    image = client.get(urlsplit(data["image"]).path)
    assert image.headers["content-type"] == "image/jpeg"
    facts = inspect(image.content, max_pixels=1_000_000)
    assert isinstance(facts, PosterFacts)
    assert (facts.width_px, facts.height_px) == (300, 444)


def test_a_title_without_slash_moves_to_the_one_with_it(client: httpx.Client) -> None:
    answer = client.get("/title/tt9900001")
    assert (answer.status_code, answer.headers["location"]) == (301, "/title/tt9900001/")


@pytest.mark.parametrize("path", ["/title/tt1234567/", "/title/nonsense/", "/images/M/MV5Bnone@._V1_.jpg", "/other"])
def test_what_is_not_there_is_404(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("suffix", "size"),
    [
        ("._V1_UX182_CR0,0,182,268_AL_.jpg", (182, 269)),
        ("._V1_UY268_CR5,0,182,268_AL_.jpg", (181, 268)),
        ("._V1_SX100_.jpg", (100, 148)),
        ("._V1._SX94_SY70_.jpg", (47, 70)),
        ("._V1_SX100.jpg", (100, 148)),
    ],
)
def test_a_size_suffix_shrinks_a_poster(
    client: httpx.Client, content: SiteContent, suffix: str, size: tuple[int, int]
) -> None:
    data = client.get(_path(content, "tt9900001", suffix)).content
    assert Image.open(io.BytesIO(data)).size == size


@pytest.mark.parametrize("suffix", ["._V1_.jpg", "._V1_FMjpg_UX1000_.jpg", "._V1_UX300_.jpg", "._V1_UY0_.jpg"])
def test_a_size_suffix_never_enlarges_or_recodes_a_poster(
    client: httpx.Client, content: SiteContent, suffix: str
) -> None:
    assert client.get(_path(content, "tt9900001", suffix)).content == content.poster_bytes("tt9900001")


@pytest.mark.parametrize(("sent", "known"), [("if-none-match", "etag"), ("if-modified-since", "last-modified")])
def test_a_known_poster_is_304_without_a_body(
    client: httpx.Client, content: SiteContent, sent: str, known: str
) -> None:
    path = _path(content, "tt9900001")
    again = client.get(path, headers={sent: client.get(path).headers[known]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"if-none-match": '"other"', "if-modified-since": "Fri, 01 Jan 2038 00:00:00 GMT"},
        {"if-modified-since": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"if-modified-since": "no date"},
    ],
)
def test_a_changed_poster_is_sent_again(client: httpx.Client, content: SiteContent, headers: dict[str, str]) -> None:
    assert client.get(_path(content, "tt9900001"), headers=headers).status_code == 200


def test_the_catalogue_reads_back_as_the_titles_it_was_made_from(
    client: httpx.Client, content: SiteContent, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.csv"
    catalog.write_bytes(client.get("/catalog.csv").content)
    with open_catalog(str(catalog)) as found:
        assert list(found.rows()) == [replace(title, kind=None) for title in content.titles.values()]


def test_robots_txt_allows_titles_and_images_but_no_search(client: httpx.Client) -> None:
    lines = client.get("/robots.txt").text.splitlines()
    assert {"Allow: /title/", "Allow: /images/", "Disallow: /search/", "Disallow: /private/"} <= set(lines)


def test_requests_are_counted_by_path_until_a_reset(site: Site, client: httpx.Client) -> None:
    site.reset()
    for _ in range(3):
        client.get(_page("tt9900002"))
    client.get("/robots.txt")
    assert site.requests() == {"/title/tt9900002/": 3, "/robots.txt": 1}
    site.reset()
    assert site.requests() == {}
    assert set(map(len, site.times().values())) == {0}


def test_arrivals_are_timed_by_the_host_that_the_site_stands_for(
    site: Site, client: httpx.Client, content: SiteContent
) -> None:
    site.reset()
    start = time.monotonic()
    for path in (
        _page("tt9900001"),
        _path(content, "tt9900001"),
        _path(content, "tt9900002"),
        "/3/find/tt9900001",
        "/t/p/w342/none.jpg",
        "/?i=tt9900001",
        "/",
        "/robots.txt",
        "/catalog.csv",
    ):
        client.get(path)
    times = site.times()
    assert {family: len(found) for family, found in times.items()} == {
        "title": 1,
        "image": 2,
        "tmdb": 1,
        "tmdb_image": 1,
        "omdb": 1,
    }
    arrivals = [at for family in ("title", "image", "tmdb", "tmdb_image", "omdb") for at in times[family]]
    assert start < arrivals[0]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] < time.monotonic()
    counts = site.requests()
    assert (counts["/?i=tt9900001"], counts["/"]) == (1, 1)


def test_a_request_that_its_client_gives_up_counts_too(
    site: Site, client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    site.reset()
    path = _path(content, faulty[Fault.DRIP])
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
    assert site.requests() == {path: 1}
    assert len(site.times()["image"]) == 1


def test_the_index_links_titles_and_shows_thumbnails_of_this_site(client: httpx.Client) -> None:
    page = client.get("/").text
    assert 'href="/title/tt9900001/"' in page
    thumbnail = re.search(r'src="(/images/M/[^"]+)"', page)
    assert thumbnail
    assert client.get(thumbnail[1]).status_code == 200


def test_a_slow_title_waits(client: httpx.Client, faulty: dict[Fault, str]) -> None:
    start = time.monotonic()
    assert client.get(_page(faulty[Fault.SLOW])).status_code == 200
    assert time.monotonic() - start >= 0.4


def test_a_missing_title_is_404_on_page_and_image(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    imdb_id = faulty[Fault.NOT_FOUND]
    assert [client.get(path).status_code for path in (_page(imdb_id), _path(content, imdb_id))] == [404, 404]


@pytest.mark.parametrize(("fault", "status"), [(Fault.RATE_LIMITED, 429), (Fault.UNAVAILABLE, 503)])
def test_a_passing_failure_is_over_at_the_second_request(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent, fault: Fault, status: int
) -> None:
    first, second = (client.get(_path(content, faulty[fault])) for _ in range(2))
    assert (first.status_code, first.headers["retry-after"]) == (status, "1")
    assert second.status_code == 200


def test_a_truncated_image_is_a_complete_response_with_half_a_jpeg(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    answer = client.get(_path(content, faulty[Fault.TRUNCATED]))
    assert int(answer.headers["content-length"]) == len(answer.content)
    facts = inspect(answer.content, max_pixels=1_000_000)
    assert isinstance(facts, Rejected)
    assert facts.reason is Reason.TRUNCATED


def test_a_cut_image_breaks_off_before_its_promised_length(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
        client.get(_path(content, faulty[Fault.CUT]))


def test_an_html_image_is_a_page_with_200(client: httpx.Client, faulty: dict[Fault, str], content: SiteContent) -> None:
    answer = client.get(_path(content, faulty[Fault.HTML]))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert client.get(_page(faulty[Fault.HTML])).text.count("ld+json") == 1


def test_a_blocked_title_gives_a_challenge_for_page_and_image(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    imdb_id = faulty[Fault.BLOCKED]
    for path in (_page(imdb_id), _path(content, imdb_id)):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["x-amzn-waf-action"]) == (202, "challenge")
        assert "AwsWafIntegration" in answer.text


@pytest.mark.parametrize(
    ("fault", "status", "mark"),
    [
        (Fault.FORBIDDEN, 403, "AwsWafIntegration"),
        (Fault.CAPTCHA, 200, "/errors/validateCaptcha"),
        (Fault.CONSENT, 200, "consent-banner"),
    ],
)
def test_other_block_pages_come_for_page_and_image_too(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent, fault: Fault, status: int, mark: str
) -> None:
    for path in (_page(faulty[fault]), _path(content, faulty[fault])):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert mark in answer.text


def test_a_moved_title_answers_well_at_its_other_path(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    imdb_id = faulty[Fault.MOVED]
    for path in (_page(imdb_id), _path(content, imdb_id)):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (301, f"/moved{path}")
        assert client.get(f"/moved{path}").status_code == 200
    assert client.get(f"/moved{_path(content, imdb_id)}").content == content.poster_bytes(imdb_id)


def test_a_loop_leads_to_itself(client: httpx.Client, faulty: dict[Fault, str], content: SiteContent) -> None:
    path = _path(content, faulty[Fault.LOOP])
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (302, path)
    with pytest.raises(httpx.TooManyRedirects):
        client.get(_page(faulty[Fault.LOOP]), follow_redirects=True)


def test_a_dripping_image_never_falls_silent_and_never_ends(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    imdb_id = faulty[Fault.DRIP]
    with client.stream("GET", _path(content, imdb_id), timeout=1) as answer:
        poster = content.poster_bytes(imdb_id)
        assert poster
        assert int(answer.headers["content-length"]) == len(poster)
        drops = answer.iter_raw()
        start = time.monotonic()
        assert b"".join(next(drops) for _ in range(5)) == poster[:5]
        assert 0.5 < time.monotonic() - start < 5


def test_a_page_without_a_picture_shows_the_drawing_which_is_an_image_too(
    client: httpx.Client, faulty: dict[Fault, str]
) -> None:
    found = re.search(r'"image":"([^"]+)"', client.get(_page(faulty[Fault.NO_PICTURE])).text)
    assert found
    drawing = client.get(urlsplit(found[1]).path)
    assert "/nopicture/" in found[1]
    assert drawing.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(drawing.content)).convert("L").getextrema() == (204, 204)


def test_an_unsized_image_is_there_as_it_was_given_and_in_no_other_size(
    client: httpx.Client, content: SiteContent, faulty: dict[Fault, str]
) -> None:
    imdb_id = faulty[Fault.UNSIZED]
    for suffix, status in (("._V1_.jpg", 200), ("._V1_SX300.jpg", 200), ("._V1_SY600_.jpg", 404)):
        assert client.get(_path(content, imdb_id, suffix)).status_code == status, suffix


def test_a_poster_that_is_not_for_machine_learning_says_so(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent
) -> None:
    answer = client.get(_path(content, faulty[Fault.NO_AI]))
    assert answer.headers["x-robots-tag"] == "noai, noimageai"
    assert answer.content == content.poster_bytes(faulty[Fault.NO_AI])


@pytest.mark.parametrize(
    ("fault", "media_type"),
    [
        (Fault.PLACEHOLDER, "image/jpeg"),
        (Fault.CORRUPT, "image/jpeg"),
        (Fault.TINY, "image/gif"),
        (Fault.WIDE, "image/jpeg"),
        (Fault.BOMB, "image/png"),
        (Fault.PNG, "image/png"),
        (Fault.WEBP, "image/webp"),
        (Fault.GIF, "image/gif"),
        (Fault.CMYK, "image/jpeg"),
    ],
)
def test_a_spoiled_image_says_its_true_type_under_a_url_of_a_jpeg(
    client: httpx.Client, faulty: dict[Fault, str], content: SiteContent, fault: Fault, media_type: str
) -> None:
    path = _path(content, faulty[fault])
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert client.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert client.get(_page(faulty[fault])).status_code == 200
