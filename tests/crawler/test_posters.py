"""Whole crawls: what becomes of each title of a real site that misbehaves in every way it knows."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from crawler.crawl import read_titles
from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.server import Site, running_site
from tests.crawler.harvests import Finish, Harvest, Run, assert_fails_in_one_sentence, crawl, write_movie_genre

TITLES = 80
# Far slower than any timeout: these two have a test of their own.
_SLOW = (Fault.DRIP, Fault.SLOW)
_REASONS = {
    Fault.NOT_FOUND: "not_found",
    Fault.TRUNCATED: "truncated",
    Fault.CUT: "truncated",
    Fault.HTML: "html",
    Fault.BLOCKED: "blocked",
    Fault.FORBIDDEN: "blocked",
    Fault.CAPTCHA: "blocked",
    Fault.CONSENT: "blocked",
    Fault.LOOP: "refused",
    Fault.NO_AI: "no_ai",
    Fault.PLACEHOLDER: "placeholder",
    Fault.CORRUPT: "corrupt",
    Fault.TINY: "too_small",
    Fault.WIDE: "odd_aspect",
    Fault.BOMB: "too_many_pixels",
}
_FORMATS = {Fault.PNG: "PNG", Fault.WEBP: "WEBP", Fault.GIF: "GIF", Fault.CMYK: "JPEG"}


@dataclass(frozen=True)
class Rehearsal:
    """A crawl of a site where two titles have each fault: one listed with its poster's URL, one with its page."""

    site: Site
    folder: Path
    run: Run
    listed: dict[Fault, str]
    paged: dict[Fault, str]
    requests: dict[str, int]

    @property
    def harvest(self) -> Harvest:
        return Harvest(self.folder / "store")

    def rows_of(self, fault: Fault) -> list[dict[str, Any]]:
        rows = self.harvest.rows
        return [rows[self.listed[fault]], rows[self.paged[fault]]]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, finish: Finish) -> Iterator[Rehearsal]:
    """One crawl that most tests look at."""
    folder = tmp_path_factory.mktemp("rehearsal")
    faults = [fault for fault in Fault if fault not in _SLOW]
    titles = [title for title in SiteContent.invented(TITLES).titles.values() if int(title.imdb_id[2:]) % 50 != 7]
    listed = dict(zip(faults, (title.imdb_id for title in titles if title.poster_url), strict=False))
    paged = dict(zip(faults, (title.imdb_id for title in titles if not title.poster_url), strict=False))
    assert set(listed) == set(paged) == set(faults)
    named = {imdb_id: fault for found in (listed, paged) for fault, imdb_id in found.items()}
    with running_site(titles=TITLES, faults=Faults(named=named), write_catalog=folder / "films.csv") as site:
        with (folder / "films.csv").open("a") as catalog:
            catalog.write("9900001,,The same again (1999),5,Drama,\nno row\n")
        items = ("-o", folder / "items.jsonl")
        run = crawl(finish, folder / "films.csv", folder / "store", *items, rehearsal=site.url)
        yield Rehearsal(site, folder, run, listed, paged, site.requests())


def test_a_crawl_ends_with_exit_code_0_and_every_title_stored_or_rejected(rehearsal: Rehearsal) -> None:
    summary = rehearsal.harvest.summary
    assert rehearsal.run.returncode == 0, rehearsal.run.stderr
    assert "Traceback" not in rehearsal.run.stderr
    assert (summary["rows"], summary["rejected_rows"], summary["finish_reason"]) == (TITLES + 2, 1, "finished")
    rehearsal.harvest.assert_whole(TITLES)


def test_a_row_that_names_no_title_is_told_with_its_line(rehearsal: Rehearsal) -> None:
    assert f"films.csv, line {TITLES + 3}: " in rehearsal.run.stderr


@pytest.mark.parametrize(("fault", "reason"), _REASONS.items())
def test_a_title_that_misbehaves_is_rejected_with_its_reason(rehearsal: Rehearsal, fault: Fault, reason: str) -> None:
    rows = rehearsal.rows_of(fault)
    assert [(row["outcome"], row["reason"]) for row in rows] == [("rejected", reason)] * 2
    assert all(row["detail"] for row in rows)
    assert not rehearsal.harvest.posters & {row["imdb_id"] for row in rows}


