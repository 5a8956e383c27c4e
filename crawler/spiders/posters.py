"""The posters spider: each title of a catalogue → its poster, from the first source that has one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Self

import scrapy
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.http import Request, Response
from scrapy.settings import BaseSettings

from cluster.errors import OnesheetError, StoreError
from cluster.settings import load_settings
from crawler.budget import Allowance
from crawler.closing import Hold, is_closing
from crawler.decoder import Decoders
from crawler.failures import ClosingError
from crawler.finder import Finder, most_requests
from crawler.ledger import SCHEMA, Known, Ledger, iter_ledger
from crawler.options import read_options
from crawler.pages import parse_title
from crawler.plan import LOOPBACK, Plan, make_plan
from crawler.redaction import hide
from crawler.search import Trail, refresh
from crawler.sources import Credential
from crawler.titles import number_of, shard_of
from crawler.unneeded import spare_what_is_off

log = logging.getLogger(__name__)


class PostersSpider(scrapy.Spider):
    """`scrapy crawl posters -a catalog=PATH [-a store=URL] [-a sources=listed,tmdb,page] …` (`CrawlOptions`).

    Ends with every distinct title of the catalogue either stored or rejected. Run again, it goes on where it
    ended: what is recorded as stored, or as rejected for a lasting reason, is not asked for again.
    """

    name = "posters"

    def __init__(self, *, plan: Plan | None = None, decoders: Decoders | None = None) -> None:
        super().__init__()
        self.total = self.done_before = 0
        self.summary: dict[str, Any] = {}
        # Why it stopped before its end, for the command that started it.
        self.stopped: OnesheetError | None = None
        if plan is None:
            return
        self.plan = plan
        self._decoders = decoders
        self.ledger = Ledger(plan.crawl.store, plan.crawl.crawl_id)
        self.allowance = Allowance(plan.options.max_titles)

    @classmethod
    def update_settings(cls, settings: BaseSettings) -> None:
        super().update_settings(settings)
        spare_what_is_off(settings)
        onesheet = load_settings()
        settings.set("DOWNLOAD_TIMEOUT", onesheet.request_timeout_s, priority="spider")
        settings.set("DOWNLOAD_MAXSIZE", onesheet.max_poster_bytes, priority="spider")
        if onesheet.contact:
            settings.set("USER_AGENT", f"{settings['USER_AGENT']} (+{onesheet.contact})", priority="spider")
        if onesheet.rehearsal and onesheet.rehearsal.host in LOOPBACK:
            # Politeness protects other people's hosts; a rehearsal on this machine may run at full speed.
            settings.set("AUTOTHROTTLE_ENABLED", False, priority="spider")
            settings.set("CONCURRENT_REQUESTS_PER_DOMAIN", 16, priority="spider")

    @classmethod
    def from_crawler(
        cls, crawler: Crawler, *, plan: Plan | None = None, decoders: Decoders | None = None, **arguments: Any
    ) -> Self:
        """plan: made before Scrapy starts, by our own commands; else made here of the arguments.

        decoders: where they are started already; else as many as the setting DECODERS says.

        Without arguments it is the bare spider that `scrapy check`, `list` and `shell` want.
        """
        if plan is None and arguments:
            plan = make_plan(read_options(**arguments))
        spider = cls(plan=plan, decoders=decoders)
        spider._set_crawler(crawler)
        if plan:
            if crawler.settings.getbool("AUTOTHROTTLE_ENABLED"):
                # Each source's own limits, under those of the user; none where Scrapy was told to hurry.
                slots = plan.host_limits() | crawler.settings.getdict("DOWNLOAD_SLOTS")
                crawler.settings.set("DOWNLOAD_SLOTS", slots, priority="cmdline")
            hide(secret for source in plan.sources if source.credential for secret in source.credential.secrets)
            spider._prepare(crawler, plan)
            crawler.signals.connect(spider._close, signals.spider_closed)
        return spider

    def _prepare(self, crawler: Crawler, plan: Plan) -> None:
        self.decoders = self._decoders or Decoders(
            crawler.settings.getint("DECODERS"), max_pixels=plan.settings.max_poster_pixels
        )
        self._finder = Finder(crawler, plan, self.decoders, self.stop)
        self._hold = Hold(crawler)
        # Some ask while others are on their way to the store.
        most = most_requests(crawler.settings) + crawler.settings.getint("STORE_THREADS")
        self._room = asyncio.Semaphore(most)
        self._under_way: set[asyncio.Task[None]] = set()

    def credential(self, source: str) -> Credential | None:
        """The key of a source, for the download handler."""
        return self.plan.credential(source)

    async def start(self) -> AsyncIterator[Request]:
        if not hasattr(self, "plan"):
            log.error("the posters spider needs a catalogue: scrapy crawl posters -a catalog=PATH")
            return
        self.started_at = datetime.now(UTC)
        card, crawl, options = self.plan.card, self.plan.crawl, self.plan.options
        try:
            known = await asyncio.to_thread(self.plan.known)
        except StoreError as error:
            self.stop(error, reason="store_failed")
            return
        if options.shards == 1:
            self.total, self.done_before = card.titles, len(known.done)
        for row in card.first_rejected:
            log.warning("%s, line %d: %s", card.name, row["line"], row["detail"])
        for source in self.plan.sources if not self.plan.settings.rehearsal else ():
            if source.terms:
                log.warning("source %s: %s; it is for you to clear (docs/legal.md)", source.name, source.terms)
        log.info("crawl %s: %d titles, %d done before", crawl.crawl_id, card.titles, len(known.done))
        async for trail in self._trails(known):
            await self._room.acquire()
            # A title that was waited for is begun by the next run, should this one end meanwhile.
            if is_closing(self.crawler) or not await self._is_allowed():
                break
            seeking = asyncio.ensure_future(self._seek(trail))
            self._under_way.add(seeking)
            seeking.add_done_callback(self._sought)
        while self._under_way:
            await asyncio.wait(self._under_way)
        return
        # Scrapy wants a generator; nothing goes through its queue.
        yield  # type: ignore[unreachable]

    async def _trails(self, known: Known) -> AsyncIterator[Trail]:
        """The searches to begin: for what no row is known of, then for newer versions of stored posters."""
        options, crawl = self.plan.options, self.plan.crawl
        for title in crawl.titles(options.shard, options.shards, without=known.done | known.stale):
            yield Trail(title=title)
        if not known.stale:
            return
        tables = iter_ledger(crawl.store, crawl.crawl_id, SCHEMA.names)
        while (table := await asyncio.to_thread(next, tables, None)) is not None:
            for row in table.to_pylist():
                is_mine = shard_of(row["imdb_id"], options.shards) == options.shard
                if is_mine and number_of(row["imdb_id"]) in known.stale and row["url"]:
                    yield refresh(row)

    async def _is_allowed(self) -> bool:
        if await self.allowance.take():
            return True
        log.warning("the budget of titles is used up: the crawl ends, and goes on with the next run")
        return False

    async def _seek(self, trail: Trail) -> None:
        """One title, from its first request to its row."""
        with contextlib.suppress(ClosingError), self._hold:
            attempt = await self._finder.find(trail)
            if self.crawler.engine:
                await self.crawler.engine.scraper.start_itemproc_async(attempt, response=None)

    def _sought(self, seeking: asyncio.Task[None]) -> None:
        self._under_way.discard(seeking)
        self._room.release()
        if not seeking.cancelled() and (error := seeking.exception()):
            log.error("a search failed; its title stays open", exc_info=error)

    def parse(self, response: Response) -> Iterator[dict[str, Any]]:
        """What a title page tells; for `scrapy parse`, `shell` and `check`, beside `onesheet site` on its usual port.

        @url http://127.0.0.1:8900/title/tt9900001/
        @returns items 1 1
        @returns requests 0 0
        @scrapes title year genres poster_url is_title
        """
        yield asdict(parse_title(response.body))

    def stop(self, error: OnesheetError, *, reason: str) -> None:
        """End the crawl early, for a reason that the user must know; what is under way is still recorded."""
        if self.stopped is None and self.crawler.engine:
            self.stopped = error
            log.error("the crawl stops: %s", error)
            _ = asyncio.ensure_future(self.crawler.engine.close_spider_async(reason=reason))  # noqa: RUF006

    def _close(self, spider: scrapy.Spider, reason: str) -> None:
        """After the pipelines are closed: one row a title, and the summary. A shard's fleet does that for all."""
        if not hasattr(self, "started_at") or self.plan.options.shards > 1:
            return
        if reason == "finished" and self.allowance.is_used_up:
            reason = "budget"
        try:
            self.ledger.flush()
            self.summary = self.plan.crawl.finish(started_at=self.started_at, finish_reason=reason)
        except OnesheetError as error:
            self.stopped = self.stopped or error
            log.error("the ledger could not be finished: %s", error)
            return
        log.info("crawl ended: %s", self.summary)

    @property
    def is_finished(self) -> bool:
        """Whether every title has its outcome, or the crawl ended where its budget said."""
        has_ended = self.summary.get("finished") or self.summary.get("finish_reason") == "budget"
        return self.stopped is None and bool(has_ended)
