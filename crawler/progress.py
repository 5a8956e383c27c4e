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
from crawler.items import TITLES

log = logging.getLogger(__name__)

# How often a bar moves, and a line is written where there is no bar.
_REFRESH_S = 0.25
_LINE_S = 5.0


class ProgressExtension:
    """Counts titles with an outcome, against the catalogue."""

    def __init__(self, crawler: Crawler) -> None:
        kind = crawler.settings["PROGRESS"]
        if kind not in ("log", "bar"):
            raise NotConfigured
        self._crawler = crawler
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
        crawler.signals.connect(extension._closed, signals.spider_closed)
        return extension

    def _opened(self) -> None:
        self._bar.start()
        self._task = asyncio.ensure_future(self._tell_regularly())

    def _closed(self) -> None:
        if self._task:
            self._task.cancel()
        self._tell()
        self._bar.stop()

    async def _tell_regularly(self) -> None:
        # Looked at now and then: a listener for each item, and a bar drawn for each, cost as much as its decoding.
        while True:
            await asyncio.sleep(_LINE_S if self._bar.disable else _REFRESH_S)
            self._tell()

    def _tell(self) -> None:
        stats = self._crawler.stats.get_stats() if self._crawler.stats else {}
        stored = int(stats.get(f"{TITLES}stored", 0))
        count = sum(int(number) for name, number in stats.items() if name.startswith(TITLES))
        done = int(getattr(self._crawler.spider, "done_before", 0)) + count
        total = int(getattr(self._crawler.spider, "total", 0))
        rate = f"{count / max(time.monotonic() - self._began, 1e-3):.0f}"
        if not self._bar.disable:
            self._bar.update(self._id, completed=done, total=total, rate=f"{rate}/s")
        elif total:
            self._speaks(
                f"titles {done}/{total}: stored {stored}, rejected {count - stored} in this run, {rate} titles/s"
            )
