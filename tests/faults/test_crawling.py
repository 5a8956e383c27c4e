"""A fleet goes on where a node dies, gets notice, is cut off for a minute, or has a full disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.errors import StoreError
from cluster.store import Store
from crawler.ledger import known
from crawler.site.faults import Faults
from crawler.site.server import Site, running_site
from tests.crawler.harvests import Harvest
from tests.crawler.outages import gate
from tests.faults.conftest import AWAY_S, SLOW_S, Command, Ground, measured

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(300)]

NAME = "films"
SHARD = "ray::crawl shard"


@dataclass
class Crawl:
    """A crawl of three shards, one on each node, of a site that takes its time."""

    ground: Ground
    store: Store
    command: Command
    site: Site
    titles: int

    @property
    def done(self) -> int:
        """The titles that have a row in the store."""
        return len(known(self.store, NAME, refresh_before=None).done)

    def rows_after(self, at_least: int, *, longest_s: float = 120) -> float:
        """Wait for more rows than these, also while the store is away, and tell when they were there."""

        def are_more() -> bool:
            with suppress(StoreError):
                return self.done > at_least
            return False

        self.command.until(are_more, longest_s=longest_s, what=f"more than {at_least} rows")
        return time.monotonic()

    @property
    def asked_again(self) -> int:
        """The requests for a poster that was asked for before: those whose row was lost, or whose answer never came."""
        asked = [count for path, count in self.site.requests().items() if path.startswith("/images/")]
        return sum(asked) - len(asked)

    def assert_whole(self) -> None:
        """Each title has one outcome, once the command has ended well."""
        result = self.command.end()
        assert (result["titles"], result["open"]) == (self.titles, 0)
        Harvest(self.store.url, NAME).assert_whole(self.titles)


@pytest.fixture
def crawl(ground: Ground, tmp_path: Path) -> Iterator[Crawl]:
    titles, catalog = 120, tmp_path / "films.csv"
    with ExitStack() as stack:
        slowly = Faults.parse("slow=1", slow_s=0.5)
        site = stack.enter_context(running_site(titles=titles, faults=slowly, write_catalog=catalog))
        door = stack.enter_context(gate(site.url, "0.0.0.0"))
        store = ground.store()
        where = ("--store", store.url, "--crawl-id", NAME, "--shards", 3, "--json")
        rehearsal = f"http://{ground.bed.host}:{door.port}"
        command = ground.onesheet("crawl", catalog, *where, rehearsal=rehearsal)
        found = Crawl(ground, store, command, site, titles)
        command.until(lambda: all(ground.titled(name, SHARD) for name in ground.bed.workers), what="shards everywhere")
        command.until(lambda: found.done, what="rows")
        yield found


def test_a_node_that_dies_costs_the_titles_in_flight(crawl: Crawl) -> None:
    before, died = crawl.done, time.monotonic()
    crawl.ground.bed.kill("worker1")
    went_on = crawl.command.when("is started again", since=died)
    lost = before - crawl.done
    crawl.assert_whole()
    figures = {"rows_lost": max(0, lost), "asked_again": crawl.asked_again, "shard_elsewhere_s": went_on - died}
    measured("crawl", "worker node killed", **figures)


def test_a_node_that_is_cut_off_for_a_minute_leaves_a_whole_ledger(crawl: Crawl) -> None:
    crawl.ground.need_network()
    crawl.ground.bed.cut("worker1")
    began = time.monotonic()
    time.sleep(AWAY_S)
    crawl.ground.bed.mend("worker1")
    mended = time.monotonic()
    crawl.assert_whole()
    ended = time.monotonic()
    again = [line for at, line in crawl.command.said if at > began and "started again" in line]
    figures = {"restarts": len(again), "asked_again": crawl.asked_again, "ended_s_after": ended - mended}
    measured("crawl", "node cut off for 60 s", **figures)


def test_a_node_with_notice_is_left_alone_and_its_shard_ends_elsewhere(crawl: Crawl) -> None:
    crawl.ground.bed.drain("worker1", deadline_s=10)
    noticed = time.monotonic()
    time.sleep(10)
    died = time.monotonic()
    crawl.ground.bed.kill("worker1")
    went_on = crawl.command.when("is started again", since=noticed)
    assert went_on > died, "a node with notice works on until it is gone"
    crawl.assert_whole()
    figures = {"asked_again": crawl.asked_again, "shard_elsewhere_s_after_death": went_on - died}
    measured("crawl", "drain notice of 10 s", **figures)


def test_a_full_disk_of_a_node_costs_nothing_that_the_store_has(crawl: Crawl) -> None:
    crawl.ground.need_disk()
    crawl.ground.bed.fill("worker1")
    full, before = time.monotonic(), crawl.done
    more = crawl.rows_after(before + 20)
    crawl.ground.bed.empty("worker1")
    crawl.assert_whole()
    again = [line for at, line in crawl.command.said if at > full and "started again" in line]
    figures = {"restarts": len(again), "asked_again": crawl.asked_again, "twenty_rows_more_s": more - full}
    measured("crawl", "disk full", **figures)


@pytest.mark.timeout(300 + SLOW_S)
def test_a_store_that_is_away_for_a_minute_and_then_slow_costs_the_minute(crawl: Crawl) -> None:
    before, away = crawl.done, time.monotonic()
    with ThreadPoolExecutor(1) as watcher:
        row = watcher.submit(crawl.rows_after, before, longest_s=AWAY_S + 60)
        back = crawl.ground.outage(crawl.command)
        went_on = row.result()
    crawl.assert_whole()
    ended = time.monotonic()
    again = [line for at, line in crawl.command.said if at > away and "started again" in line]
    figures = {"restarts": len(again), "asked_again": crawl.asked_again, "rows_before": before}
    times = {"next_row_s_after": went_on - back, "ended_s_after": ended - back}
    measured("crawl", "store away for 60 s, then slow", **figures, **times)
