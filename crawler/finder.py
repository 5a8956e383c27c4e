"""The search for a title's poster, taken step by step: each request is awaited, its answer read or verified."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from scrapy.crawler import Crawler
from scrapy.http import Request, Response
from scrapy.settings import BaseSettings

from cluster.errors import CrawlerError
from crawler.closing import MAY_BE_LEFT, is_closing
from crawler.decoder import Decoders
from crawler.downloader import AwaitedDownloader
from crawler.failures import ClosingError, UnsentError, forbids_ai, rejection_of_error, rejection_of_status
from crawler.handlers import CREDENTIAL, SENT
from crawler.items import Attempt
from crawler.middlewares import LowerCaseHeaders
from crawler.outcomes import Reason, Rejected
from crawler.plan import Plan
from crawler.poster_urls import is_plain
from crawler.search import Ask, Chain, End, Trail
from crawler.sources import DISK, Answer, Ended, Images

log = logging.getLogger(__name__)

# What a host calls this crawler in its X-Robots-Tag.
_ROBOT = "onesheet"
# How often a held crawl looks whether it may go on.
_LOOK_S = 0.1


class Finder:
    """Takes the steps that a `Chain` names, through Scrapy's downloader and all its middlewares.

    No queue, no callbacks: what a search knows is the local variables of a coroutine. As many requests are under way
    as CONCURRENT_REQUESTS says, of which each host's slot lets its own number through.

    stop: ends the crawl, for a reason that the user must know.
    """

    def __init__(self, crawler: Crawler, plan: Plan, decoders: Decoders, stop: Callable[..., None]) -> None:
        self._crawler, self._plan, self._decoders, self._stop = crawler, plan, decoders, stop
        self._chain = Chain(plan.sources, height_px=plan.options.height)
        self._room = asyncio.Semaphore(most_requests(crawler.settings))
        # What stops a cluster's job kills it three seconds later: no time to finish what is half done.
        self._is_shard = bool(crawler.settings["FLEET"])

    async def find(self, trail: Trail) -> Attempt:
        """Search to the end. Raises ClosingError where the crawl ends before; the title stays open then."""
        known: dict[str, Any] = {}
        has_asked = False
        while True:
            async with self._room:
                await self._until_it_may_ask()
                # Only now: a source may have ended while others were asked.
                step = self._chain.step(trail)
                if isinstance(step, End):
                    return _end(step, known)
                may_be_left = step.is_lookup or not has_asked or self._is_shard
                answer, known = await self._ask(step, may_be_left=may_be_left)
            has_asked = True
            said: Attempt | Trail | Rejected
            if isinstance(answer, Rejected):
                said = answer
            elif step.is_lookup:
                said = self._read(step.trail, answer)
            else:
                said = await self._verified(step.trail, answer, known)
            if isinstance(said, Attempt):
                return said
            after = self._chain.refused(step.trail, said) if isinstance(said, Rejected) else said
            if isinstance(after, End):
                return _end(after, known)
            trail = after

    async def _until_it_may_ask(self) -> None:
        engine = self._crawler.engine
        while engine and engine.paused and not is_closing(self._crawler):
            await asyncio.sleep(_LOOK_S)

    async def _ask(self, ask: Ask, *, may_be_left: bool) -> tuple[Response | Rejected, dict[str, Any]]:
        """Send a request and await its answer; with it comes what the ledger is to know of it."""
        engine = self._crawler.engine
        if engine is None or (may_be_left and is_closing(self._crawler)):
            raise ClosingError(f"{ask.url} is left for the next run")
        try:
            request = self._request(ask, may_be_left=may_be_left)
        except ValueError as error:
            return Rejected(Reason.BAD_URL, str(error)), {}
        try:
            response = await cast("AwaitedDownloader", engine.downloader).get(request)
        except ClosingError:
            raise
        except Exception as error:
            return _failed(request, error)
        return response, _told_by(response)

    def _request(self, ask: Ask, *, may_be_left: bool) -> Request:
        host, is_file = urlsplit(ask.url).hostname, ask.source == Images.name
        meta: dict[str, Any] = {"download_slot": DISK if is_file else host, MAY_BE_LEFT: may_be_left, SENT: [0]}
        url, headers = ask.url if is_file else self._plan.address(ask.url), {}
        # To be made regular is a fifteenth of what a poster costs, and most addresses are.
        if is_plain(url):
            meta["verbatim_url"] = True
        if ask.is_lookup:
            source = self._plan.source(ask.source)
            if source and source.credential:
                # The terms of a keyed interface are those that came with the key.
                meta |= {CREDENTIAL: ask.source, "dont_obey_robotstxt": True}
        elif ask.trail.row and ask.trail.position < 0:
            conditions = {"If-None-Match": ask.trail.row["etag"], "If-Modified-Since": ask.trail.row["last_modified"]}
            headers = {name: value for name, value in conditions.items() if value}
        return Request(url, headers=headers, meta=meta, dont_filter=True)

    def _read(self, trail: Trail, response: Response) -> Trail | Rejected:
        """A source's answer → the way to the poster, or why the source has none."""
        source = self._chain.sources[trail.position]
        headers = LowerCaseHeaders(response.headers)
        said = rejection_of_status(response.status)
        if said and said.reason.is_passing:
            return said
        if ban := forbids_ai(headers, _ROBOT):
            return Rejected(Reason.NO_AI, ban)
        if said and source.credential is None:
            return said
        found = source.read(trail.title, Answer(response.status, headers, response.body))
        if isinstance(found, Rejected):
            return found
        if not isinstance(found, Ended):
            return self._chain.found(trail, found)
        if found.stops_crawl:
            self._stop(CrawlerError(found.sentence), reason=found.reason)
            return Rejected(found.reason, found.sentence)
        if not self._chain.has_ended(source.name):
            self._chain.end(source.name, found)
            log.error("%s", found.sentence)
        return trail

    async def _verified(self, trail: Trail, response: Response, known: dict[str, Any]) -> Attempt | Rejected:
        """The poster's bytes → verified, on their way to the store, or why they are none."""
        source = self._chain.source_of(trail)
        if response.status == 304 and trail.row:
            return Attempt(trail=trail, source=source, is_unchanged=True, **known)
        if said := rejection_of_status(response.status):
            return said
        if ban := forbids_ai(LowerCaseHeaders(response.headers), _ROBOT):
            return Rejected(Reason.NO_AI, ban)
        outcome = await self._decoders.inspect(response.body)
        if isinstance(outcome, Rejected):
            return outcome
        return Attempt(trail=trail, source=source, body=response.body, outcome=outcome, **known)


def most_requests(settings: BaseSettings) -> int:
    """How many requests may be under way at once. Scrapy's 0 is no limit; here a thousand bound the memory."""
    return settings.getint("CONCURRENT_REQUESTS") or 1_000


def _end(end: End, known: dict[str, Any]) -> Attempt:
    return Attempt(trail=end.trail, source=end.source, outcome=end.rejected, **known)


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


def _failed(request: Request, error: Exception) -> tuple[Rejected, dict[str, Any]]:
    """What never became an answer: robots.txt, a block page, a timeout, a refused connection."""
    rejected = rejection_of_error(error)
    was_held = isinstance(error, UnsentError) or rejected.reason is Reason.ROBOTS
    attempts = 0 if was_held else max(1, request.meta[SENT][0])
    return rejected, {"url": request.url, "attempts": attempts, "http_status": getattr(error, "status", None)}
