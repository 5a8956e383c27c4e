"""Crawls as shards over a real Ray cluster: killed, interrupted, limited, and whole in the end."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cluster.job_server import job_client
from cluster.nodes import LocalCluster, connect, local_cluster
from cluster.settings import load_settings
from cluster.store import FolderStore
from crawler.crawl import list_crawls
from crawler.fleet import run_fleet
from crawler.ledger import known, read_ledger
from crawler.options import read_options
from crawler.plan import make_plan
from crawler.site.faults import Faults
from crawler.site.server import Site, running_site
from tests.processes import running

pytestmark = [pytest.mark.fault, pytest.mark.timeout(200)]

Start = Callable[..., subprocess.Popen[str]]
Finish = Callable[..., subprocess.CompletedProcess[str]]
NAME = "films"
TITLES = 200
WRONG_KEY = "not-the-sites-token"


@pytest.fixture(scope="module")
def ray_head() -> Iterator[LocalCluster]:
    """A cluster of two CPUs, whose nodes have a key of their own, and a wrong one."""
    with local_cluster(num_cpus=2, environment={"ONESHEET_TMDB_TOKEN": WRONG_KEY}) as cluster:
        yield cluster


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A site, its catalogue, an empty store, and the cluster that crawls it."""

    site: Site
    catalog: Path
    store: FolderStore
    settings: dict[str, str]

    def command(self, *more: object, shards: int = 2) -> tuple[object, ...]:
        """`onesheet crawl` as shards, with its summary as JSON."""
        given = ("--store", self.store.root, "--crawl-id", NAME, "--workers", shards, "--json", *more)
        return ("onesheet", "crawl", self.catalog, *given)

    def shards(self) -> dict[str, psutil.Process]:
        """The processes that crawl now, by the name of their task, and not those of another Ray on this machine."""
        own = (
            node for node, words in running().items() if "/raylet" in words and self.settings["ray_address"] in words
        )
        workers = running(worker for node in own for worker in node.children())
        names = {words.strip().removeprefix("ray::"): process for process, words in workers.items()}
        return {name: process for name, process in names.items() if name.startswith("crawl shard ")}

    def assert_whole(self, titles: int) -> None:
        """Every title has one row, every poster its row, and the summary the same counts."""
        rows = read_ledger(self.store, NAME).to_pylist()
        stored = {row["imdb_id"] for row in rows if row["outcome"] == "stored"}
        (summary,) = list_crawls(self.store)
        assert len(rows) == len({row["imdb_id"] for row in rows}) == titles
        assert {f"posters/{imdb_id}.jpg" for imdb_id in stored} == set(self.store.list("posters/"))
        assert (summary["stored"], summary["stored"] + summary["rejected"]) == (len(stored), titles)


@pytest.fixture
def rehearse(tmp_path: Path, ray_head: LocalCluster) -> Iterator[Callable[..., Rehearsal]]:
    """Start a site of `titles` films, each slow by `slow_s` seconds."""
    with _rehearsals(tmp_path, ray_head.environment()) as make:
        yield make


@contextlib.contextmanager
def _rehearsals(folder: Path, cluster: dict[str, str]) -> Iterator[Callable[..., Rehearsal]]:
    with contextlib.ExitStack() as stack:

        def make(titles: int = TITLES, faults: str = "slow=1", slow_s: float = 0.3) -> Rehearsal:
            catalog, misbehave = folder / "films.csv", Faults.parse(faults, slow_s=slow_s)
            site = stack.enter_context(running_site(titles=titles, faults=misbehave, write_catalog=catalog))
            settings = {"ray_address": cluster["ONESHEET_RAY_ADDRESS"], "rehearsal": site.url}
            return Rehearsal(site, catalog, FolderStore(folder / "store"), settings)

        yield make


def _done(rehearsal: Rehearsal) -> int:
    return len(known(rehearsal.store, NAME, refresh_before=None).done)


