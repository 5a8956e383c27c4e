"""Whole crawls along the chain of sources: listed, TMDB, OMDb, title page, a folder, and a stranger's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.settings import as_environment, load_settings
from crawler.ledger import read_ledger
from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.server import running_site
from crawler.titles import Kind
from tests.crawler.conftest import ROOT
from tests.crawler.harvests import (
    Finish,
    Harvest,
    Run,
    Start,
    assert_fails_in_one_sentence,
    crawl,
    ending,
    last_json,
    wait_until,
    write_ids,
    write_movie_genre,
)

TOKEN = "tmdb.S3cret-Token_of_nobody"
# As odd as a key can be: in a URL it is written otherwise.
KEY = "omdb+S3cret/key&of=nobody"
GONE = "https://m.media-amazon.com/images/M/gone@._V1_.jpg"
_TITLES = SiteContent.invented(30)
SERIES, EPISODE, GAME, POSTERLESS = "tt9900004", "tt9900011", "tt9900028", "tt9900007"
# What each title of the chain's catalogue is listed with, does, and where its poster comes from.
LISTED, GONE_THERE, UNLISTED, UNPICTURED, LATE = "tt9900001", "tt9900002", "tt9900003", "tt9900005", "tt9900006"
_CHAIN = {
    LISTED: "listed",
    GONE_THERE: "tmdb",
    UNLISTED: "page",
    UNPICTURED: "page",
    LATE: "tmdb",
    SERIES: "tmdb",
    EPISODE: "page",
    GAME: "page",
    POSTERLESS: "page",
}


@dataclass(frozen=True)
class Chained:
    """A crawl with `listed`, `tmdb` and `page`, which is the default where there is a token."""

    harvest: Harvest
    run: Run
    requests: dict[str, int]
    times: dict[str, list[float]]


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory, finish: Finish) -> Chained:
    folder = tmp_path_factory.mktemp("chained")
    good = _TITLES.image_url(LISTED) or ""
    rows = [(LISTED, good), *((imdb_id, GONE) for imdb_id in _CHAIN if imdb_id != LISTED)]
    named = {UNLISTED: Fault.UNLISTED, UNPICTURED: Fault.UNPICTURED, LATE: Fault.RATE_LIMITED}
    with running_site(titles=30, faults=Faults(named=named), tmdb_token=TOKEN) as site:
        catalog = write_movie_genre(folder / "films.csv", rows)
        run = crawl(finish, catalog, folder / "store", rehearsal=site.url, tmdb_token=TOKEN)
        return Chained(Harvest(folder / "store"), run, site.requests(), site.times())


def test_each_title_falls_to_the_next_source_until_one_has_its_poster(chained: Chained) -> None:
    assert chained.run.returncode == 0, chained.run.stderr
    assert {imdb_id: row["source"] for imdb_id, row in chained.harvest.rows.items()} == _CHAIN
    assert chained.harvest.outcomes == dict.fromkeys(_CHAIN, "stored") | {POSTERLESS: "no_poster"}
    assert chained.harvest.summary["sources"] == {"page": 4, "tmdb": 3, "listed": 1}
    chained.harvest.assert_whole(len(_CHAIN))


def test_a_title_without_a_poster_tells_what_each_source_said(chained: Chained) -> None:
    detail = chained.harvest.rows[POSTERLESS]["detail"]
    assert [part.split(":")[0] for part in detail.split("; ")] == ["listed", "tmdb", "page"]


def test_a_title_that_an_earlier_source_has_is_asked_of_no_other(chained: Chained) -> None:
    assert f"/3/find/{LISTED}" not in chained.requests
    assert not any(f"/title/{imdb_id}/" in chained.requests for imdb_id in (LISTED, GONE_THERE, SERIES))


def test_tmdbs_poster_comes_at_a_width_that_gives_the_wanted_height(chained: Chained) -> None:
    row = chained.harvest.rows[GONE_THERE]
    assert "/t/p/w500/" in row["url"]
    assert row["width_px"] == 500


def test_tmdb_tells_films_and_series_apart(chained: Chained) -> None:
    rows = chained.harvest.rows
    assert (rows[GONE_THERE]["page_kind"], rows[SERIES]["page_kind"]) == (Kind.FILM, Kind.SERIES)
    assert (rows[EPISODE]["page_kind"], rows[GAME]["page_kind"]) == (Kind.EPISODE, Kind.GAME)


@pytest.mark.fault
def test_tmdbs_retry_after_is_waited_for(tmp_path: Path, finish: Finish) -> None:
    ids = list(_TITLES.titles)[:3]
    with running_site(titles=30, tmdb_token=TOKEN, tmdb_rate=1) as site:
        given = {"rehearsal": site.url, "tmdb_token": TOKEN}
        slowly = ("-a", "sources=tmdb", "-s", "RETRY_TIMES=9", "-s", "CONCURRENT_REQUESTS=1")
        run = crawl(finish, write_ids(tmp_path / "ids.txt", ids), tmp_path / "store", *slowly, **given)
        times = site.times()["tmdb"]
    assert run.returncode == 0, run.stderr
    assert set(Harvest(tmp_path / "store").outcomes.values()) == {"stored"}
    # Every title but the first was refused once, and asked for again a second later.
    assert len(times) == 5
    assert times[2] - times[1] >= 1 <= times[4] - times[3]


@pytest.mark.fault
def test_a_wrong_tmdb_token_stops_the_crawl_and_the_right_one_finishes_it_in_the_order_of_the_user(
    tmp_path: Path, finish: Finish
) -> None:
    catalog, store = tmp_path / "films.csv", tmp_path / "store"
    with running_site(titles=60, tmdb_token=TOKEN, tmdb_rate=1000, write_catalog=catalog) as site:
        command = ("crawl", catalog, "--store", store, "--sources", "tmdb,listed,page", "--json")
        wrong = finish("onesheet", *command, rehearsal=site.url, tmdb_token="not-the-token")
        asked = [path for path in site.requests() if path.startswith("/3/find/")]
        early = Harvest(store).summary
        right = finish("onesheet", *command, rehearsal=site.url, tmdb_token=TOKEN)
    sentence = "tmdb refuses the key (HTTP 401): correct ONESHEET_TMDB_TOKEN, or leave tmdb out of --sources"
    assert_fails_in_one_sentence(wrong, sentence)
    assert sentence in last_json(wrong)["error"]
    assert "not-the-token" not in wrong.stdout + wrong.stderr
    assert len(asked) < 60
    assert (early["finish_reason"], early["finished"], early["stored"]) == ("wrong_key", False, 0)
    assert early["open"] + early["reasons"].get("wrong_key", 0) == 60

    assert right.returncode == 0, right.stderr
    harvest = Harvest(store)
    harvest.assert_whole(60)
    known_by_tmdb = {Kind.FILM, Kind.SERIES}
    titles = SiteContent.invented(60).titles.values()
    of_tmdb = {title.imdb_id for title in titles if title.kind in known_by_tmdb and int(title.imdb_id[2:]) % 50 != 7}
    assert {imdb_id for imdb_id, row in harvest.stored.items() if row["source"] == "tmdb"} == of_tmdb


@pytest.mark.fault
def test_omdbs_quota_ends_the_source_and_not_the_crawl(tmp_path: Path, finish: Finish) -> None:
    ids = [title.imdb_id for title in _TITLES.titles.values()][:10]
    catalog = write_ids(tmp_path / "ids.txt", ids)
    alone, chain = ("-a", "sources=omdb"), ("-a", "sources=omdb,page")
    with running_site(titles=30, omdb_key=KEY, omdb_quota=4) as site:
        # One at a time: what is under way when the quota ends is no part of this test.
        given = {"rehearsal": site.url, "omdb_key": KEY}
        first = crawl(finish, catalog, tmp_path / "alone", *alone, "-s", "CONCURRENT_REQUESTS=1", **given)
        asked = [path for path in site.requests() if path.startswith("/?i=")]
        second = crawl(finish, catalog, tmp_path / "chain", *chain, **given)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    sentence = "omdb's daily quota is used up"
    assert (first.stderr.count(sentence), second.stderr.count(sentence)) == (1, 1)

    quota = [imdb_id for imdb_id, outcome in Harvest(tmp_path / "alone").outcomes.items() if outcome == "quota"]
    assert (len(quota), len(asked)) == (6, 5)
    Harvest(tmp_path / "alone").assert_whole(10)
    assert Harvest(tmp_path / "chain").summary["sources"] == {"page": 9}
    # Its page has no poster, but OMDb was not asked: tomorrow's run asks.
    assert Harvest(tmp_path / "chain").outcomes[POSTERLESS] == "quota"

    with running_site(titles=30, omdb_key=KEY) as site:
        run = crawl(finish, catalog, tmp_path / "alone", *alone, rehearsal=site.url, omdb_key=KEY)
        assert run.returncode == 0, run.stderr
        assert {path for path in site.requests() if path.startswith("/?i=")} == {f"/?i={imdb_id}" for imdb_id in quota}
    assert Harvest(tmp_path / "alone").summary["sources"] == {"omdb": 9}
    Harvest(tmp_path / "alone").assert_whole(10)


def _texts(folder: Path) -> Iterator[str]:
    """All files below a folder, those of Parquet as their rows."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".jpg":
            yield path.read_bytes().decode("latin-1")
    for ledger in folder.glob("**/crawls/*"):
        yield str(read_ledger(Harvest(ledger.parents[1]).store, ledger.name).to_pylist())


