"""A Scrapy extension: how far the crawl is, as log lines or as a live bar (`PROGRESS` = log, bar or none)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured

from cluster.console import console

log = logging.getLogger(__name__)


class ProgressExtension:
    """Counts titles with an outcome, against the catalogue."""

    def __init__(self, crawler: Crawler) -> None:
        kind = crawler.settings["PROGRESS"]
        if kind not in ("log", "bar"):
            raise NotConfigured
        self._crawler = crawler
        self._interval_s = 5.0
        self._count = self._stored = 0
        self._began = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            # Where nobody watches a terminal, a line now and then says the same.
            disable=kind != "bar" or not console.is_terminal,
        )
        self._speaks = console.print if kind == "bar" and not console.is_terminal else log.info
        self._id = self._bar.add_task("posters", total=None, rate="")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls(crawler)
        crawler.signals.connect(extension._opened, signals.spider_opened)
        crawler.signals.connect(extension._scraped, signals.item_scraped)
        crawler.signals.connect(extension._closed, signals.spider_closed)
        return extension

    def _opened(self) -> None:
        self._bar.start()
        self._task = asyncio.ensure_future(self._tell_regularly())

    def _scraped(self, item: dict[str, object]) -> None:
        self._count += 1
        self._stored += item["outcome"] == "stored"
        self._bar.update(self._id, completed=self._done(), total=self._total(), rate=f"{self._rate():.0f}/s")

    def _closed(self) -> None:
        if self._task:
            self._task.cancel()
        self._bar.stop()
        self._tell()

    async def _tell_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._tell()

    def _tell(self) -> None:
        if self._bar.disable and self._total():
            rejected = self._count - self._stored
            self._speaks(
                f"titles {self._done()}/{self._total()}: stored {self._stored}, rejected {rejected} "
                f"in this run, {self._rate():.0f} titles/s"
            )

    def _rate(self) -> float:
        return self._count / max(time.monotonic() - self._began, 1e-3)

    def _done(self) -> int:
        return int(getattr(self._crawler.spider, "done_before", 0)) + self._count

    def _total(self) -> int:
        return int(getattr(self._crawler.spider, "total", 0))