@pytest.mark.parametrize("fault", _FORMATS)
def test_other_formats_than_jpeg_are_stored_as_fetched_with_their_true_type(rehearsal: Rehearsal, fault: Fault) -> None:
    for row in rehearsal.rows_of(fault):
        picture = Image.open(io.BytesIO(rehearsal.harvest.poster(row["imdb_id"])))
        assert (row["outcome"], row["format"], picture.format) == ("stored", _FORMATS[fault], _FORMATS[fault])
        assert (picture.mode == "CMYK") == (fault is Fault.CMYK)
        assert picture.size == (row["width_px"], row["height_px"])


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.UNAVAILABLE])
def test_a_passing_failure_is_stored_at_the_second_attempt(rehearsal: Rehearsal, fault: Fault) -> None:
    listed, paged = rehearsal.rows_of(fault)
    assert (listed["outcome"], listed["attempts"]) == ("stored", 2)
    assert paged["outcome"] == "stored"
    assert rehearsal.requests[f"/title/{paged['imdb_id']}/"] == 2


def test_a_moved_poster_is_followed(rehearsal: Rehearsal) -> None:
    for row in rehearsal.rows_of(Fault.MOVED):
        assert row["outcome"] == "stored"
        assert urlsplit(row["url"]).path.startswith("/moved/images/")


def test_a_host_that_does_not_know_the_wanted_size_is_asked_for_the_listed_one(rehearsal: Rehearsal) -> None:
    listed, paged = rehearsal.rows_of(Fault.UNSIZED)
    assert (listed["outcome"], paged["outcome"]) == ("stored", "stored")
    assert listed["url"].endswith("._V1_UX182_CR0,0,182,268_AL_.jpg")
    assert "_SY600_" not in paged["url"]


def test_a_poster_is_asked_for_at_the_wanted_height_first(rehearsal: Rehearsal) -> None:
    row = rehearsal.rows_of(Fault.UNLISTED)[0]
    assert row["url"].endswith("._V1_SY600_.jpg")
    (asked,) = [path for path in rehearsal.requests if path.startswith(urlsplit(row["url"]).path.partition("._V1")[0])]
    assert asked.endswith("_SY600_.jpg")


def test_a_title_page_with_imdbs_drawing_for_none_has_no_poster(rehearsal: Rehearsal) -> None:
    listed, paged = rehearsal.rows_of(Fault.NO_PICTURE)
    assert listed["outcome"] == "stored"
    assert paged["reason"] == "no_poster"
    assert not any("nopicture" in path for path in rehearsal.requests)


def test_a_title_without_a_poster_is_told_from_a_blocked_one(rehearsal: Rehearsal) -> None:
    assert rehearsal.harvest.rows["tt9900007"]["reason"] == "no_poster"


def test_attempts_count_what_was_really_sent(rehearsal: Rehearsal) -> None:
    for fault in set(rehearsal.listed) - {Fault.LOOP}:
        row = rehearsal.rows_of(fault)[0]
        assert row["attempts"] == rehearsal.requests[urlsplit(row["url"]).path], fault
    assert rehearsal.rows_of(Fault.CUT)[0]["attempts"] == 3
    assert rehearsal.rows_of(Fault.BLOCKED)[0]["attempts"] == 1


def test_stored_posters_have_their_size_hashes_and_validators_in_the_ledger(rehearsal: Rehearsal) -> None:
    for row in rehearsal.harvest.stored.values():
        picture = Image.open(io.BytesIO(rehearsal.harvest.poster(row["imdb_id"])))
        assert picture.size == (row["width_px"], row["height_px"])
        assert len(row["phash"]) == 16
        assert row["etag"]
        assert row["last_modified"]


def test_a_title_page_asked_leaves_what_it_told_in_the_ledger(rehearsal: Rehearsal) -> None:
    titles = SiteContent.invented(TITLES).titles
    for row in rehearsal.harvest.stored.values():
        title = titles[row["imdb_id"]]
        assert row["source"] == ("listed" if title.poster_url else "page")
        if not title.poster_url:
            assert (row["page_title"], row["page_year"], row["page_kind"]) == (title.title, title.year, title.kind)
            assert tuple(row["page_genres"]) == title.genres


def test_the_catalogue_lies_in_the_store_with_its_duplicate(rehearsal: Rehearsal) -> None:
    ids = [row["imdb_id"] for row in read_titles(rehearsal.harvest.store, rehearsal.harvest.crawl_id)]
    assert (len(ids), len(set(ids))) == (TITLES + 1, TITLES)


