"""Crawls that are killed, interrupted, doubled, limited or repeated: no title lost, none counted or paid for twice."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from crawler.ledger import iter_ledger
from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.server import running_site
from tests.crawler.harvests import Finish, Harvest, Start, crawl, ending, last_json, wait_until, write_ids
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server

NAME = "films"
_NAMED = ("-a", f"crawl_id={NAME}")


def _stored_now(harvest: Harvest) -> dict[str, dict[str, Any]]:
    """The rows of stored posters that are in the store, whatever else runs."""
    tables = iter_ledger(harvest.store, harvest.crawl_id)
    return {row["imdb_id"]: row for table in tables for row in table.to_pylist() if row["outcome"] == "stored"}


def _images(requests: dict[str, int]) -> dict[str, int]:
    return {path: count for path, count in requests.items() if path.startswith("/images/")}


@pytest.mark.slow
@pytest.mark.fault
def test_a_crawl_that_is_killed_again_and_again_loses_no_title_and_fetches_no_recorded_poster_again(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    catalog, harvest = tmp_path / "films.csv", Harvest(tmp_path / "store", NAME)
    rng = random.Random(7)
    kept: dict[str, dict[str, Any]] = {}
    # A hundred titles in about six seconds; the first rows are in the store after three.
    with running_site(titles=100, faults=Faults.parse("slow=1", slow_s=0.7), write_catalog=catalog) as site:
        for kill in range(2):
            with ending(crawl(start, catalog, tmp_path / "store", *_NAMED, rehearsal=site.url)) as process:
                before = len(harvest.posters)
                wait_until(process, lambda: len(harvest.posters) > before)  # noqa: B023
                if kill:
                    wait_until(process, lambda: len(_stored_now(harvest)) > len(kept))  # noqa: B023
                time.sleep(rng.uniform(0, 0.7))
                process.kill()
            recorded = _stored_now(harvest)
            assert {key: recorded[key] for key in kept} == kept
            assert set(recorded) <= harvest.posters
            kept = recorded
        assert kept
        asked = _images(site.requests())
        run = crawl(finish, catalog, tmp_path / "store", *_NAMED, rehearsal=site.url)
        requests = _images(site.requests())
    assert run.returncode == 0, run.stderr
    harvest.assert_whole(100)
    assert {key: harvest.stored[key] for key in kept} == kept
    # What was recorded when it was killed is not asked for again.
    paths = {urlsplit(row["url"]).path for row in kept.values()}
    assert {path: requests[path] for path in paths} == {path: asked[path] for path in paths}
    assert max(requests.values()) <= 4


def test_a_poster_whose_row_was_lost_is_taken_from_the_store_where_no_source_has_it_any_more(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    catalog, harvest = write_ids(tmp_path / "ids.txt", ["tt9900001", "tt9900002"]), Harvest(tmp_path / "store", NAME)
    first = SiteContent.invented(2).poster_bytes("tt9900001") or b""
    harvest.store.put("posters/tt9900001.jpg", first)
    with running_site(titles=2, faults=Faults.parse("not_found=1")) as site:
        run = crawl(finish, catalog, tmp_path / "store", *_NAMED, rehearsal=site.url)
    assert run.returncode == 0, run.stderr
    assert harvest.outcomes == {"tt9900001": "stored", "tt9900002": "not_found"}
    assert harvest.rows["tt9900001"]["source"] == "store"
    harvest.assert_whole(2)


@pytest.mark.fault
def test_ctrl_c_ends_a_crawl_with_a_summary_and_its_name_alone_completes_it(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    catalog, harvest = tmp_path / "films.csv", Harvest(tmp_path / "store", NAME)
    command = ("onesheet", "crawl", catalog, "--store", tmp_path / "store", "--crawl-id", NAME, "--json")
    with running_site(titles=150, faults=Faults.parse("slow=1", slow_s=0.6), write_catalog=catalog) as site:
        with ending(start(*command, rehearsal=site.url)) as process:
            wait_until(process, lambda: harvest.posters)
            process.send_signal(signal.SIGINT)
            out, remarks = process.communicate(timeout=100)
        assert process.returncode == 1, remarks
        assert "Traceback" not in remarks
        run = subprocess.CompletedProcess([], 1, out, remarks)
        assert last_json(run)["error"].endswith("run the same command again to go on")
        summary = harvest.summary
        assert (summary["finish_reason"], summary["finished"]) == ("shutdown", False)
        assert summary["stored"] == len(harvest.posters) > 0
        assert summary["open"] == 150 - summary["stored"] - summary["rejected"] > 0

        # The catalogue lies in the store: its name is enough.
        run = finish("scrapy", "crawl", "posters", *_NAMED, "-a", f"store={tmp_path / 'store'}", rehearsal=site.url)
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    harvest.assert_whole(150)
    assert set(_images(requests).values()) == {1}


@pytest.mark.fault
def test_a_pause_with_a_job_folder_goes_on_without_asking_for_anything_twice(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    catalog = write_ids(tmp_path / "ids.txt", SiteContent.invented(120).titles)
    harvest = Harvest(tmp_path / "store", NAME)
    options = (*_NAMED, "-s", f"JOBDIR={tmp_path / 'job'}")
    with running_site(titles=120, faults=Faults.parse("slow=1", slow_s=1)) as site:
        # Two pauses, each while title pages are asked for: their posters are still fetched.
        for _ in range(2):
            with ending(crawl(start, catalog, tmp_path / "store", *options, rehearsal=site.url)) as process:
                before = sum(site.requests().values())
                wait_until(process, lambda: sum(site.requests().values()) > before + 12)  # noqa: B023
                process.send_signal(signal.SIGINT)
                _, remarks = process.communicate(timeout=100)
                assert process.returncode in (0, 1)
                assert "Traceback" not in remarks
        assert harvest.summary["open"] > 0
        run = crawl(finish, catalog, tmp_path / "store", *options, rehearsal=site.url)
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    harvest.assert_whole(120)
    assert {count for path, count in requests.items() if path != "/robots.txt"} == {1}


@pytest.mark.fault
def test_a_kill_after_a_pause_with_a_job_folder_leaves_no_title_open(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    """What was under way is asked for anew, and so is what failed in passing."""
    catalog = write_ids(tmp_path / "ids.txt", SiteContent.invented(100).titles)
    harvest = Harvest(tmp_path / "store", NAME)
    options = (*_NAMED, "-s", f"JOBDIR={tmp_path / 'job'}", "-s", "RETRY_TIMES=0")
    with running_site(titles=100, faults=Faults.parse("slow=0.8,unavailable=0.2", slow_s=1)) as site:
        for number in (signal.SIGINT, signal.SIGKILL):
            with ending(crawl(start, catalog, tmp_path / "store", *options, rehearsal=site.url)) as process:
                before = sum(site.requests().values())
                wait_until(process, lambda: sum(site.requests().values()) > before + 12)  # noqa: B023
                process.send_signal(number)
                process.communicate(timeout=100)
        run = crawl(finish, catalog, tmp_path / "store", *options, rehearsal=site.url)
        assert run.returncode == 0, run.stderr
        harvest.assert_whole(100)
        passing = [imdb_id for imdb_id, outcome in harvest.outcomes.items() if outcome == "server_error"]
        assert passing
        site.reset()
        run = crawl(finish, catalog, tmp_path / "store", *options, rehearsal=site.url)
        assert {f"/title/{imdb_id}/" for imdb_id in passing} <= set(site.requests())
    assert run.returncode == 0, run.stderr
    harvest.assert_whole(100)


def _two_at_once(start: Start, catalog: Path, store: str, url: str) -> None:
    def started() -> subprocess.Popen[str]:
        return crawl(start, catalog, store, rehearsal=url)

    with ending(started()) as one, ending(started()) as other:
        for process in (one, other):
            _, remarks = process.communicate(timeout=150)
            assert process.returncode == 0, remarks
            assert "Traceback" not in remarks
    Harvest(store).assert_whole(40)
    assert Harvest(store).summary["stored"] == 38


@pytest.mark.fault
def test_two_crawls_of_a_catalogue_at_once_leave_each_title_one_row(tmp_path: Path, start: Start) -> None:
    with running_site(titles=40, faults=Faults.parse("slow=0.5,not_found=0.03", slow_s=0.5)) as site:
        catalog = write_ids(tmp_path / "ids.txt", SiteContent.invented(40).titles)
        _two_at_once(start, catalog, str(tmp_path / "store"), site.url)


@pytest.mark.fault
def test_two_crawls_at_once_into_object_storage_leave_each_title_one_row(
    tmp_path: Path, start: Start, swift_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fresh_bucket(swift_server, monkeypatch)
    with running_site(titles=40, faults=Faults.parse("slow=0.5,not_found=0.03", slow_s=0.5)) as site:
        catalog = write_ids(tmp_path / "ids.txt", SiteContent.invented(40).titles)
        _two_at_once(start, catalog, f"{url}/films", site.url)


def test_a_repeated_crawl_asks_for_nothing_and_a_refresh_only_for_what_changed(tmp_path: Path, finish: Finish) -> None:
    catalog, store = tmp_path / "films.csv", tmp_path / "store"
    with running_site(titles=40, write_catalog=catalog) as site:
        assert crawl(finish, catalog, store, rehearsal=site.url).returncode == 0
        first, asked = Harvest(store).rows, site.requests()
        assert len(Harvest(store).stored) == 39
        site.reset()
        assert crawl(finish, catalog, store, rehearsal=site.url).returncode == 0
        assert site.requests() == {}

    # Another day: each tenth poster is another, one is gone with its page, and one host has a bad moment.
    gone, ill = "tt9900002", "tt9900003"
    faults = Faults(named={gone: Fault.NOT_FOUND, ill: Fault.BLOCKED})
    with running_site(titles=40, revision=1, faults=faults) as site:
        run = crawl(finish, catalog, store, "-a", "refresh=0", rehearsal=site.url)
        again = site.requests()
    assert run.returncode == 0, run.stderr
    harvest = Harvest(store)
    harvest.assert_whole(40)
    rows = harvest.rows
    changed = {imdb_id for imdb_id, row in rows.items() if row["sha256"] != first[imdb_id]["sha256"]}
    assert changed == {f"tt99000{number}0" for number in (1, 2, 3, 4)}
    assert {imdb_id for imdb_id in rows if rows[imdb_id]["fetched_at"] == first[imdb_id]["fetched_at"]} == {gone, ill}
    assert (rows[gone], rows[ill]) == (first[gone], first[ill])
    # The 33 others were asked with their conditions, and answered that nothing is new; no page was asked for that.
    assert f"'downloader/response_status_count/304': {39 - 4 - 2}" in run.stderr
    assert {path for path in again if path.startswith("/title/")} == {f"/title/{key}/" for key in (gone, "tt9900007")}
    assert set(_images(again)) >= set(_images(asked))


def test_another_catalogue_with_the_same_titles_pays_for_no_poster_again(tmp_path: Path, finish: Finish) -> None:
    ids = list(SiteContent.invented(40).titles)
    first, second = write_ids(tmp_path / "first.txt", ids[:25]), write_ids(tmp_path / "second.txt", ids[15:])
    with running_site(titles=40) as site:
        assert crawl(finish, first, tmp_path / "store", "-a", "crawl_id=first", rehearsal=site.url).returncode == 0
        site.reset()
        run = crawl(finish, second, tmp_path / "store", "-a", "crawl_id=second", rehearsal=site.url)
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    one, other = Harvest(tmp_path / "store", "first"), Harvest(tmp_path / "store", "second")
    assert {path.split("/")[2] for path in requests if path.startswith("/title/")} == set(ids[25:])
    assert (one.summary["titles"], other.summary["titles"], other.summary["open"]) == (25, 25, 0)
    assert {key: other.rows[key] for key in ids[15:25]} == {key: one.rows[key] for key in ids[15:25]}
    assert one.posters == set(one.stored) | set(other.stored)


@pytest.mark.fault
def test_a_budget_ends_the_crawl_well_and_the_next_run_goes_on(tmp_path: Path, finish: Finish) -> None:
    catalog, harvest = tmp_path / "films.csv", Harvest(tmp_path / "store")
    command = ("onesheet", "crawl", catalog, "--store", tmp_path / "store", "--json")
    with running_site(titles=250, faults=Faults.parse("slow=1", slow_s=0.7), write_catalog=catalog) as site:
        summaries = []
        for option in (("--max-titles", 11), ("--max-minutes", 0.02), ("--max-bytes", "200kB")):
            run = finish(*command, *option, rehearsal=site.url)
            assert run.returncode == 0, run.stderr
            assert "the budget is used up" in run.stderr or "the budget of titles is used up" in run.stderr
            summaries.append(last_json(run))
            assert harvest.posters == set(harvest.stored)
        run = finish(*command, rehearsal=site.url)
        requests = site.requests()
    titles, late, more = summaries
    assert {(each["finish_reason"], each["finished"], each["titles"]) for each in summaries} == {("budget", False, 250)}
    assert titles["stored"] + titles["rejected"] == 11
    assert late["seconds"] < 15
    # What was under way when the bytes were spent comes on top: 48 posters at most.
    assert 200_000 <= more["bytes"] - late["bytes"] < 2_500_000
    assert run.returncode == 0, run.stderr
    harvest.assert_whole(250)
    assert set(_images(requests).values()) == {1}