@pytest.mark.fault
def test_no_key_is_seen_anywhere(tmp_path: Path, start: Start, finish: Finish) -> None:
    """Not in the log at its most talkative, the job folder, the ledger, the export, or a Ray job."""
    # Mostly episodes, which TMDB does not find by their id, so that OMDb is asked too.
    episodes = [title.imdb_id for title in SiteContent.invented(400).titles.values() if title.kind is Kind.EPISODE]
    catalog, store = write_ids(tmp_path / "ids.txt", [LISTED, GONE_THERE, *episodes[:14]]), tmp_path / "store"
    said: list[str] = []
    options = ("-a", "sources=tmdb,omdb,page", "-L", "DEBUG", "-s", f"JOBDIR={tmp_path / 'job'}")
    files = ("-o", tmp_path / "items.jsonl", "--logfile", tmp_path / "log.txt")
    keys = {"tmdb_token": TOKEN, "omdb_key": KEY}
    slow = Faults(shares={Fault.SLOW: 1}, slow_s=1)
    with running_site(titles=400, faults=slow, tmdb_token=TOKEN, omdb_key=KEY) as site:
        with ending(crawl(start, catalog, store, *options, *files, rehearsal=site.url, **keys)) as process:
            wait_until(process, lambda: sum(path.startswith("/3/find/") for path in site.requests()) == 16)
            process.terminate()
            said += process.communicate(timeout=100)
        run = crawl(finish, catalog, store, *options, *files, rehearsal=site.url, **keys)
        assert run.returncode == 0, run.stderr
        said += [run.stdout, run.stderr]
        asked = site.requests()
    assert sum(path.startswith("/?i=") for path in asked) == 14
    assert Harvest(store).summary["sources"] == {"omdb": 14, "tmdb": 2}
    # Errors of the network name the address that was asked.
    quick = ("-a", "sources=omdb", "-L", "DEBUG", "-s", "RETRY_TIMES=0")
    run = crawl(finish, catalog, tmp_path / "deaf", *quick, rehearsal="http://127.0.0.1:1", **keys)
    said += [run.stdout, run.stderr]
    assert set(Harvest(tmp_path / "deaf").outcomes.values()) == {"unreachable"}
    texts = [*said, *_texts(tmp_path)]
    assert any("DEBUG" in text and "/3/find/" in text for text in texts)
    assert len(texts) > 12
    assert not [text[:300] for text in texts if "S3cret" in text]