def test_items_are_exported_as_scrapy_users_expect(rehearsal: Rehearsal) -> None:
    items = [json.loads(line) for line in (rehearsal.folder / "items.jsonl").read_text().splitlines()]
    assert {item["imdb_id"]: item.get("reason") or item["outcome"] for item in items} == rehearsal.harvest.outcomes
    assert len(items) == TITLES


def test_a_second_run_asks_only_for_what_has_a_passing_reason(rehearsal: Rehearsal, finish: Finish) -> None:
    before = rehearsal.harvest.rows
    passing = {imdb_id for imdb_id, row in before.items() if row["reason"] in ("truncated", "blocked")}
    assert len(passing) == 12
    rehearsal.site.reset()
    run = crawl(finish, rehearsal.folder / "films.csv", rehearsal.folder / "store", rehearsal=rehearsal.site.url)
    assert run.returncode == 0, run.stderr
    rows = rehearsal.harvest.rows
    expected = {urlsplit(rows[imdb_id]["url"]).path for imdb_id in passing}
    expected |= {f"/title/{imdb_id}/" for imdb_id in passing if rows[imdb_id]["source"] == "page"}
    assert set(rehearsal.site.requests()) == expected | {"/robots.txt"}
    assert {key: row for key, row in rows.items() if key not in passing} == {
        key: row for key, row in before.items() if key not in passing
    }
    rehearsal.harvest.assert_whole(TITLES)


@pytest.mark.fault
def test_slow_deaf_large_and_missing_answers_have_their_reasons(tmp_path: Path, finish: Finish) -> None:
    content = SiteContent.invented(40)

    def url(number: int) -> str:
        return site.url + urlsplit(content.image_url(f"tt99000{number:02}") or "").path

    named = {"tt9900003": Fault.SLOW, "tt9900005": Fault.DRIP}
    with running_site(titles=40, faults=Faults(named=named, slow_s=30)) as site:
        # The picture without a size suffix is the original.
        small, large = (len(content.poster_bytes(f"tt990000{number}") or b"") for number in (2, 4))
        assert large > small
        urls = {
            "tt0000001": (url(2), "stored"),
            "tt0000002": (url(4), "too_large"),
            "tt0000003": (url(3), "timeout"),
            "tt0000004": (url(5), "timeout"),
            "tt0000005": ("http://127.0.0.1:1/poster.jpg", "unreachable"),
            "tt0000006": (f"{site.url}/images/M/none.jpg", "not_found"),
            "tt0000007": (f"{site.url}/search/poster.jpg", "robots"),
        }
        run = crawl(
            finish,
            write_movie_genre(tmp_path / "films.csv", ((key, listed) for key, (listed, _) in urls.items())),
            tmp_path / "store",
            *("-a", "sources=listed", "-s", "AUTOTHROTTLE_ENABLED=0", "-s", "RETRY_TIMES=0"),
            max_poster_bytes=(small + large) // 2,
            request_timeout_s=2,
        )
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    harvest = Harvest(tmp_path / "store")
    assert harvest.outcomes == {imdb_id: reason for imdb_id, (_, reason) in urls.items()}
    assert harvest.rows["tt0000007"]["attempts"] == 0
    assert "/search/poster.jpg" not in requests
    harvest.assert_whole(len(urls))


def test_a_path_that_robots_txt_forbids_is_never_asked_for(tmp_path: Path, finish: Finish) -> None:
    with running_site(titles=40, write_catalog=tmp_path / "films.csv") as site:
        page_url = "https://www.imdb.com/private/{imdb_id}"
        store = tmp_path / "store"
        run = crawl(finish, tmp_path / "films.csv", store, rehearsal=site.url, page_url=page_url)
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    paged = [row for row in Harvest(store).rows.values() if row["source"] == "page"]
    assert len(paged) > 10
    assert {(row["outcome"], row["reason"], row["attempts"]) for row in paged} == {("rejected", "robots", 0)}
    assert not any(path.startswith("/private/") for path in requests)
    assert Harvest(store).summary["reasons"] == {"robots": len(paged)}


def test_imdb_is_not_crawled_without_a_contact(tmp_path: Path, finish: Finish) -> None:
    (tmp_path / "ids.txt").write_text("tt0111161\n")
    run = finish("onesheet", "crawl", tmp_path / "ids.txt", "--store", tmp_path / "store", "--sources", "page")
    assert_fails_in_one_sentence(run, "crawling www.imdb.com needs a contact for the user agent: set ONESHEET_CONTACT")
    assert not list((tmp_path / "store").glob("crawls/*/ledger/*"))