def _wait_until(process: subprocess.Popen[str], is_so: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert process.poll() is None, f"the crawl ended too early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _summary(output: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(output.splitlines()[-1])
    return found


def test_two_shards_bring_every_title_to_one_outcome_and_ask_each_address_once(
    rehearse: Callable[..., Rehearsal], finish: Finish
) -> None:
    rehearsal = rehearse(slow_s=0.05)
    run = finish(*rehearsal.command(), **rehearsal.settings)
    assert run.returncode == 0, run.stderr
    summary = _summary(run.stdout)
    assert (summary["titles"], summary["open"], summary["finish_reason"]) == (TITLES, 0, "finished")
    rehearsal.assert_whole(TITLES)
    requests = rehearsal.site.requests()
    assert {count for path, count in requests.items() if path != "/robots.txt"} == {1}
    assert run.stderr.splitlines()[-1].startswith(f"titles {TITLES}/{TITLES}: stored {summary['stored']}, rejected")
    assert "Traceback" not in run.stderr


def test_max_titles_counts_over_the_fleet_and_to_the_title(rehearse: Callable[..., Rehearsal], finish: Finish) -> None:
    rehearsal = rehearse(slow_s=0.01)
    run = finish(*rehearsal.command("--max-titles", 37), **rehearsal.settings)
    assert run.returncode == 0, run.stderr
    assert _summary(run.stdout)["finish_reason"] == "budget"
    rehearsal.assert_whole(37)


def test_a_shard_whose_process_is_killed_is_started_again_and_only_what_was_unrecorded_is_asked_twice(
    rehearse: Callable[..., Rehearsal], start: Start
) -> None:
    rehearsal = rehearse()
    with start(*rehearsal.command(), **rehearsal.settings) as process:
        _wait_until(process, lambda: _done(rehearsal) and len(rehearsal.shards()) == 2)
        kept = {row["imdb_id"]: row for row in read_ledger(rehearsal.store, NAME).to_pylist()}
        rehearsal.shards()["crawl shard 0"].kill()
        _, remarks = process.communicate(timeout=120)
    assert process.returncode == 0, remarks
    assert "shard 0 is started again" in remarks
    assert "Traceback" not in remarks
    rehearsal.assert_whole(TITLES)
    requests = rehearsal.site.requests()
    addresses = {urlsplit(row["url"]).path for row in kept.values() if row["outcome"] == "stored"}
    assert {requests[address] for address in addresses} == {1}
    assert max(count for path, count in requests.items() if path != "/robots.txt") <= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_shards_with_the_ledger_whole_and_the_next_run_completes_it(
    rehearse: Callable[..., Rehearsal], start: Start, finish: Finish, number: signal.Signals
) -> None:
    rehearsal = rehearse()
    with start(*rehearsal.command(), **rehearsal.settings) as process:
        _wait_until(process, lambda: list(rehearsal.store.list("posters/")))
        process.send_signal(number)
        sent_at = time.monotonic()
        out, remarks = process.communicate(timeout=60)
        took_s = time.monotonic() - sent_at
    assert process.returncode == 1, remarks
    assert "Traceback" not in remarks
    assert str(_summary(out)["error"]).endswith("run the same command again to go on")
    (summary,) = list_crawls(rehearsal.store)
    assert (summary["finish_reason"], summary["finished"]) == ("shutdown", False)
    assert 0 < summary["stored"] + summary["rejected"] < TITLES
    rehearsal.assert_whole(summary["stored"] + summary["rejected"])
    assert took_s < 15
    assert not rehearsal.shards()

    run = finish(*rehearsal.command(), **rehearsal.settings)
    assert run.returncode == 0, run.stderr
    rehearsal.assert_whole(TITLES)
    requests = rehearsal.site.requests()
    assert {count for path, count in requests.items() if path.startswith("/images/")} == {1}


def test_a_job_that_is_stopped_leaves_the_ledger_whole(
    rehearse: Callable[..., Rehearsal], ray_head: LocalCluster, finish: Finish
) -> None:
    rehearsal = rehearse()
    client = job_client(ray_head.dashboard_url)
    command = shlex.join(str(part) for part in rehearsal.command("--sources", "listed,page"))
    job = client.submit_job(
        entrypoint=command, runtime_env={"env_vars": {"ONESHEET_REHEARSAL": rehearsal.settings["rehearsal"]}}
    )
    deadline = time.monotonic() + 60
    while not list(rehearsal.store.list("posters/")):
        assert time.monotonic() < deadline, client.get_job_logs(job)
        time.sleep(0.1)
    client.stop_job(job)
    while not client.get_job_status(job).is_terminal():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while rehearsal.shards():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.get_job_status(job) == "STOPPED"
    assert "Traceback" not in client.get_job_logs(job)
    (summary,) = list_crawls(rehearsal.store)
    assert summary["finish_reason"] == "shutdown"
    assert 0 < summary["stored"] < TITLES
    run = finish(*rehearsal.command(), **rehearsal.settings)
    assert run.returncode == 0, run.stderr
    rehearsal.assert_whole(TITLES)


def test_shards_end_when_their_driver_is_killed_and_what_they_recorded_counts(
    rehearse: Callable[..., Rehearsal], start: Start, finish: Finish
) -> None:
    rehearsal = rehearse()
    with start(*rehearsal.command(), **rehearsal.settings) as process:
        _wait_until(process, lambda: _done(rehearsal))
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 20
    while left := rehearsal.shards():
        assert time.monotonic() < deadline, f"still crawling: {left}"
        time.sleep(0.1)
    before = _done(rehearsal)
    assert 0 < before < TITLES
    run = finish(*rehearsal.command(), **rehearsal.settings)
    assert run.returncode == 0, run.stderr
    rehearsal.assert_whole(TITLES)


@pytest.mark.parametrize("shards", [1, 2])
def test_the_rate_at_a_host_is_the_fleets(
    rehearse: Callable[..., Rehearsal], ray_head: LocalCluster, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    rehearsal = rehearse(titles=80, slow_s=0.01)
    for name, value in rehearsal.settings.items():
        monkeypatch.setenv(f"ONESHEET_{name.upper()}", value)
    monkeypatch.setenv("RAY_AUTH_MODE", ray_head.environment()["RAY_AUTH_MODE"])
    given = {"catalog": str(rehearsal.catalog), "store": str(rehearsal.store.root), "crawl_id": NAME, "sources": "page"}
    delay_s = 0.1
    slots = {"www.imdb.com": {"concurrency": 4, "delay": delay_s}}
    politely = {"AUTOTHROTTLE_ENABLED": True, "AUTOTHROTTLE_START_DELAY": 0.05, "DOWNLOAD_SLOTS": slots}
    with connect(load_settings()):
        summary = run_fleet(make_plan(read_options(**given)), shards, politely)
    assert (summary["titles"], summary["open"]) == (80, 0)
    times = sorted(rehearsal.site.times()["title"])
    assert len(times) == 80
    # Scrapy varies each delay by half; over any three seconds that comes to little.
    most = max(sum(began <= at < began + 3 for at in times) for began in times)
    assert most <= 3 / delay_s * 1.2 + shards
    assert times[-1] - times[0] > 79 * delay_s * 0.9
    assert times[-1] - times[0] < 79 * delay_s * 2.5


def test_a_wrong_key_ends_the_fleet_with_one_sentence_that_does_not_show_it(
    rehearse: Callable[..., Rehearsal], finish: Finish
) -> None:
    rehearsal = rehearse(titles=50, slow_s=0)
    # The driver's key is not sent to the nodes.
    settings = {**rehearsal.settings, "tmdb_token": "the-drivers-own"}
    run = finish(*rehearsal.command("--sources", "tmdb"), **settings)
    assert run.returncode == 1
    assert str(_summary(run.stdout)["error"]).startswith("tmdb refuses the key (HTTP 401): correct ONESHEET_TMDB_TOKEN")
    assert "Traceback" not in run.stderr
    (summary,) = list_crawls(rehearsal.store)
    assert (summary["finish_reason"], summary["stored"]) == ("wrong_key", 0)
    assert WRONG_KEY not in run.stdout + run.stderr


def test_a_host_that_only_blocks_ends_the_fleet(rehearse: Callable[..., Rehearsal], finish: Finish) -> None:
    rehearsal = rehearse(titles=300, faults="blocked=1")
    run = finish(*rehearsal.command("--sources", "page"), **rehearsal.settings)
    assert run.returncode == 1
    assert str(_summary(run.stdout)["error"]).startswith("the crawl ended early (blocked) with ")
    assert "block pages (challenge) in a row" in run.stderr
    assert sum(count for path, count in rehearsal.site.requests().items() if path.startswith("/title/")) < 200
