"""Whole crawls: real Scrapy against a real, misbehaving site."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from cluster.errors import OnesheetError
from cluster.store import FolderStore
from crawler.crawl import list_crawls, read_titles
from crawler.ledger import read_ledger
from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.server import Site, running_site
from crawler.spiders.posters import PostersSpider

Finish = Callable[..., subprocess.CompletedProcess[str]]
HEADER = "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
TITLES = 50


def _crawl(finish: Finish, catalog: Path, store: Path, *options: object, **settings: object) -> Any:
    arguments = ("-a", f"catalog={catalog}", "-a", f"store={store}", *options)
    return finish("scrapy", "crawl", "posters", *arguments, **settings)


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    store = FolderStore(folder)
    rows = read_ledger(store, _summary(folder)["crawl_id"]).to_pylist()
    assert len({row["imdb_id"] for row in rows}) == len(rows)
    return {row["imdb_id"]: row for row in rows}


def _summary(folder: Path) -> dict[str, Any]:
    return list_crawls(FolderStore(folder))[0]


def _posters(folder: Path) -> set[str]:
    return {key.removeprefix("posters/").removesuffix(".jpg") for key in FolderStore(folder).list("posters/")}


def _assert_one_sentence(run: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert run.returncode != 0
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr


@dataclass(frozen=True)
class Rehearsal:
    """A crawl of a site where two titles have each fault: one listed with its poster's URL, one with its page."""

    site: Site
    folder: Path
    run: subprocess.CompletedProcess[str]
    listed: dict[Fault, str]
    paged: dict[Fault, str]
    requests: dict[str, int]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def rows_of(self, fault: Fault) -> list[dict[str, Any]]:
        rows = _rows(self.store)
        return [rows[self.listed[fault]], rows[self.paged[fault]]]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, finish: Finish) -> Iterator[Rehearsal]:
    """One crawl that most tests look at."""
    folder = tmp_path_factory.mktemp("rehearsal")
    titles = [title for title in SiteContent.invented(TITLES).titles.values() if int(title.imdb_id[2:]) % 50 != 7]
    listed = dict(zip(Fault, (title.imdb_id for title in titles if title.poster_url), strict=False))
    paged = dict(zip(Fault, (title.imdb_id for title in titles if not title.poster_url), strict=False))
    named = {imdb_id: fault for found in (listed, paged) for fault, imdb_id in found.items()}
    faults = Faults(named=named, slow_s=0.5)
    with running_site(titles=TITLES, faults=faults, write_catalog=folder / "films.csv") as site:
        with (folder / "films.csv").open("a") as catalog:
            catalog.write("9900001,,The same again (1999),5,Drama,\nno row\n")
        run = _crawl(finish, folder / "films.csv", folder / "store", "-o", folder / "items.jsonl", rehearsal=site.url)
        yield Rehearsal(site, folder, run, listed, paged, site.requests())


def test_a_crawl_ends_with_exit_code_0_and_every_title_stored_or_rejected(rehearsal: Rehearsal) -> None:
    summary = _summary(rehearsal.store)
    assert rehearsal.run.returncode == 0, rehearsal.run.stderr
    assert "Traceback" not in rehearsal.run.stderr
    assert (summary["titles"], summary["open"], summary["rejected_rows"]) == (TITLES, 0, 1)
    assert summary["stored"] + summary["rejected"] == TITLES == len(_rows(rehearsal.store))
    assert summary["finish_reason"] == "finished"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.NOT_FOUND, "not_found"),
        (Fault.TRUNCATED, "truncated"),
        (Fault.CUT, "truncated"),
        (Fault.HTML, "not_an_image"),
        (Fault.BLOCKED, "blocked"),
    ],
)
def test_a_title_that_misbehaves_is_rejected_with_its_reason(rehearsal: Rehearsal, fault: Fault, reason: str) -> None:
    rows = rehearsal.rows_of(fault)
    assert [(row["outcome"], row["reason"]) for row in rows] == [("rejected", reason)] * 2
    assert all(row["detail"] for row in rows)
    assert not _posters(rehearsal.store) & {row["imdb_id"] for row in rows}


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.UNAVAILABLE])
def test_a_passing_failure_is_stored_at_the_second_attempt(rehearsal: Rehearsal, fault: Fault) -> None:
    listed, paged = rehearsal.rows_of(fault)
    assert (listed["outcome"], listed["attempts"]) == ("stored", 2)
    assert paged["outcome"] == "stored"
    assert rehearsal.requests[f"/title/{paged['imdb_id']}/"] == 2


