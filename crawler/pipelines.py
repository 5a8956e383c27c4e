"""The way of an attempt: store the poster's bytes, then record its one row in the ledger."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem

from cluster.errors import KeyNotFoundError, StoreError, StoreUnavailableError
from cluster.store import Store
from crawler.closing import is_closing
from crawler.items import STORED_BYTES, TITLES, Attempt
from crawler.ledger import LedgerRow
from crawler.outcomes import PosterFacts, Rejected
from crawler.spiders.posters import PostersSpider
from crawler.titles import poster_key

log = logging.getLogger(__name__)
T = TypeVar("T")


class StorePipeline:
    """Put the bytes into the store, and ask it about a title that no source has.

    A poster may be there without a row, of a run that was killed between the two or of a row that was lost: then the
    title counts as stored, so that nothing lies in the store that no ledger tells of.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._patience = Patience(crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def close_spider(self) -> None:
        if hasattr(self._crawler.spider, "decoders"):
            await _spider(self._crawler).decoders.close()

    async def process_item(self, item: Attempt) -> Attempt:
        store, imdb_id = _spider(self._crawler).plan.crawl.store, item.trail.title.imdb_id
        key = poster_key(imdb_id)
        if isinstance(item.outcome, PosterFacts) and item.body is not None:
            body, kind = item.body, item.outcome.content_type
            await self._patience.run(lambda: store.put(key, body, content_type=kind))
        elif isinstance(item.outcome, Rejected) and item.trail.row is None:
            found = await self._patience.run(lambda: _held(store, key))
            if found is not None:
                item.source, item.body = "store", found
                item.outcome = await _spider(self._crawler).decoders.inspect(found)
        return item


class LedgerPipeline:
    """Record the outcome, only after the bytes are stored; rows reach the store every few seconds."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._patience = Patience(crawler)
        self._flushing: asyncio.Task[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def open_spider(self) -> None:
        self._flushing = asyncio.ensure_future(self._flush_regularly())

    async def close_spider(self) -> None:
        if self._flushing:
            self._flushing.cancel()
        if self._crawler.spider and hasattr(self._crawler.spider, "ledger"):
            try:
                await self._patience.run(_spider(self._crawler).ledger.flush)
            except DropItem:
                log.debug("the last rows could not be written", exc_info=True)

    async def process_item(self, item: Attempt) -> dict[str, Any]:
        row, ledger = _row(item), _spider(self._crawler).ledger
        ledger.append(row)
        if is_closing(self._crawler):
            # Whoever stopped the crawl may not wait for its end.
            await self._patience.run(ledger.flush)
        if self._crawler.stats:
            self._crawler.stats.inc_value("item_scraped_count")
            self._crawler.stats.inc_value(f"{TITLES}{row.reason or row.outcome}")
            self._crawler.stats.inc_value(STORED_BYTES, row.bytes or 0)
        return {name: value for name in _COLUMNS if (value := getattr(row, name)) is not None}

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            try:
                await self._patience.run(_spider(self._crawler).ledger.flush_if_due)
            except DropItem:
                return


class Patience:
    """Writes to a store that may be away for a while: they wait and are tried again, up to STORE_PATIENCE_S.

    Meanwhile Scrapy holds its downloads back by itself. A store that refuses (wrong key, full disk), or that stays
    away, ends the crawl; its titles stay open for the next run.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._longest_s = crawler.settings.getfloat("STORE_PATIENCE_S")
        self._threads = _threads(crawler.settings.getint("STORE_THREADS"))

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns. Raises DropItem where the crawl ends for it."""
        began, tries = time.monotonic(), 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                # To hand 30 KB to a thread and back costs more than to write them to a disk: both take the GIL.
                is_quick = _spider(self._crawler).plan.crawl.store.is_local
                return call() if is_quick else await loop.run_in_executor(self._threads, call)
            except StoreUnavailableError as error:
                tries += 1
                wait_s = random.uniform(0.5, 1) * min(2**tries, 10)  # noqa: S311
                if time.monotonic() - began + wait_s > self._longest_s or _spider(self._crawler).stopped:
                    self._give_up(error)
                if tries == 1:
                    log.warning("%s; the crawl waits for it, up to %.0f s", error, self._longest_s)
                await asyncio.sleep(wait_s)
            except StoreError as error:
                self._give_up(error)

    def _give_up(self, error: StoreError) -> None:
        _spider(self._crawler).stop(error, reason="store_failed")
        raise DropItem("the store failed", log_level="DEBUG") from error


_COLUMNS = tuple(field.name for field in fields(LedgerRow))
_POOLS: dict[int, ThreadPoolExecutor] = {}


def _threads(count: int) -> ThreadPoolExecutor:
    """The threads that wait for the store, the same for all pipelines of the process."""
    if count not in _POOLS:
        _POOLS[count] = ThreadPoolExecutor(count, thread_name_prefix="store")
    return _POOLS[count]


def _held(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key) if store.exists(key) else None
    except KeyNotFoundError:
        return None


def _row(item: Attempt) -> LedgerRow:
    outcome, trail = item.outcome, item.trail
    if item.is_unchanged and trail.row is not None:
        kept = {name: trail.row[name] for name in _COLUMNS}
        return LedgerRow(**kept | {"fetched_at": datetime.now(UTC), "attempts": item.attempts})
    facts: dict[str, Any]
    if isinstance(outcome, PosterFacts):
        facts = {
            "outcome": "stored",
            "bytes": len(item.body or b""),
            "sha256": outcome.sha256,
            "phash": outcome.phash,
            "width_px": outcome.width_px,
            "height_px": outcome.height_px,
            "format": outcome.format,
        }
    elif isinstance(outcome, Rejected):
        facts = {"outcome": "rejected", "reason": outcome.reason.value, "detail": outcome.detail[:500]}
    else:
        raise TypeError(f"{trail.title.imdb_id} reached the ledger without an outcome")
    page = trail.page
    return LedgerRow(
        imdb_id=trail.title.imdb_id,
        source=item.source,
        attempts=item.attempts,
        fetched_at=datetime.now(UTC),
        http_status=item.http_status,
        url=item.url,
        etag=item.etag,
        last_modified=item.last_modified,
        download_ms=item.download_ms,
        page_title=page.title if page else None,
        page_year=page.year if page else None,
        page_genres=list(page.genres) if page else None,
        page_kind=page.kind if page else None,
        **facts,
    )


def _spider(crawler: Crawler) -> PostersSpider:
    if not isinstance(crawler.spider, PostersSpider):
        raise TypeError("these pipelines belong to the posters spider")
    return crawler.spider
