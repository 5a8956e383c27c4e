"""The posters spider: each title of a catalogue → its poster, by the listed URL or through its title page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import scrapy
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.http import Request, Response, TextResponse
from scrapy.settings import BaseSettings
from twisted.python.failure import Failure

from cluster.errors import CrawlerError, StoreError
from cluster.settings import Settings, load_settings
from cluster.store import open_store
from crawler.crawl import Crawl
from crawler.failures import rejection_of_error, rejection_of_status
from crawler.items import Attempt
from crawler.ledger import Ledger, done_titles
from crawler.outcomes import Reason, Rejected
from crawler.pages import TitlePage, parse_title
from crawler.titles import Title

log = logging.getLogger(__name__)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class PostersSpider(scrapy.Spider):
    """`scrapy crawl posters -a catalog=PATH [-a store=URL] [-a crawl_id=NAME]`.

    Ends with every distinct title of the catalogue either stored or rejected. Run again, it goes on where it
    ended: what is recorded as stored, or as rejected for a lasting reason, is not asked for again.
    """

    name = "posters"
    is_finished = False

    def __init__(self, *, settings: Settings, crawl: Crawl) -> None:
        super().__init__()
        self._onesheet = settings
        self.crawl = crawl
        self.ledger = Ledger(crawl.store, crawl.crawl_id)
        self.done: set[str] = set()
        self.total = 0
        self.summary: dict[str, Any] = {}
        self.store_error: StoreError | None = None

    @classmethod
    def check(cls, *, catalog: str = "", store: str | None = None, crawl_id: str | None = None) -> Crawl:
        """The crawl that these arguments name. Raises OnesheetError for what could never work."""
        if not catalog:
            raise CrawlerError("no catalogue; give one with -a catalog=PATH")
        settings = load_settings(store=store)
        _require_page_url(settings)
        crawl = Crawl.open(Path(catalog), open_store(settings.store), crawl_id)
        crawl.store.check()
        _require_contact(settings, crawl)
        return crawl

    @classmethod
    def update_settings(cls, settings: BaseSettings) -> None:
        super().update_settings(settings)
        onesheet = load_settings()
        settings.set("DOWNLOAD_TIMEOUT", onesheet.request_timeout_s, priority="spider")
        settings.set("DOWNLOAD_MAXSIZE", onesheet.max_poster_bytes, priority="spider")
        if onesheet.contact:
            settings.set("USER_AGENT", f"{settings['USER_AGENT']} (+{onesheet.contact})", priority="spider")
        if onesheet.rehearsal and onesheet.rehearsal.host in _LOOPBACK:
            # Politeness protects other people's hosts; a rehearsal on this machine may run at full speed.
            settings.set("AUTOTHROTTLE_ENABLED", False, priority="spider")
            settings.set("CONCURRENT_REQUESTS_PER_DOMAIN", 16, priority="spider")

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = cls(settings=load_settings(store=kwargs.get("store")), crawl=cls.check(*args, **kwargs))
        spider._set_crawler(crawler)
        crawler.signals.connect(spider._close, signals.spider_closed)
        return spider

    async def start(self) -> AsyncIterator[Request | Attempt]:
        self.started_at = datetime.now(UTC)
        try:
            rejected = self.crawl.save_titles()
            self.done = done_titles(self.crawl.store, self.crawl.crawl_id)
        except StoreError as error:
            self.store_error = error
            log.error("the crawl cannot begin: %s", error)
            return
        self.rejected_rows = len(rejected)
        for row in rejected[:20]:
            log.warning("%s, line %d: %s", self.crawl.catalog, row.line, row.detail)
        self.total = sum(1 for _ in self.crawl.titles())
        log.info("crawl %s: %d titles, %d done before", self.crawl.crawl_id, self.total, len(self.done))
        for title in self.crawl.titles():
            if title.imdb_id in self.done:
                continue
            if self.crawler.engine and self.crawler.engine.needs_backout():
                # The catalogue is read only as fast as it is crawled, so memory does not grow with it.
                await self.crawler.signals.wait_for(signals.scheduler_empty)
            yield self._first_request(title)

    def _first_request(self, title: Title) -> Request | Attempt:
        if title.poster_url:
            return self._poster_request(title, title.poster_url, source="listed", page=None)
        url = title.page_url or self._onesheet.page_url.format(imdb_id=title.imdb_id)
        return self._request(url, self.parse_page, title=title, source="page", page=None)

    def _poster_request(self, title: Title, url: str, *, source: str, page: TitlePage | None) -> Request | Attempt:
        # Ahead of title pages, so that posters flow from the first second on.
        return self._request(url, self.parse_poster, priority=1, title=title, source=source, page=page)

    def _request(self, url: str, callback: Any, *, priority: int = 0, **context: Any) -> Request | Attempt:
        try:
            address = self._address(url)
            return Request(
                address,
                callback=callback,
                errback=self.parse_failure,
                cb_kwargs=context,
                meta={"context": context},
                priority=priority,
                dont_filter=True,
            )
        except ValueError as error:
            return Attempt(url=url, attempts=0, outcome=Rejected(Reason.BAD_URL, str(error)), **context)

    def _address(self, url: str) -> str:
        """The URL itself, or the same path on the rehearsal site."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL")
        site = self._onesheet.rehearsal
        if site is None:
            return url
        return parts._replace(scheme=site.scheme, netloc=f"{site.host}:{site.port}").geturl()

    def parse_page(
        self, response: Response, title: Title, source: str, page: TitlePage | None
    ) -> Iterator[Request | Attempt]:
        rejected = rejection_of_status(response.status)
        if rejected is None:
            page = parse_title(response.text if isinstance(response, TextResponse) else "")
            if page.poster_url:
                yield self._poster_request(title, page.poster_url, source=source, page=page)
                return
            rejected = Rejected(Reason.NO_POSTER, "the title page shows no poster")
        yield self._attempt(response, title=title, source=source, page=page, outcome=rejected)

    def parse_poster(self, response: Response, title: Title, source: str, page: TitlePage | None) -> Iterator[Attempt]:
        rejected = rejection_of_status(response.status)
        body = response.body if rejected is None else None
        yield self._attempt(response, title=title, source=source, page=page, body=body, outcome=rejected)

    def parse_failure(self, failure: Failure) -> Iterator[Attempt]:
        """What never became a response: robots.txt, a block page, a timeout, a refused connection."""
        request: Request = failure.request  # type: ignore[attr-defined]
        rejected = rejection_of_error(failure.value or RuntimeError("no reason given"))
        yield Attempt(
            **request.meta["context"],
            url=request.url,
            # robots.txt refuses a request before it is sent.
            attempts=request.meta.get("retry_times", 0) + (rejected.reason is not Reason.ROBOTS),
            outcome=rejected,
        )

    def _attempt(self, response: Response, **known: Any) -> Attempt:
        def header(name: str) -> str | None:
            value = response.headers.get(name)
            return value.decode("latin-1") if value else None

        return Attempt(
            url=response.url,
            http_status=response.status,
            attempts=response.meta.get("retry_times", 0) + 1,
            etag=header("ETag"),
            last_modified=header("Last-Modified"),
            **known,
        )

    def _close(self, spider: scrapy.Spider, reason: str) -> None:
        """After the pipelines are closed: one row a title, and the summary."""
        if not hasattr(self, "rejected_rows"):
            return  # it ended before the catalogue was read
        try:
            self.summary = self.crawl.finish(
                self.ledger, started_at=self.started_at, finish_reason=reason, rejected_rows=self.rejected_rows
            )
        except StoreError as error:
            self.store_error = error
            log.error("the ledger could not be finished: %s", error)
            return
        self.is_finished = bool(self.summary["finished"])
        log.info("crawl ended: %s", self.summary)


def _require_page_url(settings: Settings) -> None:
    try:
        is_template = settings.page_url.format(imdb_id="tt0000001") != settings.page_url
    except (LookupError, ValueError, AttributeError):
        is_template = False
    if not is_template:
        raise CrawlerError(f"ONESHEET_PAGE_URL={settings.page_url!r} needs the place {{imdb_id}}, and no other")


def _require_contact(settings: Settings, crawl: Crawl) -> None:
    """A crawl of other people's hosts says whom they can write to."""
    if settings.contact or settings.rehearsal:
        return
    for title in crawl.titles():
        host = urlsplit(title.poster_url or title.page_url or settings.page_url).hostname
        if host and host not in _LOOPBACK:
            raise CrawlerError(
                f"crawling {host} needs a contact for the user agent: set ONESHEET_CONTACT to an e-mail address "
                "or URL, or rehearse with `onesheet site` and ONESHEET_REHEARSAL"
            )
