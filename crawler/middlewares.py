"""Downloader middlewares: respect for hosts that say "later" (Retry-After) and "no" (robots.txt, block pages)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import urlsplit

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.downloadermiddlewares.retry import RetryMiddleware, get_retry_request
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.downloadermiddlewares.stats import DownloaderStats
from scrapy.exceptions import NotConfigured
from scrapy.http import Headers, Request, Response
from scrapy.robotstxt import RobotParser
from scrapy.utils.httpobj import urlparse_cached
from twisted.internet.defer import Deferred

from crawler.addresses import is_trap
from crawler.block_pages import block_of
from crawler.closing import is_closing
from crawler.failures import BadAddressError, BlockedError, ClosingError, RobotsAwayError
from crawler.throttle import PoliteThrottle

log = logging.getLogger(__name__)


class EveryRequestRobotsTxtMiddleware(RobotsTxtMiddleware):
    """robots.txt, also for the requests that wait while it is fetched.

    Scrapy 2.19 lets them await one Deferred: the first gets the parsed file, the others None, which allows all.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        # Of a million titles some are listed with hosts that are gone: a line each, instead of a traceback.
        logging.getLogger(RobotsTxtMiddleware.__module__).addFilter(_without_traceback)
        self._away: dict[str, int] = {}

    async def robot_parser(self, request: Request) -> RobotParser | None:
        await super().robot_parser(request)
        netloc = urlparse_cached(request).netloc
        if netloc in self._away:
            raise RobotsAwayError(f"{netloc}/robots.txt answers HTTP {self._away[netloc]}: nothing is asked without it")
        parser = self._parsers[netloc]
        return None if isinstance(parser, Deferred) else parser

    async def _parse_robots(self, response: Response, netloc: str, request: Request) -> None:
        """RFC 9309, 2.3.1: a file that is not there allows all, a server that fails allows nothing for now."""
        if response.status >= 500:
            self._away[netloc] = response.status
        is_file = response.status == 200
        await super()._parse_robots(response if is_file else response.replace(body=b""), netloc, request)


class PatientRetryMiddleware(RetryMiddleware):
    """Scrapy's retries, with the wait that the host asked for, or an exponential one with jitter.

    A waiting request keeps its place among CONCURRENT_REQUESTS, so a host that is overrun is asked less meanwhile.
    A longer wait than RETRY_AFTER_MAX_S is not waited for: the title ends as rate_limited, for the next run.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler.settings)
        self.crawler = crawler
        self._longest_s = crawler.settings.getfloat("RETRY_AFTER_MAX_S")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_response(self, request: Request, response: Response) -> Request | Response:  # type: ignore[override]
        if response.status not in self.retry_http_codes:
            return response
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        if wait_s is not None and wait_s > self._longest_s:
            log.warning("%s asks to wait %.0f s: left for the next run", response.url, wait_s)
            return response
        return await self._again(request, f"HTTP {response.status}", wait_s) or response

    async def process_exception(self, request: Request, exception: Exception) -> Request | None:  # type: ignore[override]
        if not isinstance(exception, self.exceptions_to_retry) or request.meta.get("dont_retry"):
            return None
        return await self._again(request, type(exception).__name__, None)

    async def _again(self, request: Request, reason: str, wait_s: float | None) -> Request | None:
        """The request for another try, after a wait; None where there were tries enough."""
        if self.crawler.spider is None:
            return None
        retry = get_retry_request(
            request, reason=reason, spider=self.crawler.spider, max_retry_times=self.max_retry_times, logger=log
        )
        if retry is None:
            return None
        if wait_s is None:
            wait_s = random.uniform(0.5, 1) * 2 ** request.meta.get("retry_times", 0)  # noqa: S311
        ends_at = time.monotonic() + wait_s
        # In short steps: a crawl that ends does not wait for the host.
        while not is_closing(self.crawler) and (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, 0.5))
        if is_closing(self.crawler):
            raise ClosingError(f"{request.url} is left for the next run")
        return retry


class BareRedirectMiddleware(RedirectMiddleware):
    """Scrapy's redirects without a Referer: this crawl never sends one."""

    def handle_referer(self, request: Request, response: Response) -> None:
        request.headers.pop("Referer", None)


class BlockPageMiddleware:
    """Recognise block pages, slow down, and stop the crawl when a host only blocks.

    A block page is never stored, never taken for "no poster", and never worked around.
    """

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self._limit = crawler.settings.getint("BLOCK_LIMIT")
        if self._limit < 1:
            raise NotConfigured(f"BLOCK_LIMIT={self._limit} must be at least 1")
        self._in_a_row: Counter[str] = Counter()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_response(self, request: Request, response: Response) -> Response:
        # By host: an image host that answers well says nothing of the host of the title pages.
        host = request.meta.get("download_slot") or urlsplit(response.url).netloc
        block = block_of(response.status, LowerCaseHeaders(response.headers), response.body)
        if block is None:
            self._in_a_row[host] = 0
            return response
        self._in_a_row[host] += 1
        if self.crawler.stats:
            self.crawler.stats.inc_value("blocked/count")
            self.crawler.stats.inc_value(f"blocked/{block}")
        if throttle := self.crawler.get_extension(PoliteThrottle):
            throttle.slow_down(host)
        if self._in_a_row[host] == self._limit and self.crawler.engine:
            log.error(
                "%d block pages (%s) in a row, the last from %s: the crawl stops here and keeps what it has. "
                "Come back later, ask the host for access, or order other --sources.",
                self._limit,
                block,
                response.url,
            )
            _ = asyncio.ensure_future(self.crawler.engine.close_spider_async(reason="blocked"))  # noqa: RUF006
        raise BlockedError(f"HTTP {response.status} with a block page ({block})", status=response.status)


class LeanDownloaderStats(DownloaderStats):
    """Scrapy's counts of requests and answers. Their bytes are those of the bodies: Scrapy writes out the head of each
    request and answer to measure it, which takes longer than all other middlewares together.
    """

    def process_request(self, request: Request, spider: Spider | None = None) -> None:
        self.stats.inc_value("downloader/request_count")
        self.stats.inc_value(f"downloader/request_method_count/{request.method}")

    def process_response(self, request: Request, response: Response, spider: Spider | None = None) -> Response:
        self.stats.inc_value("downloader/response_count")
        self.stats.inc_value(f"downloader/response_status_count/{response.status}")
        self.stats.inc_value("downloader/response_bytes", len(response.body))
        return response


class LinkLocalMiddleware:
    """Never ask a link-local address, whoever lists it, even through a proxy. Names are for the download handler."""

    def process_request(self, request: Request) -> None:
        if is_trap(urlparse_cached(request).hostname or ""):
            raise BadAddressError(f"{request.url} is an address that no poster comes from")


class LowerCaseHeaders(Mapping[str, str]):
    """A response's headers by their names in lower case, read only when asked for."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        values = self._headers.getlist(name)
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1").lower() for name in self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def retry_after_s(value: bytes | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110 10.2.3: a number or a date); None without one."""
    if not value:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)  # "-0000" is UTC, of an unknown place
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
