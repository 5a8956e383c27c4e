"""The way of an attempt: inspect the picture, store its bytes, record its one row in the ledger."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem

from cluster.errors import StoreError
from cluster.settings import load_settings
from crawler import images
from crawler.items import Attempt
from crawler.ledger import LedgerRow
from crawler.outcomes import PosterFacts, Rejected
from crawler.spiders.posters import PostersSpider

log = logging.getLogger(__name__)


def poster_key(imdb_id: str) -> str:
    """Where a title's poster lies in the store: the bytes as fetched, whatever their format."""
    return f"posters/{imdb_id}.jpg"


class InspectPipeline:
    """Decode every picture whole; what fails has its reason from here."""

    def __init__(self) -> None:
        self._max_pixels = load_settings().max_poster_pixels

    async def process_item(self, item: Attempt) -> Attempt:
        if item.body is not None:
            item.outcome = await asyncio.to_thread(images.inspect, item.body, max_pixels=self._max_pixels)
        return item


class StorePipeline:
    """Put the bytes into the store; without a store the crawl ends, and the title stays open for the next run."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_item(self, item: Attempt) -> Attempt:
        if isinstance(item.outcome, PosterFacts) and item.body is not None:
            store = _spider(self._crawler).crawl.store
            key, kind = poster_key(item.title.imdb_id), item.outcome.content_type
            await _or_stop(self._crawler, asyncio.to_thread(store.put, key, item.body, content_type=kind))
        return item


class LedgerPipeline:
    """Record the outcome, only after the bytes are stored."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_item(self, item: Attempt) -> dict[str, Any]:
        ledger = _spider(self._crawler).ledger
        row = _row(item)
        ledger.append(row)
        if self._crawler.stats:
            self._crawler.stats.inc_value(f"titles/{row.reason or row.outcome}")
        await _or_stop(self._crawler, asyncio.to_thread(ledger.flush_if_due))
        return {name: value for name, value in asdict(row).items() if value is not None}


def _row(item: Attempt) -> LedgerRow:
    outcome, page = item.outcome, item.page
    facts: dict[str, Any]
    if isinstance(outcome, PosterFacts):
        facts = {"outcome": "stored", "bytes": len(item.body or b""), **asdict(outcome)}
    elif isinstance(outcome, Rejected):
        facts = {"outcome": "rejected", "reason": outcome.reason.value, "detail": outcome.detail[:500]}
    else:
        raise TypeError(f"{item.title.imdb_id} reached the ledger without an outcome")
    return LedgerRow(
        imdb_id=item.title.imdb_id,
        source=item.source,
        attempts=item.attempts,
        fetched_at=datetime.now(UTC),
        http_status=item.http_status,
        url=item.url,
        etag=item.etag,
        last_modified=item.last_modified,
        page_title=page.title if page else None,
        page_year=page.year if page else None,
        page_genres=list(page.genres) if page else None,
        **facts,
    )


async def _or_stop(crawler: Crawler, write: Any) -> None:
    try:
        await write
    except StoreError as error:
        spider = _spider(crawler)
        if spider.store_error is None and crawler.engine:
            spider.store_error = error
            log.error("the crawl stops: %s", error)
            _ = asyncio.ensure_future(crawler.engine.close_spider_async(reason="store_failed"))  # noqa: RUF006
        raise DropItem("the store failed", log_level="DEBUG") from error


def _spider(crawler: Crawler) -> PostersSpider:
    if not isinstance(crawler.spider, PostersSpider):
        raise TypeError("these pipelines belong to the posters spider")
    return crawler.spider
