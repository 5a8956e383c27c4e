"""A Scrapy extension: a crawl that ends asks nothing more, however many requests wait for their host's delay."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.http import Request

from crawler.downloader import turns
from crawler.failures import ClosingError

# In a request's meta: whether its title may stay open for the next run, for nothing was spent on it yet.
MAY_BE_LEFT = "may_be_left"

_LOOK_S = 0.25


def is_closing(crawler: Crawler) -> bool:
    """Whether the crawl is about to end: nothing new is to be asked."""
    if not crawler.crawling:
        return True
    try:
        slot = crawler.engine._slot if crawler.engine else None
    except RuntimeError:  # it has not begun
        return False
    return slot is not None and slot.closing is not None


class Hold:
    """Lets no crawl end while titles are under way: Scrapy itself waits for its own requests only.

    Used as a context manager, any number of times at once. Raises ClosingError where the crawl has ended.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._held = Request("data:,")
        self._holders = 0

    def __enter__(self) -> None:
        slot = self._slot
        if slot is None:
            raise ClosingError("the crawl has ended")
        if not self._holders:
            slot.add_request(self._held)
        self._holders += 1

    def __exit__(self, *_: object) -> None:
        self._holders -= 1
        slot = self._slot
        if not self._holders and slot is not None:
            slot.remove_request(self._held)

    @property
    def _slot(self) -> Any:
        return self._crawler.engine._slot if self._crawler.engine else None


class PromptCloseExtension:
    """Scrapy sends what waits in a host's slot before it closes: at two seconds each a minute for 30 title pages.

    Here those titles stay open for the next run, except where a source was asked already: their posters are fetched.
    A host that only blocks is left alone at once, and Ctrl-C and a budget of minutes mean now.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls(crawler)
        crawler.signals.connect(extension._opened, signals.spider_opened)
        crawler.signals.connect(extension._closed, signals.spider_closed)
        return extension

    def _opened(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    def _closed(self) -> None:
        if self._watching:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if is_closing(self._crawler):
                self._let_go()

    def _let_go(self) -> None:
        engine = self._crawler.engine
        for slot in engine.downloader.slots.values() if engine else []:
            # robots.txt is waited for: without it a host would be asked what it forbids.
            for request, turn in turns(slot):
                if request.meta.get(MAY_BE_LEFT) and not turn.done():
                    turn.set_exception(ClosingError(f"{request.url} is left for the next run"))