def test_no_key_goes_with_a_ray_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESHEET_TMDB_TOKEN", TOKEN)
    monkeypatch.setenv("ONESHEET_OMDB_KEY", KEY)
    settings = load_settings(store="somewhere")
    assert as_environment(settings) == {"ONESHEET_STORE": "somewhere"}
    assert "S3cret" not in repr(settings) + settings.model_dump_json()


_OWN_SOURCE = '''
import re
from typing import ClassVar

from crawler.outcomes import Reason, Rejected
from crawler.sources import Found, HostLimit, Lookup, Source


class Museum(Source):
    """Posters of a museum that knows films by their IMDb id."""

    name = "museum"
    limits: ClassVar = {"museum.example": HostLimit(2, 0.5)}

    @classmethod
    def of(cls, setup):
        return cls()

    def locate(self, title):
        return Lookup(f"https://museum.example/title/{title.imdb_id}/")

    def read(self, title, answer):
        found = re.search(r'"image":"([^"]+)"', answer.body.decode())
        return Found((found[1],)) if found else Rejected(Reason.NO_POSTER, "the museum has none")
'''


def test_a_third_party_adds_a_source_in_one_file(tmp_path: Path, finish: Finish) -> None:
    (tmp_path / "my_source.py").write_text(_OWN_SOURCE)
    catalog = write_ids(tmp_path / "ids.txt", list(_TITLES.titles)[:6])
    with running_site(titles=30) as site:
        path = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
        command = ("crawl", catalog, "--store", tmp_path / "store", "--sources", "my_source:Museum", "--json")
        run = finish("onesheet", *command, env=path, rehearsal=site.url)
    assert run.returncode == 0, run.stderr
    assert last_json(run)["sources"] == {"museum": 6}
    Harvest(tmp_path / "store").assert_whole(6)


