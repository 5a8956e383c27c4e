"""Run the posters spider in this process, as `scrapy crawl posters` would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.settings import Settings as ScrapySettings

from cluster.errors import CrawlerError
from crawler.spiders.posters import PostersSpider


def run_crawl(catalog: Path, *, store: str | None = None, crawl_id: str | None = None) -> dict[str, Any]:
    """Crawl a catalogue with a live bar. Returns the crawl's summary (`crawler.crawl`). Raises OnesheetError."""
    PostersSpider.check(catalog=str(catalog), store=store, crawl_id=crawl_id)
    settings = ScrapySettings()
    settings.setmodule("crawler.settings", priority="project")
    settings.setdict({"LOG_LEVEL": "WARNING", "LOG_INSTALL_ROOT_HANDLER": False, "PROGRESS": "bar"}, priority="cmdline")
    process = AsyncCrawlerProcess(settings)
    crawler = process.create_crawler(PostersSpider)
    process.crawl(crawler, catalog=str(catalog), store=store, crawl_id=crawl_id)
    process.start()
    spider = crawler.spider
    if not isinstance(spider, PostersSpider):
        raise CrawlerError("the crawl did not start; ONESHEET_LOG_LEVEL=DEBUG shows why")
    if spider.store_error:
        raise spider.store_error
    if not spider.summary:
        raise CrawlerError("the crawl ended before it began; run `scrapy crawl posters` to see why")
    return spider.summary
