"""Whole crawls beside other people's hosts: block pages, rates, bans of AI, and addresses that are traps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from crawler.site.content import SiteContent
from crawler.site.faults import Faults
from crawler.site.server import running_site
from tests.crawler.harvests import (
    Finish,
    Harvest,
    Host,
    assert_fails_in_one_sentence,
    crawl,
    serving,
    write_ids,
    write_movie_genre,
)

_CONTENT = SiteContent.invented(40)
_POSTER = _CONTENT.poster_bytes("tt9900001") or b""


@pytest.mark.fault
def test_block_pages_slow_the_crawl_down_and_stop_it_and_a_well_site_finishes_it(
    tmp_path: Path, finish: Finish
) -> None:
    catalog, store = write_ids(tmp_path / "ids.txt", _CONTENT.titles), tmp_path / "store"
    slots = {"www.imdb.com": {"concurrency": 1, "delay": 0.2}}
    politely = ("-s", "AUTOTHROTTLE_ENABLED=1", "-s", f"DOWNLOAD_SLOTS={json.dumps(slots)}", "-s", "BLOCK_LIMIT=2")
    with running_site(titles=40, faults=Faults.parse("blocked=1")) as site:
        run = crawl(finish, catalog, store, *politely, rehearsal=site.url)
        asked, times = site.requests(), site.times()["title"]
    assert_fails_in_one_sentence(run, "2 block pages (challenge) in a row, the last from ")
    assert "Come back later, ask the host for access, or order other --sources." in run.stderr
    assert "www.imdb.com complains: from now on a request each 5 s" in run.stderr
    assert "'blocked/challenge': 2" in run.stderr
    # The second request came after half of the five seconds at the earliest: Scrapy's delays have a jitter.
    assert len(asked) <= 4
    assert times[1] - times[0] >= 2.5
    summary = Harvest(store).summary
    assert (summary["finish_reason"], summary["stored"], summary["finished"]) == ("blocked", 0, False)
    assert summary["open"] >= 36
    assert Harvest(store).posters == set()

    with running_site(titles=40) as site:
        assert crawl(finish, catalog, store, rehearsal=site.url).returncode == 0
    Harvest(store).assert_whole(40)
    assert Harvest(store).summary["stored"] == 39


def test_the_delays_of_hosts_hold_and_one_host_does_not_wait_for_another(tmp_path: Path, finish: Finish) -> None:
    catalog, store = write_ids(tmp_path / "ids.txt", list(_CONTENT.titles)[10:22]), tmp_path / "store"
    slots = {"www.imdb.com": {"concurrency": 4, "delay": 0.3}, "m.media-amazon.com": {"concurrency": 2, "delay": 0}}
    given = ("-s", "AUTOTHROTTLE_ENABLED=1", "-s", f"DOWNLOAD_SLOTS={json.dumps(slots)}")
    with running_site(titles=40) as site:
        run = crawl(finish, catalog, store, *given, rehearsal=site.url)
        times = site.times()
    assert run.returncode == 0, run.stderr
    Harvest(store).assert_whole(12)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times["title"])]
    assert len(gaps) == 11
    # Half of the delay, by Scrapy's jitter; arrivals differ from departures by a few milliseconds.
    assert min(gaps) >= 0.14
    assert sum(gaps) / len(gaps) >= 0.22
    assert times["image"][0] < times["title"][3]


class _Trap(Host):
    """A host that leads its visitors elsewhere."""

    asked: ClassVar[list[str]]

    def get(self) -> None:
        self.asked.append(self.path)
        places = {
            "/metadata": "http://169.254.169.254/latest/meta-data/",
            "/decimal": "http://2852039166/latest/meta-data/",
            "/file": "file:///etc/passwd",
            "/moved": "/poster.jpg",
        }
        if self.path in places:
            self.answer(302, headers={"Location": places[self.path]})
            return
        is_known = self.path in ("/poster.jpg", "/only-others.jpg", "/for-us.jpg")
        tags = {"/only-others.jpg": "otherbot: noai, noindex", "/for-us.jpg": "onesheet: noimageai"}
        headers = {"X-Robots-Tag": tags[self.path]} if self.path in tags else {}
        self.answer(200 if is_known else 404, _POSTER if is_known else b"none", headers)


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    """The URL of a small server, and the paths that it was asked for."""
    _Trap.asked = []
    with serving(_Trap) as port:
        yield f"http://127.0.0.1:{port}", _Trap.asked


def test_addresses_that_are_traps_or_nonsense_end_with_a_reason_and_nothing_is_read_from_them(
    tmp_path: Path, finish: Finish, trap: tuple[str, list[str]]
) -> None:
    site, asked = trap
    expected = {
        f"{site}/poster.jpg": "stored",
        f"{site}/moved": "stored",
        f"{site}/only-others.jpg": "stored",
        f"{site}/for-us.jpg": "no_ai",
        f"{site}/metadata": "bad_url",
        f"{site}/decimal": "bad_url",
        f"{site}/file": "refused",
        "http://169.254.169.254/latest/meta-data/": "bad_url",
        "http://2852039166/latest/meta-data/": "bad_url",
        "http://0xa9.0xfe.0xa9.0xfe/latest/meta-data/": "bad_url",
        "http://[::ffff:169.254.169.254]/latest/meta-data/": "bad_url",
        "http://[fe80::1]/poster.jpg": "bad_url",
        "http://0.0.0.0/poster.jpg": "bad_url",
        "file:///etc/passwd": "bad_url",
        "ftp://127.0.0.1/poster.jpg": "bad_url",
        "gopher://127.0.0.1/poster.jpg": "bad_url",
        "data:image/png;base64,iVBORw0KGgo=": "bad_url",
        "s3://bucket/poster.jpg": "bad_url",
        "javascript:alert(1)": "bad_url",
        "no address at all": "bad_url",
        "http://": "bad_url",
        "http:///poster.jpg": "bad_url",
        "http://[::1/poster.jpg": "bad_url",
        "http://127.0.0.1:99999/poster.jpg": "bad_url",
        "http://bücher.invalid/poster.jpg": "unreachable",
        "http://" + "a" * 300 + ".invalid/poster.jpg": "bad_url",
        f"{site}/{'x' * 3000}": "not_found",
        f"{site}/%00.jpg": "not_found",
    }
    ids = [f"tt{number:07}" for number in range(1, len(expected) + 1)]
    catalog = write_movie_genre(tmp_path / "films.csv", zip(ids, expected, strict=True))
    quickly = ("-a", "sources=listed", "-s", "AUTOTHROTTLE_ENABLED=0", "-s", "RETRY_TIMES=0")
    run = crawl(finish, catalog, tmp_path / "store", *quickly, contact="nobody@example.org", request_timeout_s=10)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    harvest = Harvest(tmp_path / "store")
    rows = harvest.rows
    found = {url: rows[imdb_id]["reason"] or "stored" for imdb_id, url in zip(ids, expected, strict=True)}
    assert found == expected, {imdb_id: row["detail"] for imdb_id, row in rows.items()}
    harvest.assert_whole(len(expected))
    assert {"/metadata", "/decimal", "/file"} <= set(asked)


def test_a_password_in_an_address_is_neither_sent_nor_shown(
    tmp_path: Path, finish: Finish, trap: tuple[str, list[str]]
) -> None:
    url = trap[0].replace("http://", "http://someone:S3cret@") + "/poster.jpg"
    catalog = write_movie_genre(tmp_path / "films.csv", [("tt0000001", url)])
    given = ("-a", "sources=listed", "-s", "AUTOTHROTTLE_ENABLED=0", "-L", "DEBUG")
    run = crawl(finish, catalog, tmp_path / "store", *given)
    assert run.returncode == 0, run.stderr
    row = Harvest(tmp_path / "store").rows["tt0000001"]
    assert (row["reason"], trap[1]) == ("bad_url", [])
    assert "S3cret" not in run.stderr + str(row)