def test_a_folder_of_images_needs_no_network(tmp_path: Path, finish: Finish) -> None:
    """The one-hot catalogue with its posters on disk: no rehearsal, no contact, nothing to connect to."""
    ids = [imdb_id for imdb_id in _TITLES.titles if imdb_id != POSTERLESS][:12]
    (tmp_path / "Images").mkdir()
    for imdb_id in ids[:-2]:
        (tmp_path / "Images" / f"{imdb_id}.jpg").write_bytes(_TITLES.poster_bytes(imdb_id) or b"")
    (tmp_path / "Images" / f"{ids[-2]}.jpg").write_bytes(b"<!DOCTYPE html><html></html>")
    lines = ["Id,Genre,Action,Comedy,Drama", *(f"{imdb_id},\"['Drama']\",0,0,1" for imdb_id in ids)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    # Any request to another place would have to pass this proxy, which nobody listens at.
    proxies = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    # Nor is a disk a host that has to be asked slowly: at this pace it would take half an hour.
    slowly = ("-s", "AUTOTHROTTLE_START_DELAY=200")
    folder = ("-a", f"images={tmp_path / 'Images'}")
    run = crawl(finish, tmp_path / "train.csv", tmp_path / "store", *folder, *slowly, env=proxies)
    assert run.returncode == 0, run.stderr
    harvest = Harvest(tmp_path / "store")
    assert harvest.outcomes == dict.fromkeys(ids, "stored") | {ids[-1]: "not_found", ids[-2]: "html"}
    assert harvest.poster(ids[0]) == _TITLES.poster_bytes(ids[0])
    assert harvest.summary["sources"] == {"images": 10}
    harvest.assert_whole(12)