def test_attempts_count_what_was_really_sent(rehearsal: Rehearsal) -> None:
    attempts = {fault: rehearsal.rows_of(fault)[0] for fault in Fault}
    for fault, row in attempts.items():
        assert row["attempts"] == rehearsal.requests[urlsplit(row["url"]).path], fault
    assert attempts[Fault.CUT]["attempts"] == 3
    assert attempts[Fault.BLOCKED]["attempts"] == 1


def test_a_title_without_a_poster_is_told_from_a_blocked_one(rehearsal: Rehearsal) -> None:
    assert _rows(rehearsal.store)["tt9900007"]["reason"] == "no_poster"


def test_the_store_holds_exactly_the_stored_posters_as_they_were_fetched(rehearsal: Rehearsal) -> None:
    rows = {imdb_id: row for imdb_id, row in _rows(rehearsal.store).items() if row["outcome"] == "stored"}
    assert _posters(rehearsal.store) == set(rows)
    for imdb_id, row in rows.items():
        data = FolderStore(rehearsal.store).get(f"posters/{imdb_id}.jpg")
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (row["sha256"], row["bytes"])
        assert Image.open(io.BytesIO(data)).size == (row["width_px"], row["height_px"])
        assert row["etag"]


def test_a_title_page_asked_leaves_what_it_told_in_the_ledger(rehearsal: Rehearsal) -> None:
    titles = SiteContent.invented(TITLES).titles
    for row in _rows(rehearsal.store).values():
        title = titles[row["imdb_id"]]
        assert row["source"] == ("listed" if title.poster_url else "page")
        if row["outcome"] == "stored" and not title.poster_url:
            assert (row["page_title"], row["page_year"]) == (title.title, title.year)
            assert tuple(row["page_genres"]) == title.genres


def test_the_catalogue_lies_in_the_store_with_its_duplicate(rehearsal: Rehearsal) -> None:
    ids = [row["imdb_id"] for row in read_titles(FolderStore(rehearsal.store), _summary(rehearsal.store)["crawl_id"])]
    assert (len(ids), len(set(ids))) == (TITLES + 1, TITLES)


def test_items_are_exported_as_scrapy_users_expect(rehearsal: Rehearsal) -> None:
    items = [json.loads(line) for line in (rehearsal.folder / "items.jsonl").read_text().splitlines()]
    rows = _rows(rehearsal.store)
    assert {item["imdb_id"]: item["outcome"] for item in items} == {key: row["outcome"] for key, row in rows.items()}
    assert len(items) == TITLES


def test_a_second_run_asks_only_for_what_is_open(rehearsal: Rehearsal, finish: Finish) -> None:
    passing = {imdb_id for imdb_id, row in _rows(rehearsal.store).items() if row["reason"] in ("truncated", "blocked")}
    assert len(passing) == 6
    rehearsal.site.reset()
    run = _crawl(finish, rehearsal.folder / "films.csv", rehearsal.store, rehearsal=rehearsal.site.url)
    assert run.returncode == 0
    rows = _rows(rehearsal.store)
    expected = {urlsplit(rows[imdb_id]["url"]).path for imdb_id in passing}
    expected |= {f"/title/{imdb_id}/" for imdb_id in passing if rows[imdb_id]["source"] == "page"}
    assert set(rehearsal.site.requests()) == expected | {"/robots.txt"}
    assert _summary(rehearsal.store)["open"] == 0


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """A site of 40 titles where nothing fails, and its catalogue."""
    catalog = tmp_path_factory.mktemp("well") / "films.csv"
    with running_site(titles=40, write_catalog=catalog) as site:
        yield site, catalog


