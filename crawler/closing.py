"""A Scrapy extension: a crawl that ends asks nothing more, however many requests wait for their host's delay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.http import Request
from twisted.python.failure import Failure

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


@contextlib.contextmanager
def held_open(crawler: Crawler) -> Iterator[None]:
    """Let no crawl end in here. Scrapy waits for requests under way, and not for what comes between and after them."""
    slot = crawler.engine._slot if crawler.engine else None
    if slot is None:
        raise ClosingError("the crawl has ended")
    held = Request("data:,")
    slot.add_request(held)
    try:
        yield
    finally:
        slot.remove_request(held)


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
        for slot in list(engine.downloader.slots.values()) if engine else []:
            waiting = list(slot.queue)
            # robots.txt is kept too: without it a host would be asked what it forbids.
            kept = [(request, answer) for request, answer in waiting if not request.meta.get(MAY_BE_LEFT)]
            slot.queue.clear()
            slot.queue.extend(kept)
            for request, answer in waiting:
                if request.meta.get(MAY_BE_LEFT):
                    answer.errback(Failure(ClosingError(f"{request.url} is left for the next run")))
