"""A Scrapy extension: end the crawl once it has cost what it may (`max_titles`, `max_bytes`, `max_minutes`)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self

from scrapy import signals
from scrapy.crawler import Crawler

log = logging.getLogger(__name__)


class Allowance:
    """How many titles this process may begin; None for all there are. A fleet's shard is given its own bit by bit."""

    def __init__(self, titles: int | None) -> None:
        self.begun = 0
        # Set while somebody waits to begin a title and may not yet.
        self.is_wanted = asyncio.Event()
        self._may_begin, self._is_last = titles, True
        self._changed = asyncio.Event()

    def allow(self, titles: int | None, *, is_last: bool) -> None:
        """From now on `titles` may be begun in all. is_last: there will never be more."""
        if (titles, is_last) != (self._may_begin, self._is_last):
            self._may_begin, self._is_last = titles, is_last
            self._changed.set()
            self.is_wanted.clear()

    async def take(self) -> bool:
        """Begin a title, as soon as one is allowed. False where there will be no more."""
        while not self._has_one:
            if self._is_last:
                return False
            self._changed.clear()
            self.is_wanted.set()
            await self._changed.wait()
        self.begun += 1
        return True

    @property
    def is_used_up(self) -> bool:
        """Whether the crawl ends here although there may be more titles."""
        return self._is_last and not self._has_one

    @property
    def _has_one(self) -> bool:
        return self._may_begin is None or self.begun < self._may_begin


class BudgetExtension:
    """What is under way when the budget ends is still finished and recorded; nothing new is asked.

    max_titles is exact, the spider counts it; of the bytes, those under way come on top.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls(crawler)
        crawler.signals.connect(extension._opened, signals.spider_opened)
        crawler.signals.connect(extension._closed, signals.spider_closed)
        return extension

    def _opened(self, spider: Any) -> None:
        self._options = getattr(getattr(spider, "plan", None), "options", None)
        if self._options and self._options.max_bytes:
            # Scrapy makes a task of each listener for each item.
            self._crawler.signals.connect(self._scraped, signals.item_scraped)
        minutes = self._options.max_minutes if self._options else None
        if minutes:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(minutes * 60, self._end, f"{minutes:g} minutes are over")

    def _scraped(self, item: Any) -> None:
        limit = self._options.max_bytes if self._options else None
        if limit and isinstance(item, dict):
            self._bytes += item.get("bytes") or 0
            if self._bytes >= limit:
                self._end(f"{limit.human_readable(decimal=True)} are stored")

    def _closed(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _end(self, why: str) -> None:
        engine = self._crawler.engine
        if engine and engine.spider and self._options:
            self._options = None
            log.warning("the budget is used up (%s): the crawl ends, and goes on with the next run", why)
            _ = asyncio.ensure_future(engine.close_spider_async(reason="budget"))  # noqa: RUF006