def test_a_path_that_robots_txt_forbids_is_never_asked_for(
    well: tuple[Site, Path], tmp_path: Path, finish: Finish
) -> None:
    site, catalog = well
    site.reset()
    page_url = "https://www.imdb.com/private/{imdb_id}"
    assert _crawl(finish, catalog, tmp_path, rehearsal=site.url, page_url=page_url).returncode == 0
    paged = [row for row in _rows(tmp_path).values() if row["source"] == "page"]
    assert len(paged) > 10
    assert {(row["outcome"], row["reason"], row["attempts"]) for row in paged} == {("rejected", "robots", 0)}
    assert not any(path.startswith("/private/") for path in site.requests())
    assert _summary(tmp_path)["reasons"] == {"robots": len(paged)}


def test_a_redirect_is_followed_also_with_a_job_folder(well: tuple[Site, Path], tmp_path: Path, finish: Finish) -> None:
    site, catalog = well
    page_url = "https://www.imdb.com/title/{imdb_id}"  # no slash: the site answers 301
    jobs = ("-s", f"JOBDIR={tmp_path / 'job'}", "-s", "SCHEDULER_DEBUG=1")
    run = _crawl(finish, catalog, tmp_path / "store", *jobs, rehearsal=site.url, page_url=page_url)
    assert run.returncode == 0, run.stderr
    assert "Unable to serialize request" not in run.stderr
    assert _summary(tmp_path / "store")["reasons"] == {"no_poster": 1}


def test_a_site_that_only_blocks_stops_the_crawl_and_a_well_one_finishes_it(
    well: tuple[Site, Path], tmp_path: Path, finish: Finish
) -> None:
    well_site, catalog = well
    with running_site(titles=40, faults=Faults.parse("blocked=1")) as site:
        run = _crawl(finish, catalog, tmp_path, rehearsal=site.url)
    assert run.returncode == 1
    assert "20 block pages in a row" in run.stderr
    assert "Come back later, or ask the host for access." in run.stderr
    assert "Traceback" not in run.stderr
    summary = _summary(tmp_path)
    assert (summary["finish_reason"], summary["stored"], summary["finished"]) == ("blocked", 0, False)
    assert summary["open"] > 0
    assert _posters(tmp_path) == set()

    assert _crawl(finish, catalog, tmp_path, rehearsal=well_site.url).returncode == 0
    summary = _summary(tmp_path)
    assert (summary["stored"], summary["rejected"], summary["open"]) == (39, 1, 0)


def test_bad_urls_deaf_hosts_large_bodies_and_slow_answers_have_their_reasons(tmp_path: Path, finish: Finish) -> None:
    content = SiteContent.invented(40)

    def url(number: int) -> str:
        found = content.image_url(f"tt99000{number:02}")
        assert found
        return site.url + urlsplit(found).path

    with running_site(titles=40, faults=Faults(named={"tt9900003": Fault.SLOW}, slow_s=5)) as site:
        small = len(content.image("tt9900002", "._V1_.jpg") or b"")
        urls = {
            "stored": url(2),
            "too_large": url(4),
            "timeout": url(3),
            "bad_url": "ftp://127.0.0.1/poster.jpg",
            "unreachable": "http://127.0.0.1:1/poster.jpg",
            "not_found": f"{site.url}/images/M/none.jpg",
        }
        other = "no address at all"
        rows = [f"{number},,x,1,Drama,{address}\n" for number, address in enumerate([*urls.values(), other], start=1)]
        (tmp_path / "films.csv").write_text(HEADER + "".join(rows))
        large = len(content.image("tt9900004", "._V1_.jpg") or b"")
        assert large > small
        run = _crawl(
            finish,
            tmp_path / "films.csv",
            tmp_path / "store",
            *("-s", "AUTOTHROTTLE_ENABLED=0", "-s", "RETRY_TIMES=1"),
            max_poster_bytes=(small + large) // 2,
            request_timeout_s=1,
        )
    assert run.returncode == 0, run.stderr
    found = [row["reason"] or row["outcome"] for row in _rows(tmp_path / "store").values()]
    assert found == [*urls, "bad_url"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["catalog=none.csv"], "scrapy crawl posters: catalogue none.csv: No such file or directory"),
        (["catalog=none.csv", "colour=red"], "-a: got an unexpected keyword argument 'colour'"),
    ],
)
def test_a_bad_argument_is_one_sentence_and_no_traceback(finish: Finish, arguments: list[str], sentence: str) -> None:
    run = finish("scrapy", "crawl", "posters", *(text for argument in arguments for text in ("-a", argument)))
    _assert_one_sentence(run, sentence)


