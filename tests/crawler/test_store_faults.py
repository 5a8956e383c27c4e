"""Crawls whose store fails in the middle: away for a while, away for good, full, or never there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from crawler.site.content import SiteContent
from crawler.site.faults import Faults
from crawler.site.server import Site, running_site
from tests.crawler.harvests import (
    Finish,
    Harvest,
    Start,
    assert_fails_in_one_sentence,
    crawl,
    ending,
    last_json,
    wait_until,
    write_ids,
)
from tests.crawler.outages import Gate, gate
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server

pytestmark = pytest.mark.fault

TITLES = 40
NAME = "films"


@dataclass(frozen=True)
class Far:
    """A store on an S3 server behind a gate, and a site that is slow enough to close the gate in the middle."""

    store: str
    gate: Gate
    site: Site
    catalog: Path
    harvest: Harvest


@pytest.fixture
def far(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Far]:
    with (
        gate(moto_server.endpoint_url) as found,
        running_site(titles=TITLES, faults=Faults.parse("slow=1", slow_s=0.8)) as site,
    ):
        store = fresh_bucket(replace(moto_server, endpoint_url=found.url), monkeypatch) + "/films"
        catalog = write_ids(tmp_path / "ids.txt", SiteContent.invented(TITLES).titles)
        yield Far(store, found, site, catalog, Harvest(store, NAME))


def test_a_store_that_is_away_for_a_while_is_waited_for(far: Far, start: Start) -> None:
    """First its port is closed, then it takes what it is sent and does not answer, as a stopped process does."""
    options = ("-a", f"crawl_id={NAME}")
    with ending(crawl(start, far.catalog, far.store, *options, rehearsal=far.site.url)) as process:
        for is_deaf in (False, True):
            before = len(far.harvest.posters)
            wait_until(process, lambda: len(far.harvest.posters) > before)  # noqa: B023
            far.gate.close(is_deaf=is_deaf)
            time.sleep(3)
            assert process.poll() is None
            far.gate.open()
        _, remarks = process.communicate(timeout=150)
    assert process.returncode == 0, remarks
    assert "Traceback" not in remarks
    far.harvest.assert_whole(TITLES)
    # What was fetched while the store was away was kept, and not asked for again.
    assert {count for path, count in far.site.requests().items() if path.startswith("/images/")} == {1}


def test_a_store_that_stays_away_ends_the_crawl_in_one_sentence_and_the_next_run_finishes_it(
    far: Far, start: Start, finish: Finish
) -> None:
    options = ("-a", f"crawl_id={NAME}", "-s", "STORE_PATIENCE_S=2")
    with ending(crawl(start, far.catalog, far.store, *options, rehearsal=far.site.url)) as process:
        wait_until(process, lambda: far.harvest.posters)
        far.gate.close()
        out, remarks = process.communicate(timeout=150)
    run = subprocess.CompletedProcess([], process.returncode, out, remarks)
    assert_fails_in_one_sentence(run, f"the crawl stops: {far.store} at {far.gate.url} cannot be reached")
    far.gate.open()
    run = crawl(finish, far.catalog, far.store, *options, rehearsal=far.site.url)
    assert run.returncode == 0, run.stderr
    far.harvest.assert_whole(TITLES)


def test_a_store_that_fails_at_once_is_told_in_one_sentence(tmp_path: Path, finish: Finish) -> None:
    (tmp_path / "store").touch()  # where a folder should be
    catalog = write_ids(tmp_path / "ids.txt", ["tt0000001"])
    arguments = ("crawl", catalog, "--store", tmp_path / "store", "--json")
    run = finish("onesheet", *arguments, rehearsal="http://127.0.0.1:1")
    assert_fails_in_one_sentence(run, "cannot be written: File exists; set ONESHEET_STORE")
    assert "File exists" in last_json(run)["error"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a small disk needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_crawl_in_one_sentence_and_the_next_run_finishes_it(
    small_disk: Path, tmp_path: Path, finish: Finish
) -> None:
    with running_site(titles=TITLES, write_catalog=tmp_path / "films.csv") as site:
        command = ("crawl", tmp_path / "films.csv", "--store", small_disk, "--json")
        run = finish("onesheet", *command, rehearsal=site.url)
        sentence = f"no space left on the device of {small_disk}; free some, then run the same command again"
        assert_fails_in_one_sentence(run, sentence)
        assert sentence in last_json(run)["error"]
        assert not list(small_disk.rglob("*.part"))

        subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
        run = finish("onesheet", *command, rehearsal=site.url)
        assert run.returncode == 0, run.stderr
    Harvest(small_disk).assert_whole(TITLES)
