"""Scrapy's counters, without their costly way to be called."""

from __future__ import annotations

from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.extensions.corestats import CoreStats
from scrapy.statscollectors import MemoryStatsCollector


class LeanStatsCollector(MemoryStatsCollector):
    """Scrapy wraps each method, to warn of an argument that it will drop: a twentieth of a poster's time."""

    __getattribute__ = object.__getattribute__


class LeanCoreStats(CoreStats):
    """Scrapy's counts of a crawl without the two listeners that each title calls, one through a task of its own.

    Who knows of an answer and of a row counts them: `crawler.downloader` and `crawler.pipelines`.
    """

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        if crawler.stats is None:
            raise TypeError("a crawl without stats")
        core = cls(crawler.stats)
        crawler.signals.connect(core.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(core.spider_closed, signal=signals.spider_closed)
        crawler.signals.connect(core.item_dropped, signal=signals.item_dropped)
        return core