@pytest.mark.parametrize(
    ("settings", "arguments", "sentence"),
    [
        ({}, {"catalog": ""}, "no catalogue; give one with -a catalog=PATH"),
        ({}, {}, "crawling www.imdb.com needs a contact for the user agent: set ONESHEET_CONTACT"),
        ({}, {"crawl_id": "A b"}, "crawl id 'A b': use lower-case letters"),
        ({"PAGE_URL": "https://h/{id}"}, {}, "ONESHEET_PAGE_URL='https://h/{id}' needs the place {imdb_id}"),
        ({"PAGE_URL": "https://h/"}, {}, "ONESHEET_PAGE_URL='https://h/' needs the place {imdb_id}"),
        ({"REQUEST_TIMEOUT_S": "soon"}, {}, "ONESHEET_REQUEST_TIMEOUT_S='soon' is not valid"),
    ],
)
def test_what_could_never_work_is_told_before_the_first_request(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    arguments: dict[str, str],
    sentence: str,
) -> None:
    for name in ("CONTACT", "REHEARSAL"):
        monkeypatch.delenv(f"ONESHEET_{name}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"ONESHEET_{name}", value)
    (tmp_path / "films.csv").write_text(HEADER + "1,,One,1,Drama,\n")
    given = {"catalog": str(tmp_path / "films.csv"), "store": str(tmp_path / "store")} | arguments
    with pytest.raises(OnesheetError) as caught:
        PostersSpider.check(**given)
    assert sentence in str(caught.value)


def test_a_store_that_fails_at_once_is_told_in_one_sentence(tmp_path: Path, finish: Finish) -> None:
    (tmp_path / "films.csv").write_text(HEADER + "1,,One,1,Drama,\n")
    (tmp_path / "crawls").touch()  # where a folder should be
    arguments = ("crawl", tmp_path / "films.csv", "--store", tmp_path, "--json")
    run = finish("onesheet", *arguments, rehearsal="http://127.0.0.1:1")
    _assert_one_sentence(run, "00000.parquet: Not a directory")
    assert "Not a directory" in json.loads(run.stdout.splitlines()[-1])["error"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_store_that_fails_in_the_middle_stops_with_one_sentence_and_the_next_run_finishes(
    well: tuple[Site, Path], small_disk: Path, finish: Finish
) -> None:
    site, catalog = well
    run = finish("onesheet", "crawl", catalog, "--store", small_disk, "--json", rehearsal=site.url)
    _assert_one_sentence(run, "No space left on device")
    assert "No space left on device" in json.loads(run.stdout.splitlines()[-1])["error"]
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    run = finish("onesheet", "crawl", catalog, "--store", small_disk, "--json", rehearsal=site.url)
    summary = json.loads(run.stdout.splitlines()[-1])
    assert (run.returncode, summary["stored"], summary["open"]) == (0, 39, 0)
    assert len(_posters(small_disk)) == 39
