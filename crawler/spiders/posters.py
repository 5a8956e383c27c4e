"""The posters spider: each title of a catalogue → its poster, from the first source that has one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import scrapy
from pyroaring import BitMap64
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.http import Request, Response
from scrapy.settings import BaseSettings
from twisted.python.failure import Failure

from cluster.errors import CrawlerError, OnesheetError, StoreError
from cluster.settings import load_settings
from crawler.budget import Allowance
from crawler.decoder import Decoders
from crawler.failures import ClosingError, UnsentError, forbids_ai, rejection_of_error, rejection_of_status
from crawler.handlers import CREDENTIAL
from crawler.items import Attempt
from crawler.ledger import SCHEMA, Ledger, iter_ledger
from crawler.middlewares import LowerCaseHeaders
from crawler.options import read_options
from crawler.outcomes import PosterFacts, Reason, Rejected
from crawler.pages import parse_title
from crawler.plan import LOOPBACK, Plan, make_plan
from crawler.redaction import hide
from crawler.search import Ask, Chain, End, Trail, refresh
from crawler.sources import Answer, Credential, Ended, Found, Images
from crawler.titles import number_of, shard_of

log = logging.getLogger(__name__)

# What a host calls this crawler in its X-Robots-Tag.
_ROBOT = "onesheet"
# Titles that ended without a request (no source has an address) on their way to the ledger at the same time.
_MOST_ITEMS = 200


class PostersSpider(scrapy.Spider):
    """`scrapy crawl posters -a catalog=PATH [-a store=URL] [-a sources=listed,tmdb,page] …` (`CrawlOptions`).

    Ends with every distinct title of the catalogue either stored or rejected. Run again, it goes on where it
    ended: what is recorded as stored, or as rejected for a lasting reason, is not asked for again.
    """

    name = "posters"

    def __init__(self, *, plan: Plan | None = None) -> None:
        super().__init__()
        self.total = self.done_before = 0
        self.summary: dict[str, Any] = {}
        # Why it stopped before its end, for the command that started it.
        self.stopped: OnesheetError | None = None
        if plan is None:
            return
        self.plan = plan
        self.decoders = Decoders(0, max_pixels=plan.settings.max_poster_pixels)
        self.chain = Chain(plan.sources, height_px=plan.options.height)
        self.ledger = Ledger(plan.crawl.store, plan.crawl.crawl_id)
        self.allowance = Allowance(plan.options.max_titles)
        # Titles whose search has begun and not ended.
        self._pending = BitMap64()

    @classmethod
    def update_settings(cls, settings: BaseSettings) -> None:
        super().update_settings(settings)
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
    def from_crawler(cls, crawler: Crawler, *, plan: Plan | None = None, **arguments: Any) -> Self:
        """plan: made before Scrapy starts, by our own commands; else made here of the arguments.

        Without arguments it is the bare spider that `scrapy check`, `list` and `shell` want.
        """
        if plan is None and arguments:
            plan = make_plan(read_options(**arguments))
        spider = cls(plan=plan)
        spider._set_crawler(crawler)
        if plan:
            if crawler.settings.getbool("AUTOTHROTTLE_ENABLED"):
                # Each source's own limits, under those of the user; none where Scrapy was told to hurry.
                slots = plan.host_limits() | crawler.settings.getdict("DOWNLOAD_SLOTS")
                crawler.settings.set("DOWNLOAD_SLOTS", slots, priority="cmdline")
            hide(secret for source in plan.sources if source.credential for secret in source.credential.secrets)
            spider.decoders = Decoders(crawler.settings.getint("DECODERS"), max_pixels=plan.settings.max_poster_pixels)
            crawler.signals.connect(spider._close, signals.spider_closed)
        return spider

    def credential(self, source: str) -> Credential | None:
        """The key of a source, for the download handler."""
        return self.plan.credential(source)

    async def start(self) -> AsyncIterator[Request | Attempt]:
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
        self._pending = self._kept_by_job()
        skipped = known.done | known.stale | self._pending
        stale = known.stale - self._pending
        for title in crawl.titles(options.shard, options.shards, without=skipped):
            if not await self._has_room():
                return
            yield self._begin(Trail(title=title))
        async for trail in self._stale(stale):
            if not await self._has_room():
                return
            yield self._begin(trail)

    def _kept_by_job(self) -> BitMap64:
        """The titles whose requests a JOBDIR keeps of a crawl that was stopped: they are not to be made twice.

        Said once: should this run be killed, nobody knows what is left of the queue, and what is open is begun anew.
        """
        kept = getattr(self, "state", {}).pop("pending", None)
        if folder := self.crawler.settings["JOBDIR"]:
            (Path(folder) / "spider.state").unlink(missing_ok=True)
        return BitMap64.deserialize(kept) if kept else BitMap64()

    async def _has_room(self) -> bool:
        """Wait until the crawl can take another title, so that memory does not grow; False once it takes no more."""
        if not await self.allowance.take():
            log.warning("the budget of titles is used up: the crawl ends, and goes on with the next run")
            return False
        engine = self.crawler.engine
        while engine and engine.needs_backout():
            await self.crawler.signals.wait_for(signals.scheduler_empty)
        while engine and engine.scraper.slot and engine.scraper.slot.itemproc_size > _MOST_ITEMS:
            await asyncio.sleep(0.005)
        return True

    async def _stale(self, stale: BitMap64) -> AsyncIterator[Trail]:
        """The searches for newer versions of stored posters."""
        if not stale:
            return
        options, crawl = self.plan.options, self.plan.crawl
        tables = iter_ledger(crawl.store, crawl.crawl_id, SCHEMA.names)
        while (table := await asyncio.to_thread(next, tables, None)) is not None:
            for row in table.to_pylist():
                is_mine = shard_of(row["imdb_id"], options.shards) == options.shard
                if is_mine and number_of(row["imdb_id"]) in stale and row["url"]:
                    yield refresh(row)

    def _begin(self, trail: Trail) -> Request | Attempt:
        self._pending.add(number_of(trail.title.imdb_id))
        return self._next(trail)

    def _next(self, trail: Trail) -> Request | Attempt:
        """The request or the end that a search has come to."""
        while True:
            step = self.chain.step(trail)
            if isinstance(step, End):
                return self._end(step)
            try:
                return self._request(step)
            except ValueError as error:
                refused = self.chain.refused(step.trail, Rejected(Reason.BAD_URL, str(error)))
                if isinstance(refused, End):
                    return self._end(refused)
                trail = refused

    def _request(self, ask: Ask) -> Request:
        host, is_file = urlsplit(ask.url).hostname, ask.source == Images.name
        meta: dict[str, Any] = {"trail": ask.trail, "download_slot": "disk" if is_file else host}
        headers = {}
        if ask.is_lookup:
            source = self.plan.source(ask.source)
            if source and source.credential:
                # The terms of a keyed interface are those that came with the key.
                meta |= {CREDENTIAL: ask.source, "dont_obey_robotstxt": True}
        elif ask.trail.row and ask.trail.position < 0:
            conditions = {"If-None-Match": ask.trail.row["etag"], "If-Modified-Since": ask.trail.row["last_modified"]}
            headers = {name: value for name, value in conditions.items() if value}
        return Request(
            ask.url if is_file else self.plan.address(ask.url),
            headers=headers,
            callback=self.parse_lookup if ask.is_lookup else self.parse_poster,
            errback=self.parse_failure,
            meta=meta,
            # Posters go ahead of lookups, so that they flow from the first second on.
            priority=0 if ask.is_lookup else 1,
            dont_filter=True,
        )

    def parse(self, response: Response) -> Iterator[dict[str, Any]]:
        """What a title page tells; for `scrapy parse`, `shell` and `check`, beside `onesheet site` on its usual port.

        @url http://127.0.0.1:8900/title/tt9900001/
        @returns items 1 1
        @returns requests 0 0
        @scrapes title year genres poster_url is_title
        """
        yield asdict(parse_title(response.body))

    def parse_lookup(self, response: Response) -> Iterator[Request | Attempt]:
        """A source's answer → the request for the poster, or the next source's."""
        trail: Trail = response.meta["trail"]
        source = self.chain.sources[trail.position]
        headers = LowerCaseHeaders(response.headers)
        said = rejection_of_status(response.status)
        if said and said.reason.is_passing:
            yield self._after_no(response, said)
        elif ban := forbids_ai(headers, _ROBOT):
            yield self._after_no(response, Rejected(Reason.NO_AI, ban))
        elif said and source.credential is None:
            yield self._after_no(response, said)
        else:
            found = source.read(trail.title, Answer(response.status, headers, response.body))
            if isinstance(found, Found):
                yield self._step(self.chain.found(trail, found), **self._told_by(response))
            elif isinstance(found, Ended) and found.stops_crawl:
                self.stop(CrawlerError(found.sentence), reason=found.reason)
                yield self._after_no(response, Rejected(found.reason, found.sentence))
            elif isinstance(found, Ended):
                self._end_source(source.name, found)
                yield self._step(trail, **self._told_by(response))
            else:
                yield self._after_no(response, found)

    async def parse_poster(self, response: Response) -> list[Request | Attempt]:
        """The poster's bytes → verified, on their way to the store; or the next address, or the next source."""
        trail: Trail = response.meta["trail"]
        if response.status == 304 and trail.row:
            return [self._attempt(response, is_unchanged=True)]
        outcome: PosterFacts | Rejected | None = rejection_of_status(response.status)
        if outcome is None and (ban := forbids_ai(LowerCaseHeaders(response.headers), _ROBOT)):
            outcome = Rejected(Reason.NO_AI, ban)
        if outcome is None:
            outcome = await self.decoders.inspect(response.body)
        if isinstance(outcome, Rejected):
            return [self._after_no(response, outcome)]
        return [self._attempt(response, body=response.body, outcome=outcome)]

    def parse_failure(self, failure: Failure) -> Iterator[Request | Attempt]:
        """What never became a response: robots.txt, a block page, a timeout, a refused connection."""
        request: Request = failure.request  # type: ignore[attr-defined]
        if isinstance(failure.value, ClosingError):
            # Not asked, so nothing is known: the title stays open.
            self._pending.discard(number_of(request.meta["trail"].title.imdb_id))
            return
        rejected = rejection_of_error(failure.value or RuntimeError("no reason given"))
        was_held = isinstance(failure.value, UnsentError) or rejected.reason is Reason.ROBOTS
        sent = request.meta.get("retry_times", 0) + (not was_held)
        status = getattr(failure.value, "status", None)
        yield self._go_on(request.meta["trail"], rejected, url=request.url, attempts=sent, http_status=status)

    def _after_no(self, response: Response, rejected: Rejected) -> Request | Attempt:
        known = self._told_by(response)
        return self._go_on(response.meta["trail"], rejected, **known)

    def _go_on(self, trail: Trail, rejected: Rejected, **known: Any) -> Request | Attempt:
        """The next step after a no; where there is none, the attempt ends with what is `known` of the last answer."""
        refused = self.chain.refused(trail, rejected)
        return self._end(refused, **known) if isinstance(refused, End) else self._step(refused, **known)

    def _step(self, trail: Trail, **known: Any) -> Request | Attempt:
        step = self._next(trail)
        if isinstance(step, Attempt) and step.url is None:
            return replace(step, **known)
        return step

    def _end(self, end: End, **known: Any) -> Attempt:
        self._pending.discard(number_of(end.trail.title.imdb_id))
        return Attempt(trail=end.trail, source=end.source, outcome=end.rejected, **known)

    def _attempt(self, response: Response, **known: Any) -> Attempt:
        trail: Trail = response.meta["trail"]
        self._pending.discard(number_of(trail.title.imdb_id))
        return Attempt(trail=trail, source=self.chain.source_of(trail), **self._told_by(response), **known)

    @staticmethod
    def _told_by(response: Response) -> dict[str, Any]:
        def header(name: str) -> str | None:
            value = response.headers.get(name)
            return value.decode("latin-1") if value else None

        return {
            "url": response.url,
            "http_status": response.status,
            "attempts": response.meta.get("retry_times", 0) + 1,
            "etag": header("ETag"),
            "last_modified": header("Last-Modified"),
            "download_ms": round(response.meta.get("download_latency", 0) * 1000),
        }

    def _end_source(self, name: str, ended: Ended) -> None:
        if self.chain.has_ended(name):
            return
        self.chain.end(name, ended)
        log.error("%s", ended.sentence)

    def stop(self, error: OnesheetError, *, reason: str) -> None:
        """End the crawl early, for a reason that the user must know; what is under way is still recorded."""
        if self.stopped is None and self.crawler.engine:
            self.stopped = error
            log.error("the crawl stops: %s", error)
            _ = asyncio.ensure_future(self.crawler.engine.close_spider_async(reason=reason))  # noqa: RUF006

    def _close(self, spider: scrapy.Spider, reason: str) -> None:
        """After the pipelines are closed: one row a title, and the summary. A shard's fleet does that for all."""
        if hasattr(self, "state"):
            self.state["pending"] = self._pending.serialize()
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
