"""The downloader: a slot's limit holds for requests that come at the same moment, and no room in it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from scrapy.http import Request, Response
from scrapy.utils.test import get_crawler

from crawler.downloader import AwaitedDownloader
from crawler.site.content import SiteContent
from tests.crawler.harvests import Finish, Harvest, Host, crawl, serving, write_movie_genre

_POSTER = SiteContent.invented(2).poster_bytes("tt9900001") or b""


class _Slow(Host):
    """A host that takes a while, and counts how many wait for it at once."""

    now: ClassVar[Counter[str]]
    most: ClassVar[Counter[str]]
    counting: ClassVar[threading.Lock] = threading.Lock()

    def get(self) -> None:
        kind = self.path.strip("/").partition("/")[0]
        with self.counting:
            self.now[kind] += 1
            self.most[kind] = max(self.most[kind], self.now[kind])
        time.sleep(0.1)
        with self.counting:
            self.now[kind] -= 1
        self.answer(200, _POSTER if kind == "posters" else b"")


@pytest.fixture
def slow() -> Iterator[tuple[int, Counter[str]]]:
    """The port of such a host, and the most that it was asked for at once, by kind."""
    _Slow.now, _Slow.most = Counter(), Counter()
    with serving(_Slow) as port:
        yield port, _Slow.most


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_host_is_asked_for_no_more_at_once_than_its_slot_says(
    concurrency: int, tmp_path: Path, finish: Finish, slow: tuple[int, Counter[str]]
) -> None:
    port, most = slow
    rows = [(f"tt{number:07}", f"http://127.0.0.1:{port}/posters/{number}.jpg") for number in range(1, 13)]
    catalog, store = write_movie_genre(tmp_path / "films.csv", rows), tmp_path / "store"
    slots = {"127.0.0.1": {"concurrency": concurrency, "delay": 0}}
    given = ("-a", "sources=listed", "-s", "AUTOTHROTTLE_ENABLED=0", "-s", f"DOWNLOAD_SLOTS={json.dumps(slots)}")
    run = crawl(finish, catalog, store, *given)
    assert run.returncode == 0, run.stderr
    assert most["posters"] == concurrency
    harvest = Harvest(store)
    harvest.assert_whole(12)
    assert len(harvest.stored) == 12


def test_a_request_that_is_cancelled_at_its_turn_leaves_its_room_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    may_end: dict[str, asyncio.Event] = {}

    async def answer(request: Request) -> Response:
        asked.append(request.url[-1])
        await may_end[request.url[-1]].wait()
        return Response(request.url)

    async def three_requests() -> None:
        downloader = AwaitedDownloader(get_crawler(settings_dict={"CONCURRENT_REQUESTS_PER_DOMAIN": 1}))
        monkeypatch.setattr(downloader.handlers, "download_request_async", answer)
        tasks = {}
        for name in "abc":
            may_end[name] = asyncio.Event()
            tasks[name] = asyncio.ensure_future(downloader._enqueue_request(Request(f"http://host/{name}")))
        await asyncio.sleep(0)
        (slot,) = downloader.slots.values()
        may_end["a"].set()
        may_end["c"].set()
        while not any(request.url.endswith("b") for request in slot.transferring):
            await asyncio.sleep(0)
        tasks["b"].cancel()
        await asyncio.wait_for(tasks["c"], 5)
        with contextlib.suppress(asyncio.CancelledError):
            await tasks["b"]
        assert (asked, slot.active, slot.transferring) == (["a", "c"], set(), set())
        downloader.close()

    asyncio.run(three_requests())
