"""Run the posters spider in this process, as `scrapy crawl posters` would."""

from __future__ import annotations

import gc
import logging
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.settings import Settings as ScrapySettings

from cluster.errors import CrawlerError
from crawler.decoder import Decoders
from crawler.plan import Plan
from crawler.spiders.posters import PostersSpider

# How many objects more may be there before Python looks for cycles among them; its own 700 are two requests.
_GARBAGE = 10_000


def run_crawl(plan: Plan, *, progress: str = "bar", decoders: Decoders | None = None, **settings: Any) -> PostersSpider:
    """Crawl by a plan. Returns the spider, with the crawl's summary. Raises OnesheetError where it could not end.

    progress: `bar`, `log` or `none`. decoders: where they are started already. settings: of Scrapy, over our own.
    """
    found = ScrapySettings()
    found.setmodule("crawler.settings", priority="project")
    quiet = {"LOG_LEVEL": "WARNING", "LOG_INSTALL_ROOT_HANDLER": False, "PROGRESS": progress}
    found.setdict(quiet | settings, priority="cmdline")
    process = AsyncCrawlerProcess(found)
    # Scrapy makes two debug records a title, shown or not, unless its loggers themselves are told.
    if not logging.root.handlers or all(handler.level > logging.DEBUG for handler in logging.root.handlers):
        logging.getLogger("scrapy").setLevel(logging.INFO)
    crawler = process.create_crawler(PostersSpider)
    process.crawl(crawler, plan=plan, decoders=decoders)
    # What is imported by now stays to the end. To look through it again and again, and through what a few posters
    # left, was a fifteenth of the time.
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    process.start()
    spider = crawler.spider
    if not isinstance(spider, PostersSpider):
        raise CrawlerError("the crawl did not start; ONESHEET_LOG_LEVEL=DEBUG shows why")
    if spider.stopped:
        raise spider.stopped
    if not spider.summary and plan.options.shards == 1:
        raise CrawlerError("the crawl ended before it began; ONESHEET_LOG_LEVEL=DEBUG shows why")
    return spider
